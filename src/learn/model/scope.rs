//! How much of a network a training step computes, and which of its layers it trains.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a step does beside seeing its samples. The default is a step of the whole network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Routing iterations; the network's own number where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
    /// Whether the decoder does not run: the loss has no reconstruction then, and the decoder's weights have no gradient.
    #[serde(skip_serializing_if = "is_false")]
    pub skips_decoder: bool,
    #[serde(skip_serializing_if = "Frozen::is_nothing")]
    pub frozen: Frozen,
}

/// The first layers of a network that a step does not train. Their weights have no gradient, and nothing below the last of them
/// has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frozen {
    #[default]
    Nothing,
    /// The first convolution.
    Conv1,
    /// The first convolution and the layer of the primary capsules.
    Primary,
}

impl Scope {
    /// Whether the whole network is computed, with its own number of iterations, and trained.
    pub fn is_whole(&self) -> bool {
        *self == Scope::default()
    }
}

/// What is not as in a step of the whole network, in words.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Scope { iterations, skips_decoder, frozen } = *self;
        let frozen = match frozen {
            Frozen::Nothing => None,
            Frozen::Conv1 => Some("conv1 frozen".to_string()),
            Frozen::Primary => Some("conv1 and primary frozen".to_string()),
        };
        let routing = iterations.map(|iterations| format!("routing iterations {iterations}"));
        let decoder = skips_decoder.then(|| "no reconstruction".to_string());
        let parts: Vec<String> = routing.into_iter().chain(decoder).chain(frozen).collect();
        if parts.is_empty() { f.write_str("the whole network") } else { f.write_str(&parts.join(", ")) }
    }
}

impl Frozen {
    pub fn is_nothing(&self) -> bool {
        *self == Frozen::Nothing
    }

    /// Layers with weights that are frozen, from the first on.
    pub fn layers(self) -> usize {
        match self {
            Frozen::Nothing => 0,
            Frozen::Conv1 => 1,
            Frozen::Primary => 2,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
