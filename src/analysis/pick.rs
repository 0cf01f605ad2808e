//! One configuration out of a study: by which constraints, which one it is, why, and how sure that is.

mod constraint;
mod field;
mod knee;
mod words;

pub use constraint::Constraint;

use crate::analysis::{Design, Point};
use field::Field;

/// What is asked for: at least one constraint, or a choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constraints {
    pub limits: Vec<Constraint>,
    pub near_best: Option<NearBest>,
    pub choice: Choice,
}

/// How near to the most accurate of those within the limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NearBest {
    /// In 0..=1: 0.001 is a tenth of a percentage point.
    Within(f64),
    /// Its standard error, over its replicates.
    OneStandardError,
}

/// Which one is taken of those that keep to everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The fastest where a constraint is about accuracy, else the most accurate.
    #[default]
    ByConstraints,
    /// Where the front bends most.
    Knee,
}

/// The configuration that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// Index of the point.
    pub point: usize,
    pub why: String,
    /// Points with a time, an accuracy, and no replicate that diverged; where a constraint compares with the baseline, those that
    /// can be compared with it.
    pub considered: usize,
    /// Those of them that keep to everything.
    pub met: usize,
    pub runner_up: Option<RunnerUp>,
    pub confidence: Confidence,
    /// The whole training of the baseline, where it has ended.
    pub baseline: Option<usize>,
    /// What its figures must not be taken for.
    pub notes: Vec<String>,
}

/// How sure it is that the point meets the constraints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Confidence {
    /// No constraint is about a measured figure.
    Certain,
    /// The share of draws of the study in which it does.
    Share(f64),
    /// The same, but for the knee or the one standard error that was asked for too: these are judged in no draw.
    ShareOfOthers(f64),
    /// A spread that it takes is not known.
    Unknown,
    /// Nothing that draws judge is asked for.
    NotComputed,
}

impl Confidence {
    /// As a share, where it is one.
    pub fn share(self) -> Option<f64> {
        match self {
            Confidence::Certain => Some(1.0),
            Confidence::Share(share) | Confidence::ShareOfOthers(share) => Some(share),
            Confidence::Unknown | Confidence::NotComputed => None,
        }
    }
}

/// What would have been taken instead.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerUp {
    pub point: usize,
    pub why_not: String,
}

/// Why there is nothing to pick.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PickError {
    #[error("nothing is asked for: give a time, an accuracy, a speed-up, a size, or the knee of the front")]
    NoConstraint,
    #[error(
        "no configuration has a time, an accuracy, and no replicate that diverged: there is nothing to pick from yet"
    )]
    NoPoints,
    #[error("{:?} compares with the baseline, and {why}", constraint.words())]
    NoBaseline { constraint: Constraint, why: BaselineLacks },
    #[error("no configuration meets every constraint. {}.", nearest.iter().map(Nearest::words).collect::<Vec<_>>().join("; "))]
    NothingMeets { nearest: Vec<Nearest> },
    #[error(
        "the standard error of the most accurate configuration ({label}) is not known, it has one replicate: explore the \
         space with two or more, or say how far below it is near enough"
    )]
    NoStandardError { label: String },
    #[error(
        "there is no knee: it takes a point of the front above the straight line between its ends, and the front of what is \
         left has {}; ask for a time or an accuracy instead",
        words::knee_lacks(*points)
    )]
    NoKnee { points: usize },
}

/// What the baseline lacks where a constraint compares with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaselineLacks {
    #[error("the space has none: its [baseline] was excluded, or set to something else")]
    Declaration,
    #[error("none of its trials has ended yet")]
    End,
    #[error("a replicate of it diverged")]
    Convergence,
    #[error("its time or its accuracy is not known")]
    Figures,
}

/// What comes closest to a constraint that is not met.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    pub constraint: Constraint,
    /// Index of the point.
    pub point: usize,
    pub label: String,
    /// Its figure that the constraint is about.
    pub value: f64,
    /// Whether it meets all other constraints: where there are others and none meets them, it is the closest of all.
    pub meets_the_rest: bool,
}

/// The point that `constraints` ask for, out of a study's.
pub fn pick(points: &[Point], design: &Design, constraints: &Constraints) -> Result<Pick, PickError> {
    if *constraints == Constraints::default() {
        return Err(PickError::NoConstraint);
    }
    let field = Field::new(points, design, constraints)?;
    let within_limits = field.within_limits()?;
    let met = field.near_best(&within_limits, constraints.near_best)?;
    let order = match constraints.choice {
        Choice::Knee => knee::order(&field.objectives, &met)?,
        Choice::ByConstraints => field.ordered(met.clone()),
    };
    // Of a limit something kept to, the best is within any distance of itself, and a knee was found.
    let chosen = order[0];
    Ok(Pick {
        point: chosen,
        why: field.why(constraints, &met),
        considered: field.considered.len(),
        met: met.len(),
        runner_up: field.runner_up(constraints, &order, &within_limits),
        confidence: field.confidence(constraints, chosen, &within_limits),
        baseline: field.baseline,
        notes: field.notes(chosen),
    })
}
