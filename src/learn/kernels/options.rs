//! What operations may be told beside their operands, as configurations have it.

use serde::{Deserialize, Serialize};

/// How the nonlinearity of capsules is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Squash {
    /// `|s|²/(1+|s|²) · s/|s|`
    Exact,
    /// `s/2` where `|s| ≤ 2`, `s/|s|` above.
    Approximate,
}

/// What the products of a training on a GPU are computed in; sums, weights and everything else are f32 whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// f32 throughout: what CPU cores compute in.
    #[default]
    F32,
    /// Factors rounded to TF32, of 10 bits after the point, by tensor cores.
    Tf32,
    /// Those of the convolutions in bf16, of 7 bits after the point, and the others in TF32.
    Bf16,
}

impl Precision {
    /// Whether it is what every device computes in.
    pub fn is_f32(&self) -> bool {
        *self == Precision::F32
    }

    /// The name as it stands in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }
}

/// Added to a squared length before its root is taken, so that the gradient is finite at 0.
pub const EPSILON: f64 = 1e-9;

/// Added to the variance of a batch normalisation before its root is taken: that of Keras, by which Efficient-CapsNet was published.
pub const NORM_EPSILON: f64 = 1e-3;

/// How a gradient g moves the weights θ in step t at a learning rate η; λ is the weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Adam (Kingma and Ba 2015) as PyTorch has it: `m = β₁m + (1−β₁)g`, `v = β₂v + (1−β₂)g²`,
    /// `θ = (1−ηλ)θ − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)`. With λ above 0 it is AdamW (Loshchilov and Hutter 2019).
    Adam { constants: Constants, weight_decay: f64 },
    /// Gradient descent with Nesterov's momentum μ (Sutskever et al. 2013) as PyTorch has it: `d = g + λθ`, `m = μm + d`,
    /// `θ = θ − η(d + μm)`.
    Nesterov { momentum: f64, weight_decay: f64 },
    /// Muon (Jordan et al. 2024) for the weights that are matrices: `m = μm + (1−μ)g`, `u = (1−μ)g + μm`,
    /// `θ = (1−ηλ)θ − η·0.2√max(rows, columns) · O(u)`, O being [`super::orthogonalise`]. The factor 0.2√max is that of Liu et
    /// al. 2025, by which a step is about as long as AdamW's, so that both go by one learning rate. All other variables move by
    /// AdamW.
    Muon { momentum: f64, weight_decay: f64, others: Constants },
    /// Schedule-Free AdamW (Defazio et al. 2024): `v = β₂v + (1−β₂)g²`, `d = g/(√v/√(1−β₂ᵗ) + ε) + λy`, `z = z − ηd`,
    /// `x = (1−c)x + cz`, `y = (1−β₁)z + β₁x` with `c = η²/Σ η²` over the steps so far. The variables are y, at which gradients are
    /// taken; moments are z, which begins as y, and v. The network is judged by x, which both give.
    ScheduleFree { constants: Constants, weight_decay: f64 },
}

impl Rule {
    /// Adam without weight decay.
    pub fn adam(constants: Constants) -> Rule {
        Rule::Adam { constants, weight_decay: 0. }
    }
}

/// The constants of [`Rule::Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
}

/// Of Muon: a, b and c of the polynomial `ax + bx³ + cx⁵` that every iteration applies to the singular values. They are Jordan's: small
/// values grow fast, and those from 0.002 on end between 0.68 and 1.21 rather than at 1.
pub(super) const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
pub(super) const ITERATIONS: usize = 5;
/// Added to the norm, so that a matrix of zeros stays one.
pub(super) const LEAST_NORM: f64 = 1e-7;

/// The factors of one step of Adam: the constants with the bias correction worked in.
#[derive(Clone, Copy, Debug)]
pub struct Factors {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// `lr/(1−β₁ᵗ)`
    pub step_size: f64,
    /// `√(1−β₂ᵗ)`
    pub correction: f64,
    /// What a weight is multiplied by first: 1 without weight decay.
    pub keep: f64,
}

impl Constants {
    /// The factors of step `t`, counted from 1, without weight decay.
    pub fn factors(self, t: u64, learning_rate: f64) -> Factors {
        let Constants { beta1, beta2, epsilon } = self;
        let t = t as f64;
        Factors {
            beta1,
            beta2,
            epsilon,
            step_size: learning_rate / (1. - beta1.powf(t)),
            correction: (1. - beta2.powf(t)).sqrt(),
            keep: 1.,
        }
    }

    /// The factors of step `t` of [`Rule::ScheduleFree`], counted from 1; `squares` is Σ η², this step's included.
    pub fn free_factors(self, t: u64, learning_rate: f64, squares: f64, weight_decay: f64) -> FreeFactors {
        let Factors { beta1, beta2, epsilon, correction, .. } = self.factors(t, learning_rate);
        // Before the first step of a rate above 0 there is nothing to average.
        let share = if squares > 0. { learning_rate * learning_rate / squares } else { 0. };
        FreeFactors { beta1, beta2, epsilon, correction, learning_rate, weight_decay, share }
    }
}

impl Factors {
    /// These, with a weight decay that is decoupled from the gradient: `1 − lr·λ`.
    pub fn decaying(self, learning_rate: f64, weight_decay: f64) -> Factors {
        Factors { keep: kept(learning_rate, weight_decay), ..self }
    }
}

/// The factors of one step of [`Rule::ScheduleFree`].
#[derive(Clone, Copy, Debug)]
pub struct FreeFactors {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// `√(1−β₂ᵗ)`
    pub correction: f64,
    pub learning_rate: f64,
    pub weight_decay: f64,
    /// What the new z is of x: c.
    pub share: f64,
}

impl FreeFactors {
    /// How far y moves against d: `η(1 − β₁(1−c))`.
    pub fn length(&self) -> f64 {
        self.learning_rate * (1. - self.beta1 * (1. - self.share))
    }
}

/// x is y and this share of the way from z to y: `x = y + (1/β₁ − 1)(y − z)`.
pub(super) fn beyond(beta1: f64) -> f64 {
    1. / beta1 - 1.
}

/// What a decoupled weight decay leaves of a weight in one step.
pub(super) fn kept(learning_rate: f64, weight_decay: f64) -> f64 {
    1. - learning_rate * weight_decay
}

/// What the average of weights keeps of itself after step `t`, counted from 1: `min(decay, (1+t)/(10+t))`, as TensorFlow's
/// `ExponentialMovingAverage` has it, so that the first steps do not leave the initial weights in it.
pub fn average_decay(decay: f64, t: u64) -> f64 {
    decay.min((1. + t as f64) / (10. + t as f64))
}
