//! The data sets that the program knows: a file and a row each.
//!
//! A set in a known format is a [`Descriptor`] in a file here, and its row below: nothing else names data sets. Where sizes and
//! classes are known only once the images have been looked at, a config can write what was seen in place of the name, as a table
//! (`data.name = { folder = …, shape = …, classes = … }`): then a trial's folder says all, and whoever reads the config needs no
//! look at the images. What reads that table makes a descriptor of it, which lives as long as the process, and stands beside
//! [`DatasetName::named`] in [`DatasetName::deserialize`].

pub mod cifar10;
pub mod fashion_mnist;
pub mod glyphs;
pub mod mnist;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::descriptor::{DatasetName, Descriptor};

/// In the order in which they are listed.
const ROWS: &[&Descriptor] = &[&glyphs::SET, &mnist::SET, &fashion_mnist::SET, &cifar10::SET];

/// Their names, in that order.
static NAMES: [&str; ROWS.len()] = {
    let mut names = [""; ROWS.len()];
    let mut row = 0;
    while row < ROWS.len() {
        names[row] = ROWS[row].name;
        row += 1;
    }
    names
};

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

impl Serialize for DatasetName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for DatasetName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DatasetName, D::Error> {
        let name = String::deserialize(deserializer)?;
        DatasetName::named(&name).ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}
