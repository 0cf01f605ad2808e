//! Batch normalisation (Ioffe and Szegedy 2015) of feature maps.

use candle_core::{CpuStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, WithDType, bail};

use super::{
    lanes::{sum, vectorised},
    options::NORM_EPSILON,
    real::Real,
    reference,
    storage::{cpu_values, for_each_chunk, for_real, is_fast_on_cpu, values, with_values, with_values_mut},
};

/// Mean and variance of each channel over a batch and all of its positions, `[channels]` each.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    pub mean: Tensor,
    /// With n − 1 in its denominator, as running variances take it in; 0 of a single value.
    pub variance: Tensor,
}

impl BatchStatistics {
    /// Moves running statistics this share of the way to those of the batch, in place; CPU floats.
    pub fn take_into(&self, mean: &Tensor, variance: &Tensor, share: f64) -> Result<()> {
        approach(mean, &self.mean, share)?;
        approach(variance, &self.variance, share)
    }
}

fn approach(running: &Tensor, to: &Tensor, share: f64) -> Result<()> {
    for_real!(running.dtype(), T => {
        with_values(to, |to: &[T]| with_values_mut(running, |running: &mut [T]| {
            running.iter_mut().zip(to).for_each(|(running, &to)| *running += T::from_f64(share) * (to - *running));
        }))?
    })
}

/// `y = weight[c] · (x − mean[c]) / √(variance[c] + 1e-3) + bias[c]` with the statistics of the batch itself, whose variance has n
/// in its denominator here: for training.
///
/// x `[batch, channels, h, w]`, weight and bias `[channels]`; gives y and the statistics, which have no gradient.
///
/// Errors: shapes that do not fit, or without values.
pub fn batch_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<(Tensor, BatchStatistics)> {
    let count = check(x, [weight, bias])?;
    let unbiased = count as f64 / (count.max(2) - 1) as f64;
    if !is_fast_on_cpu(x) {
        let [mean, variance] = reference::channel_statistics(x)?;
        let y = reference::batch_norm(x, weight, bias, &mean, &variance)?;
        let statistics = BatchStatistics { mean: mean.detach(), variance: (variance * unbiased)?.detach() };
        return Ok((y, statistics));
    }
    let x = x.contiguous()?;
    let statistics = statistics(&x)?;
    let of = |value: fn(&[f64; 2]) -> f64, factor: f64| -> Result<Tensor> {
        let values: Vec<f64> = statistics.iter().map(|of| value(of) * factor).collect();
        Tensor::from_vec(values, statistics.len(), &Device::Cpu)?.to_dtype(x.dtype())
    };
    let taken = BatchStatistics { mean: of(|of| of[0], 1.)?, variance: of(|of| of[1], unbiased)? };
    Ok((Normalise::apply(statistics, true, &x, weight, bias)?, taken))
}

/// [`batch_norm`] by statistics that stand from elsewhere, `[channels]` each: for evaluation.
pub fn batch_norm_by(x: &Tensor, weight: &Tensor, bias: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
    check(x, [weight, bias])?;
    check(x, [mean, variance])?;
    if !is_fast_on_cpu(x) {
        return reference::batch_norm(x, weight, bias, &mean.detach(), &variance.detach());
    }
    let [mean, variance] = [mean, variance].map(|of| of.to_dtype(DType::F64)?.to_vec1::<f64>());
    let statistics = mean?.into_iter().zip(variance?).map(|(mean, variance)| [mean, variance]).collect();
    Normalise::apply(statistics, false, &x.contiguous()?, weight, bias)
}

/// The number of values of a channel.
fn check(x: &Tensor, of_channels: [&Tensor; 2]) -> Result<usize> {
    let (batch, channels, height, width) = x.dims4()?;
    let [a, b] = of_channels.map(Tensor::dims);
    if a != [channels] || b != [channels] || x.elem_count() == 0 {
        bail!("batch_norm: input {:?} and values of channels {a:?}, {b:?} do not fit", x.dims())
    }
    Ok(batch * height * width)
}

/// Mean and variance (with n in its denominator) of each channel. The sums of a plane are in the operand's type, those over
/// planes in f64, one after another: no bit depends on threads.
fn statistics(x: &Tensor) -> Result<Vec<[f64; 2]>> {
    let (batch, channels, height, width) = x.dims4()?;
    let plane = height * width;
    let count = (batch * plane) as f64;
    let mut statistics = vec![[0.; 2]; channels];
    for_real!(x.dtype(), T => with_values(x, |x: &[T]| {
        for_each_chunk(&mut statistics, 1, 2 * x.len(), |channel, of| {
            let planes = || x.chunks_exact(plane).skip(channel).step_by(channels);
            let mean = planes().map(|x| vectorised!(|| sum(x)).to_f64()).sum::<f64>() / count;
            let middle = T::from_f64(mean);
            let squares = planes().map(|x| vectorised!(|| products(x, x, middle, middle)[1]).to_f64()).sum::<f64>();
            of[0] = [mean, squares / count];
        });
    })?);
    Ok(statistics)
}

/// `Σ (a − at)` and `Σ (a − at)(b − middle)`, each in eight interleaved sums.
#[inline(always)]
fn products<T: Real>(a: &[T], b: &[T], at: T, middle: T) -> [T; 2] {
    const LANES: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [[T::zero(); LANES]; 2];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let a = a[lane] - at;
            sums[0][lane] += a;
            sums[1][lane] += a * (b[lane] - middle);
        }
    }
    let mut all = sums.map(|[s0, s1, s2, s3, s4, s5, s6, s7]| ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7)));
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        all[0] += a - at;
        all[1] += (a - at) * (b - middle);
    }
    all
}

struct Normalise {
    /// Mean, and one over the root of the variance, by channel.
    scales: Vec<[f64; 2]>,
    /// Whether they are those of the operand, and so have a gradient by it.
    are_own: bool,
}

impl Normalise {
    fn apply(statistics: Vec<[f64; 2]>, are_own: bool, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let scales =
            statistics.into_iter().map(|[mean, variance]| [mean, 1. / (variance + NORM_EPSILON).sqrt()]).collect();
        x.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Normalise { scales, are_own })
    }

    /// Gradients by x, weight and bias.
    fn backward<T: Real>(&self, plane: usize, x: &[T], weight: &[T], dy: &[T]) -> [Vec<T>; 3] {
        let channels = self.scales.len();
        let count = (x.len() / channels) as f64;
        // Σ dy and Σ dy·x̂ of each channel.
        let mut sums = vec![[0.; 2]; channels];
        for_each_chunk(&mut sums, 1, 2 * x.len(), |channel, sums| {
            let [mean, scale] = self.scales[channel];
            let planes = x.chunks_exact(plane).zip(dy.chunks_exact(plane)).skip(channel).step_by(channels);
            for (x, dy) in planes {
                let [sum, product] = vectorised!(|| products(dy, x, T::zero(), T::from_f64(mean)));
                sums[0][0] += sum.to_f64();
                sums[0][1] += product.to_f64() * scale;
            }
        });
        let mut dx = vec![T::zero(); x.len()];
        for_each_chunk(&mut dx, plane, 2 * x.len(), |index, dx| {
            let channel = index % channels;
            let ([mean, scale], [sum, product]) = (self.scales[channel], sums[channel]);
            let own = if self.are_own { 1. / count } else { 0. };
            let along = T::from_f64(scale * product * own);
            let [mean, sum, factor] = [mean, sum * own, weight[channel].to_f64() * scale].map(T::from_f64);
            let (x, dy) = (&x[index * plane..][..plane], &dy[index * plane..][..plane]);
            vectorised!(|| {
                for (dx, (&x, &dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
                    *dx = factor * (dy - sum - along * (x - mean));
                }
            });
        });
        let of_channels = |which: usize| sums.iter().map(|sums| T::from_f64(sums[which])).collect();
        [dx, of_channels(1), of_channels(0)]
    }
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, channels, height, width) = lx.shape().dims4()?;
        let plane = height * width;
        for_real!(candle_core::backend::BackendStorage::dtype(x), T => {
            let (x, weight, bias) = (values::<T>(x, lx)?, values::<T>(weight, lw)?, values::<T>(bias, lb)?);
            let mut y = vec![0 as T; x.len()];
            for_each_chunk(&mut y, plane, x.len(), |index, y| {
                let channel = index % channels;
                let [mean, scale] = self.scales[channel];
                let (mean, factor) = (T::from_f64(mean), T::from_f64(weight[channel].to_f64() * scale));
                let (x, bias) = (&x[index * plane..][..plane], bias[channel]);
                vectorised!(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = factor * (x - mean) + bias));
            });
            Ok((T::to_cpu_storage_owned(y), lx.shape().clone()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, _, height, width) = x.dims4()?;
        let dy = dy.contiguous()?;
        let ((sx, lx), (sw, lw), (sd, ld)) =
            (x.storage_and_layout(), weight.storage_and_layout(), dy.storage_and_layout());
        for_real!(x.dtype(), T => {
            let (x_values, weight_values) = (cpu_values::<T>(&sx, lx)?, cpu_values::<T>(&sw, lw)?);
            let [dx, dweight, dbias] =
                self.backward(height * width, x_values, weight_values, cpu_values::<T>(&sd, ld)?);
            Ok((
                Some(Tensor::from_vec(dx, x.shape(), x.device())?),
                Some(Tensor::from_vec(dweight, weight.shape(), x.device())?),
                Some(Tensor::from_vec(dbias, bias.shape(), x.device())?),
            ))
        })
    }
}
