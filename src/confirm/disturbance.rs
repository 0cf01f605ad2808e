//! What is too much beside a sample.

use std::time::Duration;

use crate::machine::load::{self, Others, TICK};

/// Cores that others may take. A tenth of a core beside a step is within what the rounds differ by anyway; a compiler, a
/// backup or another training takes a whole one.
const DISTURBED: f64 = 0.1;
/// Cores that the host of a virtual machine may take: these are missing in the middle of a step, not beside it.
const STOLEN: f64 = 0.03;
/// What the system's count may be off by, in ticks, as it goes by samples: a span is long enough that this is little.
const SLACK: f64 = 2.0;

/// How long is looked for who it was.
const LOOK: Duration = Duration::from_millis(100);

/// What others took too much of, in words; none where they did not.
pub fn disturbance(others: &Others) -> Option<String> {
    let is_above = |cores: f64, limit: f64| cores * others.seconds > limit * others.seconds + SLACK * TICK;
    let Others { processes, stolen, .. } = *others;
    if is_above(processes, DISTURBED) {
        // Found out afterwards: to watch every process all the time would be a disturbance of its own.
        let who = load::busiest(LOOK).map_or(String::new(), |busy| format!(" ({busy})"));
        return Some(format!("{processes:.1} cores were taken by others{who}"));
    }
    let is_stolen = is_above(stolen, STOLEN);
    is_stolen.then(|| format!("{stolen:.2} cores were taken by the host of this virtual machine"))
}
