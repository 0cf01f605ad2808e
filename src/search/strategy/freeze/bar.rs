//! What a point must beat to be on the front.

use crate::analysis::Objectives;

/// The best accuracy that is known for a time (and a size).
pub(crate) struct Bar {
    /// Seconds, parameters, accuracy, by time; with two objectives only those that are better than all before.
    steps: Vec<(f64, f64, f64)>,
    has_size: bool,
}

impl Bar {
    /// Of points (seconds, parameters, accuracy).
    pub fn of(mut points: Vec<(f64, f64, f64)>, objectives: Objectives) -> Bar {
        let has_size = objectives == Objectives::TimeAccuracyParameters;
        points.retain(|(seconds, _, accuracy)| seconds.is_finite() && accuracy.is_finite());
        points.sort_by(|one, other| {
            one.0.total_cmp(&other.0).then(other.2.total_cmp(&one.2)).then(one.1.total_cmp(&other.1))
        });
        let mut steps: Vec<(f64, f64, f64)> = Vec::new();
        for point in points {
            let is_beaten = |step: &(f64, f64, f64)| step.2 >= point.2 && (!has_size || step.1 <= point.1);
            let beaten = if has_size { steps.iter().any(is_beaten) } else { steps.last().is_some_and(is_beaten) };
            if !beaten {
                steps.push(point);
            }
        }
        Bar { steps, has_size }
    }

    /// The accuracy to beat at so many seconds (and parameters); below 0 where nothing is known to be as fast.
    pub fn at(&self, seconds: f64, parameters: f64) -> f64 {
        let end = self.steps.partition_point(|step| step.0 <= seconds);
        match self.has_size {
            false => end.checked_sub(1).map_or(-1.0, |last| self.steps[last].2),
            true => self.steps[..end].iter().filter(|of| of.1 <= parameters).map(|of| of.2).fold(-1.0, f64::max),
        }
    }
}
