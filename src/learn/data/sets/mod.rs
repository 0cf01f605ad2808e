//! The data sets that the program knows: a file and a row each.
//!
//! A set in a known format is a [`Descriptor`] in a file here, and its row below: nothing else names data sets. Images whose sizes
//! and classes are known only once they have been looked at are the user's own: [`super::own`] has a row for each of their formats.

pub mod cifar10;
pub mod fashion_mnist;
pub mod glyphs;
pub mod mnist;

use super::descriptor::{DatasetName, Descriptor};

/// In the order in which they are listed.
const ROWS: &[&Descriptor] = &[&glyphs::SET, &mnist::SET, &fashion_mnist::SET, &cifar10::SET];

impl DatasetName {
    /// Every data set that the program knows.
    pub fn all() -> impl ExactSizeIterator<Item = DatasetName> + Clone {
        ROWS.iter().map(|set| DatasetName::of(set))
    }

    /// The data set of that name.
    pub fn named(name: &str) -> Option<DatasetName> {
        DatasetName::all().find(|set| set.as_str() == name)
    }
}
