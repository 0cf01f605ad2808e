//! From when on the first layers are not trained any more.

use serde::{Deserialize, Serialize};

use super::Progress;
use crate::{base::invalid::Invalid, learn::model::scope::Frozen};

/// Shares of the training after which the weights of a layer stay what they are (after FreezeOut, Brock et al. 2017, whose layers
/// come to that by a rate of their own that falls to 0; here it is at once). 1 for a layer that is trained to the end. The first
/// layer is frozen no later than the second, so that what is below a frozen layer needs no gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreezeSchedule {
    pub conv1: f64,
    /// The convolution of the primary capsules.
    pub primary: f64,
}

impl Default for FreezeSchedule {
    fn default() -> Self {
        FreezeSchedule { conv1: 1.0, primary: 1.0 }
    }
}

impl FreezeSchedule {
    /// Whether every layer is trained to the end.
    pub fn is_never(&self) -> bool {
        *self == FreezeSchedule::default()
    }

    /// What is frozen at `progress`.
    pub fn at(&self, progress: Progress) -> Frozen {
        let is_frozen = |from: f64| from < 1.0 && progress.fraction() >= from;
        match () {
            () if is_frozen(self.primary) => Frozen::Primary,
            () if is_frozen(self.conv1) => Frozen::Conv1,
            () => Frozen::Nothing,
        }
    }

    /// Shares of the training at which layers are frozen.
    pub(super) fn turns(&self) -> impl Iterator<Item = f64> {
        [self.conv1, self.primary].into_iter().filter(|share| *share < 1.0)
    }

    pub(super) fn validate(&self, path: &str) -> Result<(), Invalid> {
        for (key, share) in [("primary", self.primary), ("conv1", self.conv1)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Invalid::new(&format!("{path}.{key}"), share, "a share of the training from 0 to 1"));
            }
        }
        if self.conv1 > self.primary {
            let allowed = format!("at most {path}.primary = {}: a layer is frozen after those below it", self.primary);
            return Err(Invalid::new(&format!("{path}.conv1"), self.conv1, allowed));
        }
        Ok(())
    }
}
