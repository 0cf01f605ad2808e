//! Kernel ridge regression with the residuals of leaving one out: what a few whole trainings tell of the others.

/// Lengths of the kernel, in medians of the distance between two examples, that are tried.
const LENGTHS: [f64; 3] = [0.7, 1.4, 2.8];
/// Shares of noise that are tried.
const RIDGES: [f64; 3] = [0.03, 0.2, 1.0];

/// Figures of a place as a weighted sum over examples, for several targets at once.
pub(crate) struct Regression {
    examples: Vec<Vec<f64>>,
    /// Of the kernel: exp(−`rate` × squared distance).
    rate: f64,
    targets: Vec<Target>,
}

struct Target {
    mean: f64,
    weights: Vec<f64>,
    /// Of each example: its target minus what the others say of it.
    residuals: Vec<f64>,
}

impl Regression {
    /// Learns `targets[k][i]` of `examples[i]`. The kernel's length and the noise are those by which the examples tell most of each
    /// other.
    pub fn fit(examples: Vec<Vec<f64>>, targets: &[Vec<f64>]) -> Regression {
        let count = examples.len();
        let distances = pairs(&examples);
        let mut sorted: Vec<f64> = distances.iter().copied().filter(|distance| *distance > 0.0).collect();
        let middle = sorted.len() / 2;
        let median = if sorted.is_empty() { 1.0 } else { *sorted.select_nth_unstable_by(middle, f64::total_cmp).1 };
        let mut best: Option<(f64, Regression)> = None;
        for length in LENGTHS {
            let rate = 0.5 / (length * length * median);
            let kernel: Vec<f64> = distances.iter().map(|distance| (-rate * distance).exp()).collect();
            for ridge in RIDGES {
                let Some(inverse) = inverse(&kernel, count, ridge) else { continue };
                let targets: Vec<Target> = targets.iter().map(|of| Target::of(of, &inverse)).collect();
                let error = targets.iter().flat_map(|of| &of.residuals).map(|residual| residual * residual).sum();
                if best.as_ref().is_none_or(|(least, _)| error < *least) {
                    best = Some((error, Regression { examples: Vec::new(), rate, targets }));
                }
            }
        }
        let mean_only = || Regression {
            examples: Vec::new(),
            rate: 1.0,
            targets: targets.iter().map(|of| Target::mean_of(of)).collect(),
        };
        Regression { examples, ..best.map_or_else(mean_only, |(_, regression)| regression) }
    }

    /// What each target is expected to be at `place`.
    pub fn at(&self, place: &[f64]) -> Vec<f64> {
        let kernel: Vec<f64> =
            self.examples.iter().map(|example| (-self.rate * squared_distance(example, place)).exp()).collect();
        let sum =
            |of: &Target| of.mean + of.weights.iter().zip(&kernel).map(|(weight, near)| weight * near).sum::<f64>();
        self.targets.iter().map(sum).collect()
    }

    /// The residuals of a target, in the order of the examples.
    pub fn residuals(&self, target: usize) -> &[f64] {
        &self.targets[target].residuals
    }
}

impl Target {
    fn of(values: &[f64], inverse: &[f64]) -> Target {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count.max(1) as f64;
        let row = |i: usize| &inverse[i * count..(i + 1) * count];
        let weight = |i: usize| row(i).iter().zip(values).map(|(of, value)| of * (value - mean)).sum::<f64>();
        let weights: Vec<f64> = (0..count).map(weight).collect();
        let residuals = weights.iter().enumerate().map(|(i, weight)| weight / row(i)[i]).collect();
        Target { mean, weights, residuals }
    }

    /// Where the examples tell nothing of each other.
    fn mean_of(values: &[f64]) -> Target {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        Target { mean, weights: vec![0.0; values.len()], residuals: values.iter().map(|value| value - mean).collect() }
    }
}

fn squared_distance(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Squared distances of all pairs, a row an example.
fn pairs(examples: &[Vec<f64>]) -> Vec<f64> {
    examples.iter().flat_map(|one| examples.iter().map(move |other| squared_distance(one, other))).collect()
}

/// The inverse of `matrix` + `ridge` on its diagonal, by Cholesky's factor; none where that is not positive.
fn inverse(matrix: &[f64], count: usize, ridge: f64) -> Option<Vec<f64>> {
    let mut factor = vec![0.0; count * count];
    for i in 0..count {
        for j in 0..=i {
            let (of_i, of_j) = (&factor[i * count..i * count + j], &factor[j * count..j * count + j]);
            let rest = matrix[i * count + j] - of_i.iter().zip(of_j).map(|(a, b)| a * b).sum::<f64>();
            factor[i * count + j] = if i == j {
                let pivot = rest + ridge;
                (pivot > 1e-12).then(|| pivot.sqrt())?
            } else {
                rest / factor[j * count + j]
            };
        }
    }
    // The factor's own inverse, a row a column of it, so that both products run along rows.
    let mut columns = vec![0.0; count * count];
    for j in 0..count {
        columns[j * count + j] = 1.0 / factor[j * count + j];
        for i in j + 1..count {
            let (row, column) = (&factor[i * count + j..i * count + i], &columns[j * count + j..j * count + i]);
            let sum: f64 = row.iter().zip(column).map(|(a, b)| a * b).sum();
            columns[j * count + i] = -sum / factor[i * count + i];
        }
    }
    let mut inverse = vec![0.0; count * count];
    for i in 0..count {
        for j in 0..=i {
            let (one, other) = (&columns[i * count + i..(i + 1) * count], &columns[j * count + i..(j + 1) * count]);
            let sum = one.iter().zip(other).map(|(a, b)| a * b).sum();
            (inverse[i * count + j], inverse[j * count + i]) = (sum, sum);
        }
    }
    Some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residuals_are_those_of_fitting_without_the_example() {
        let examples: Vec<Vec<f64>> = (0..12).map(|i| vec![i as f64 / 6.0, (i * i % 5) as f64]).collect();
        let target: Vec<f64> = examples.iter().map(|of| of[0].sin() + 0.1 * of[1]).collect();
        let count = examples.len();
        let kernel: Vec<f64> = pairs(&examples).iter().map(|distance| (-0.4 * distance).exp()).collect();
        let whole = Target::of(&target, &inverse(&kernel, count, 0.1).unwrap());
        // Without the fourth, about the same mean.
        let kept: Vec<usize> = (0..count).filter(|i| *i != 3).collect();
        let part: Vec<f64> =
            kept.iter().flat_map(|i| kept.iter().map(|j| kernel[i * count + j]).collect::<Vec<_>>()).collect();
        let inverse = inverse(&part, count - 1, 0.1).unwrap();
        let values: Vec<f64> = kept.iter().map(|i| target[*i] - whole.mean).collect();
        let weight = |i: usize| -> f64 { (0..count - 1).map(|j| inverse[i * (count - 1) + j] * values[j]).sum() };
        let said: f64 = (0..count - 1).map(|i| weight(i) * kernel[3 * count + kept[i]]).sum();
        assert!((whole.residuals[3] - (target[3] - whole.mean - said)).abs() < 1e-9);
    }

    #[test]
    fn a_smooth_function_is_learned_and_one_example_gives_its_mean() {
        let examples: Vec<Vec<f64>> = (0..30).map(|i| vec![i as f64 / 10.0]).collect();
        let target: Vec<f64> = examples.iter().map(|of| of[0] * of[0]).collect();
        let learned = Regression::fit(examples, &[target]);
        assert!((learned.at(&[1.55])[0] - 1.55 * 1.55).abs() < 0.1);
        assert_eq!(Regression::fit(vec![vec![1.0]], &[vec![4.0]]).at(&[9.0]), [4.0]);
    }
}
