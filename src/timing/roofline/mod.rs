//! A training step held against the machine, part by part: the least time that its work takes there, and the time it took.
//!
//! What a machine can do is measured ([`ceilings`]) or published by its maker ([`mod@launches`], for a GPU that need not be
//! there); what a step takes is measured ([`measured`]).

pub mod ceilings;
pub mod launches;
pub mod measured;

pub use ceilings::Ceilings;
pub use launches::{Launch, PUBLISHED, Published, launches};
pub use measured::{LIMITS, Measured, MeasuredPart, Speed, measure};

/// What a part is held up by at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Compute,
    Memory,
}

impl Bound {
    pub fn as_str(self) -> &'static str {
        match self {
            Bound::Compute => "compute",
            Bound::Memory => "memory",
        }
    }
}
