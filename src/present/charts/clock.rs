//! The wall clock of a study without the times in which no trial ran.

use super::facts::Facts;
use super::gantt::Break;
use crate::base::machine::seconds_between;
use crate::learn::record::{Status, TrialRecord};

/// What is left out of a study's wall clock.
pub struct Clock {
    /// Seconds from the first start to the last end, without the breaks.
    pub whole: f64,
    pub breaks: Vec<Break>,
}

/// A trial: its candidate, its record, the seconds of its start and its end.
pub type Span<'a> = (usize, &'a TrialRecord, f64, f64);

/// A time without a trial is a break from so many seconds on.
const BREAK: f64 = 60.0;

impl Facts<'_> {
    /// Trials that started, by their starts, on a clock without breaks. One that runs ends where the last event is.
    pub fn clock(&self) -> (Clock, Vec<Span<'_>>) {
        let begun =
            || self.begun().filter_map(|(candidate, record, _)| Some((candidate, record, record.started.as_deref()?)));
        let Some(zero) = begun().map(|(_, _, started)| started).min() else {
            return (Clock { whole: 0.0, breaks: Vec::new() }, Vec::new());
        };
        let since = |text: &str| seconds_between(zero, text).filter(|seconds| *seconds >= 0.0);
        let mut spans: Vec<Span> = begun()
            .filter_map(|(candidate, record, started)| {
                let start = since(started)?;
                let end = record.ended.as_deref().and_then(since).map_or(f64::NAN, |end| end.max(start));
                Some((candidate, record, start, end))
            })
            .collect();
        spans.sort_by(|a, b| a.2.total_cmp(&b.2).then(a.3.total_cmp(&b.3)));
        let last = spans.iter().map(|span| span.3.max(span.2)).fold(0.0, f64::max);
        for (_, record, start, end) in &mut spans {
            if end.is_nan() {
                *end = if record.status == Status::Running { last } else { *start };
            }
        }
        let breaks = breaks(&spans);
        for (_, _, start, end) in &mut spans {
            (*start, *end) = (without(&breaks, *start), without(&breaks, *end));
        }
        let whole = without(&breaks, last);
        let mut before = 0.0;
        let left_out = breaks.iter().map(|(from, to)| {
            let at = from - before;
            before += to - from;
            Break { at, seconds: to - from }
        });
        (Clock { whole, breaks: left_out.collect() }, spans)
    }
}

/// From where to where no trial runs, of trials by their starts.
fn breaks(spans: &[Span]) -> Vec<(f64, f64)> {
    let mut breaks = Vec::new();
    let mut busy = 0.0_f64;
    for (_, _, start, end) in spans {
        if start - busy > BREAK {
            breaks.push((busy, *start));
        }
        busy = busy.max(*end);
    }
    breaks
}

fn without(breaks: &[(f64, f64)], at: f64) -> f64 {
    at - breaks.iter().take_while(|(from, _)| *from < at).map(|(from, to)| to.min(at) - from).sum::<f64>()
}
