//! Images in memory, with their classes.

use std::collections::BTreeMap;

/// Height, width and channels of every image of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl ImageShape {
    /// Pixel values an image holds, over all channels.
    pub const fn pixels(&self) -> usize {
        self.channels * self.height * self.width
    }
}

/// Images with their classes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// `[images, channels, height, width]`, 0 to 255.
    pub pixels: Vec<u8>,
    /// `[images]`, the class of each.
    pub labels: Vec<u8>,
}

impl Images {
    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of image `index`, `[channels, height, width]`.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.pixels.len() / self.labels.len();
        &self.pixels[index * size..(index + 1) * size]
    }

    /// How many images each class has.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// `count` images, those of [`in_turn`].
    pub fn of_each_class(&self, count: usize) -> Images {
        self.select(&in_turn(&self.labels, count).into_iter().map(|index| index as u32).collect::<Vec<_>>())
    }

    /// The images at `indices`, in that order.
    pub(super) fn select(&self, indices: &[u32]) -> Images {
        let mut selected =
            Images { pixels: Vec::new(), labels: indices.iter().map(|&index| self.labels[index as usize]).collect() };
        if let Some(&first) = indices.first() {
            selected.pixels.reserve_exact(self.image(first as usize).len() * indices.len());
        }
        for &index in indices {
            selected.pixels.extend_from_slice(self.image(index as usize));
        }
        selected
    }

    pub(super) fn append(&mut self, mut other: Images) {
        self.pixels.append(&mut other.pixels);
        self.labels.append(&mut other.labels);
    }
}

/// Indices of `count` labels, one of each class in turn, so that few of them show all classes.
pub fn in_turn<T: Copy + Ord>(labels: &[T], count: usize) -> Vec<usize> {
    let mut seen = BTreeMap::new();
    let mut places: Vec<(usize, T, usize)> = Vec::with_capacity(labels.len());
    for (index, label) in labels.iter().enumerate() {
        let turn = seen.entry(*label).or_insert(0);
        places.push((*turn, *label, index));
        *turn += 1;
    }
    places.sort_unstable();
    places.into_iter().take(count).map(|(_, _, index)| index).collect()
}
