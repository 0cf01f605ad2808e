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
