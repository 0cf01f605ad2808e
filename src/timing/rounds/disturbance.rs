//! What is too much beside a sample.

use std::time::Duration;

use crate::base::machine::load::{self, Others, TICK};

/// Cores that others may take. A tenth of a core beside a step is within what the rounds differ by anyway; a compiler, a
/// backup or another training takes a whole one.
const DISTURBED: f64 = 0.1;
/// Cores that the host of a virtual machine may take: these are missing in the middle of a step, not beside it.
const STOLEN: f64 = 0.03;
/// What the system's count may be off by, in ticks, as it goes by samples, and ours does not: a span is long enough that this is
/// little. Every core on which we compute is counted by itself, and its error adds to the others', some above and some below.
const SLACK: f64 = 2.0;
const SLACK_PER_THREAD: f64 = 0.25;

/// How long is looked for who it was.
const LOOK: Duration = Duration::from_millis(100);

/// What others took too much of, in words, while this process computed on so many threads; none where they did not.
pub fn disturbance(others: &Others, threads: usize) -> Option<String> {
    let slack = (SLACK + SLACK_PER_THREAD * threads as f64) * TICK;
    let is_above = |cores: f64, limit: f64| cores * others.seconds > limit * others.seconds + slack;
    let Others { processes, stolen, .. } = *others;
    if is_above(processes, DISTURBED) {
        // Found out afterwards: to watch every process all the time would be a disturbance of its own.
        let who = load::busiest(LOOK).map_or(String::new(), |busy| format!(" ({busy})"));
        return Some(format!("{processes:.1} cores were taken by others{who}"));
    }
    let is_stolen = is_above(stolen, STOLEN);
    is_stolen.then(|| format!("{stolen:.2} cores were taken by the host of this virtual machine"))
}
