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

/// The constants of [`super::Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
}

/// The factors of one step: the constants with the bias correction worked in.
#[derive(Clone, Copy, Debug)]
pub struct Factors {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// `lr/(1−β₁ᵗ)`
    pub step_size: f64,
    /// `√(1−β₂ᵗ)`
    pub correction: f64,
}

impl Constants {
    /// The factors of step `t`, counted from 1.
    pub fn factors(self, t: u64, learning_rate: f64) -> Factors {
        let Constants { beta1, beta2, epsilon } = self;
        let t = t as f64;
        Factors {
            beta1,
            beta2,
            epsilon,
            step_size: learning_rate / (1. - beta1.powf(t)),
            correction: (1. - beta2.powf(t)).sqrt(),
        }
    }
}
