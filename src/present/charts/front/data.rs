//! What the front chart shows of a study.

use super::{FrontChart, StoppedPoint};
use crate::analysis::Extent;
use crate::base::words::plural;
use crate::present::charts::{facts::Facts, points};

/// Accuracy over training time of a study: every configuration that was trained, the fronts and the baseline. Of beginnings
/// of trainings those that are on the front of time and accuracy.
pub fn data(study: &Facts) -> FrontChart {
    let (view, findings) = (study.view, study.findings());
    let whole = || findings.points.iter().filter(|point| point.extent == Extent::Whole);
    let diverged = whole().filter(|point| point.diverged > 0).count();
    let trained = whole().filter(|point| point.diverged == 0 && !point.accuracy.is_empty()).count();
    let stopped: Vec<StoppedPoint> = points::stopped(study).into_iter().map(|(_, point)| point).collect();
    let mut subtitle = format!(
        "{trained} of {}, {} on the front",
        plural(view.expansion.candidates.len(), "configuration"),
        plural(findings.front.len(), "point")
    );
    let replicates = whole().map(|point| point.accuracy.len()).max().unwrap_or(0);
    if replicates > 1 {
        subtitle.push_str(&format!(" · mean ± standard deviation of up to {replicates} replicates"));
    }
    for (count, what) in [(diverged, "diverged"), (stopped.len(), "given up")] {
        if count > 0 {
            subtitle.push_str(&format!(" · {count} {what}"));
        }
    }
    FrontChart {
        title: format!("{}: accuracy over training time", view.space.name),
        subtitle,
        footnote: study.figures_note(),
        points: points::points(study, true).into_iter().map(|(_, point)| point).collect(),
        stopped,
    }
}
