//! The losses of capsule networks over slices, with their gradients.

use super::{
    lanes::{dot, vectorised},
    options::EPSILON,
    real::Real,
    storage::for_each_chunk,
};

/// Length that the capsule of the true class should reach.
pub const PRESENT: f64 = 0.9;
/// Length that the others should stay below.
pub const ABSENT: f64 = 0.1;
/// Weight of the others.
pub const ABSENT_WEIGHT: f64 = 0.5;

/// Lengths of capsules v `[n, dim]`: `√(|v|² + 1e-9)`, `[n]`.
pub fn lengths<T: Real>(v: &[T], lengths: &mut [T]) {
    let dim = v.len() / lengths.len();
    let epsilon = T::from_f64(EPSILON);
    vectorised!(|| v.chunks_exact(dim).zip(&mut *lengths).for_each(|(v, l)| *l = (dot(v, v) + epsilon).sqrt()));
}

/// Part of the margin loss of one capsule, and its derivative by the length.
#[inline(always)]
fn margin_of<T: Real>(length: T, is_true: bool) -> (T, T) {
    let (gap, weight, sign) = match is_true {
        true => (T::from_f64(PRESENT) - length, 1., -1.),
        false => (length - T::from_f64(ABSENT), ABSENT_WEIGHT, 1.),
    };
    let gap = if gap < T::zero() { T::zero() } else { gap };
    (T::from_f64(weight) * gap * gap, T::from_f64(2. * weight * sign) * gap)
}

/// The margin loss of class capsules of these lengths `[batch, classes]`, mean over the batch.
pub fn margin<T: Real>(lengths: &[T], labels: &[u32]) -> f64 {
    margins(lengths, labels).sum::<f64>() / labels.len() as f64
}

/// The margin loss of each sample of a batch: lengths `[batch, classes]`.
pub fn margins<T: Real>(lengths: &[T], labels: &[u32]) -> impl Iterator<Item = f64> {
    let classes = lengths.len() / labels.len();
    lengths.chunks_exact(classes).zip(labels).map(|(lengths, &label)| {
        let each = lengths.iter().enumerate();
        each.map(|(class, &length)| margin_of(length, class == label as usize).0.to_f64()).sum::<f64>()
    })
}

/// The cross-entropy of each sample of a batch, `−log softmax(logits)[label]`: logits `[batch, classes]`.
pub fn cross_entropies<T: Real>(logits: &[T], labels: &[u32]) -> impl Iterator<Item = f64> {
    let classes = logits.len() / labels.len();
    logits.chunks_exact(classes).zip(labels).map(|(logits, &label)| {
        let each = || logits.iter().map(|logit| logit.to_f64());
        let largest = each().fold(f64::NEG_INFINITY, f64::max);
        largest + each().map(|logit| (logit - largest).exp()).sum::<f64>().ln() - logits[label as usize].to_f64()
    })
}

/// Adds the gradient of [`margin`] by the capsules v to `dv`.
pub fn margin_backward<T: Real>(v: &[T], lengths: &[T], labels: &[u32], dv: &mut [T]) {
    let (classes, dim) = (lengths.len() / labels.len(), v.len() / lengths.len());
    let mean = T::from_f64(1. / labels.len() as f64);
    let capsules = v.chunks_exact(dim).zip(dv.chunks_exact_mut(dim));
    for (k, ((v, dv), &length)) in capsules.zip(lengths).enumerate() {
        let (_, slope) = margin_of(length, k % classes == labels[k / classes] as usize);
        let along = mean * slope / length;
        dv.iter_mut().zip(v).for_each(|(dv, &v)| *dv += along * v);
    }
}

/// `Σ_pixels (reconstruction − image)²`, mean over a batch of `batch` samples.
pub fn reconstruction<T: Real>(reconstruction: &[T], images: &[T], batch: usize) -> f64 {
    let sample = |(r, x): (&[T], &[T])| {
        // Sums in lanes, each of its own: an order the compiler can keep and still vectorise.
        let mut sums = [T::zero(); 16];
        vectorised!(|| {
            for (r, x) in r.chunks(16).zip(x.chunks(16)) {
                sums.iter_mut().zip(r.iter().zip(x)).for_each(|(sum, (&r, &x))| *sum += (r - x) * (r - x));
            }
        });
        sums.iter().map(|sum| sum.to_f64()).sum::<f64>()
    };
    let pixels = images.len() / batch;
    reconstruction.chunks_exact(pixels).zip(images.chunks_exact(pixels)).map(sample).sum::<f64>() / batch as f64
}

/// The gradient of `weight ·` [`reconstruction`] by what enters the sigmoid that made the reconstruction.
pub fn reconstruction_backward<T: Real>(reconstruction: &[T], images: &[T], batch: usize, weight: f64, dx: &mut [T]) {
    let factor = T::from_f64(2. * weight / batch as f64);
    for_each_chunk(dx, CHUNK, images.len(), |chunk, dx| {
        let from = reconstruction[chunk * CHUNK..].iter().zip(&images[chunk * CHUNK..]);
        vectorised!(|| {
            dx.iter_mut().zip(from.clone()).for_each(|(d, (&r, &x))| *d = factor * (r - x) * r * (T::one() - r));
        });
    });
}

const CHUNK: usize = 1 << 13;

/// `1/(1 + e^−x)`, in place.
pub fn sigmoid<T: Real>(x: &mut [T]) {
    let work = 8 * x.len();
    for_each_chunk(x, CHUNK, work, |_, x| {
        vectorised!(|| {
            for x in &mut *x {
                // e^−|x| cannot overflow.
                let small = (if *x < T::zero() { *x } else { T::zero() - *x }).exp();
                let above = T::one() / (T::one() + small);
                *x = if *x < T::zero() { small * above } else { above };
            }
        });
    });
}
