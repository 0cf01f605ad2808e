//! Images of the user's own as descriptors, which live as long as the process.

use std::sync::{Mutex, PoisonError};

use super::format::{Own, Seen};
use crate::learn::data::{
    descriptor::{DatasetName, Descriptor, Origin},
    images::ImageShape,
};

/// What was seen of a data set that a descriptor describes.
pub(in crate::learn::data) fn seen(set: &Descriptor) -> Seen {
    let ImageShape { channels, height, width } = set.shape;
    let classes = set.class_names.iter().map(|name| (*name).to_string()).collect();
    Seen { shape: [channels, height, width], train: set.available.0, test: set.available.1, classes }
}

/// Those that were described in this process, once each: a descriptor lives as long as the process.
static DESCRIBED: Mutex<Vec<&'static Descriptor>> = Mutex::new(Vec::new());

/// The data set of these images.
pub(in crate::learn::data) fn describe(name: &'static str, own: Own, as_seen: &Seen) -> DatasetName {
    let mut described = DESCRIBED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_it = |set: &&&'static Descriptor| set.name == name && set.own() == Some(&own) && seen(set) == *as_seen;
    if let Some(set) = described.iter().find(is_it) {
        return DatasetName::of(set);
    }
    let names: Vec<&'static str> = as_seen.classes.iter().map(|name| &*String::leak(name.clone())).collect();
    let images = (as_seen.train, as_seen.test);
    let set: &'static Descriptor = Box::leak(Box::new(Descriptor {
        name,
        shape: as_seen.image_shape(),
        class_names: names.leak(),
        available: images,
        default_samples: images,
        origin: Origin::Own(own),
    }));
    described.push(set);
    DatasetName::of(set)
}

/// The same images without all that is not theirs: where they lie, in which format, what they and their classes are called.
pub(in crate::learn::data) fn anonymous(set: &Descriptor) -> DatasetName {
    let classes = (0..set.classes()).map(|class| class.to_string()).collect();
    describe("images", Own::default(), &Seen { train: 0, test: 0, classes, ..seen(set) })
}
