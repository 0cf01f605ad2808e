//! Decisions, and the reasons for them in words.

use super::Basis;

/// Why a trial is trained on, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// All configurations train a little.
    First,
    Baseline,
    /// Drawn at random, for what its whole training tells of the others.
    Calibration,
    /// It can still beat the front.
    Open,
    /// It can so again, by what was learned since it was paused.
    Thawed,
    /// It is most likely not to beat the front.
    Unlikely,
    /// No accuracy would beat the front at the times that it can still come to.
    Dominated,
    /// Drawn at random among the paused.
    Audit,
    /// Drawn at random, so that the effects of its values can be told.
    Factors,
    /// Drawn at random from a space that is not listed.
    Drawn,
    /// Proposed, as it may beat the front by what others like it came to.
    Proposed,
}

impl Why {
    /// As the journal calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::First => "first",
            Why::Baseline => "baseline",
            Why::Calibration => "calibration",
            Why::Open => "open",
            Why::Thawed => "thawed",
            Why::Unlikely => "unlikely",
            Why::Dominated => "dominated",
            Why::Audit => "audit",
            Why::Factors => "factors",
            Why::Drawn => "drawn",
            Why::Proposed => "proposed",
        }
    }
}

/// A decision about a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The round of decisions that it belongs to, from 0.
    pub round: usize,
    pub trial: usize,
    /// Epochs up to which it is trained; absent where it is not trained on.
    pub epochs: Option<usize>,
    pub why: Why,
    /// What it was based on, where that was a prediction.
    pub basis: Option<Basis>,
    /// Of a proposal, what it was made of and chosen from.
    pub based_on: String,
}

impl Decision {
    /// What was decided and why, in a sentence.
    pub fn words(&self) -> String {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let until = self.epochs.map_or(String::new(), |epochs| format!("trained to epoch {epochs}"));
        let outlook = || {
            let Some(of) = self.basis else { return String::new() };
            let then = format!("by epoch {} ({:.4} s) {} is expected", of.stop, of.seconds, percent(of.expected));
            let bar = match of.to_beat {
                bar if bar < 0.0 => "nothing is known to be as fast".to_string(),
                bar => format!("{} is known to be reached in no more time", percent(bar)),
            };
            let now = match of.trained {
                0 => String::new(),
                trained => format!("after epoch {trained} its best validation accuracy is {}; ", percent(of.reached)),
            };
            format!("{now}{then} and at most {} is thought possible, and {bar}", percent(of.possible))
        };
        match self.why {
            Why::First => format!("{until}: every configuration is trained that far"),
            Why::Baseline => format!("{until}: it is the baseline"),
            Why::Calibration => format!("{until}: drawn at random, so that others can be predicted from it"),
            Why::Open => format!("{until}: it can still beat the front: {}", outlook()),
            Why::Thawed => {
                format!("{until}: by what was learned since it was paused, it can beat the front again: {}", outlook())
            }
            Why::Unlikely => format!("paused: it is unlikely to beat the front: {}", outlook()),
            Why::Dominated => {
                format!("stopped: it is dominated for certain, as no accuracy is above 100 %: {}", outlook())
            }
            Why::Audit => format!("{until}: drawn at random among the paused, for the audit"),
            Why::Drawn => format!("{until}: drawn at random from the space"),
            Why::Proposed => format!("proposed and {until}: {}; {}", self.based_on, outlook()),
            Why::Factors => format!("{until}: drawn at random, so that the effects of its values can be told"),
        }
    }
}
