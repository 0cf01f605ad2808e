//! Times that can be believed: steps timed alone on the machine.

pub mod confirm;
pub mod times;
