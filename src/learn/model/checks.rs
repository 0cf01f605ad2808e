//! Checks of single values of a network's configuration.

use std::ops::RangeInclusive;

use crate::base::invalid::Invalid;

/// Checks `value` against a range.
pub(super) fn within(path: &str, value: usize, range: RangeInclusive<usize>) -> Result<(), Invalid> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(Invalid::new(path, value, format!("{} to {}", range.start(), range.end()))),
    }
}

/// Checks that a size that `layer` has not, as `model.primary = "dense"`, was not given: that it is 0.
pub(super) fn has_none(path: &str, value: usize, layer: &str) -> Result<(), Invalid> {
    match value {
        0 => Ok(()),
        _ => Err(Invalid::new(path, value, format!("none: {layer} has no such choice"))),
    }
}

/// Checks that a sharing factor divides the channels.
pub(super) fn divides(path: &str, factor: usize, channels: usize, what: &str) -> Result<(), Invalid> {
    if factor > 0 && channels.is_multiple_of(factor) {
        return Ok(());
    }
    let divisors: Vec<_> = (1..=channels).filter(|d| channels.is_multiple_of(*d)).map(|d| d.to_string()).collect();
    Err(Invalid::new(path, factor, format!("a divisor of {what} ({channels}): {}", divisors.join(", "))))
}
