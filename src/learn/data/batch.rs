//! Batches: the order of an epoch, and the copy of its images into a batch, shifted at random.

use super::{
    images::{ImageShape, Images},
    split,
};
use crate::base::rng;

/// The order in which epoch `epoch` sees the `samples` training images: a uniform random permutation,
/// a pure function of the arguments.
pub fn epoch_order(samples: usize, seed: u64, epoch: usize) -> Vec<u32> {
    let samples = u32::try_from(samples).expect("a data set in memory holds fewer than 2^32 images");
    let mut order: Vec<u32> = (0..samples).collect();
    split::shuffle(&mut order, &mut rng::stream(seed, "epoch order", epoch as u64));
    order
}

/// Random shift of training images, the paper's augmentation.
///
/// The shift of an image depends on the seed, the epoch and the image's index alone: not on the batch
/// it is in, nor on how many threads there are.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    /// Largest shift in each direction, in pixels; must be less than 2^15.
    pub max: usize,
    pub seed: u64,
    pub epoch: usize,
}

impl Shift {
    /// How far image `index` moves right and down, in pixels: uniform in `-max..=max` both ways.
    pub fn of(&self, index: u32) -> (isize, isize) {
        let hash = mix(mix(mix(self.seed) ^ self.epoch as u64) ^ u64::from(index));
        let choices = 2 * self.max as u64 + 1;
        let draw = |bits: u64| ((bits * choices) >> 32) as isize - self.max as isize;
        (draw(hash >> 32), draw(hash & 0xffff_ffff))
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): a counter-based hash of 64 bits.
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Copies the images at `indices` into `pixels` as `[batch, channels, height, width]` in 0..=1 and
/// their classes into `labels` as `[batch]`; what a shift uncovers is 0.
///
/// # Panics
/// When a buffer's length is not the batch's, or an index lies outside `images`.
pub fn gather(
    images: &Images,
    shape: ImageShape,
    indices: &[u32],
    shift: Option<Shift>,
    pixels: &mut [f32],
    labels: &mut [u32],
) {
    assert_eq!(pixels.len(), indices.len() * shape.pixels(), "pixels of a batch of {}", indices.len());
    assert_eq!(labels.len(), indices.len(), "labels of a batch of {}", indices.len());
    for ((&index, target), label) in indices.iter().zip(pixels.chunks_exact_mut(shape.pixels())).zip(labels) {
        *label = u32::from(images.labels[index as usize]);
        let image = images.image(index as usize);
        match shift.map_or((0, 0), |shift| shift.of(index)) {
            (0, 0) => copy_row(image, target),
            (right, down) => copy_shifted(image, shape, right, down, target),
        }
    }
}

fn copy_row(source: &[u8], target: &mut [f32]) {
    for (value, &byte) in target.iter_mut().zip(source) {
        *value = f32::from(byte) / 255.0;
    }
}

fn copy_shifted(image: &[u8], shape: ImageShape, right: isize, down: isize, target: &mut [f32]) {
    let ImageShape { height, width, .. } = shape;
    target.fill(0.0);
    let columns = width.saturating_sub(right.unsigned_abs());
    let (from_x, to_x) = ((-right).max(0) as usize, right.max(0) as usize);
    for (source, target) in image.chunks_exact(height * width).zip(target.chunks_exact_mut(height * width)) {
        for from_y in (-down).max(0) as usize..height.saturating_sub(down.max(0) as usize) {
            // In 0..height by the bounds of the loop.
            let to_y = (from_y as isize + down) as usize;
            let (from, to) = (from_y * width + from_x, to_y * width + to_x);
            if columns > 0 {
                copy_row(&source[from..from + columns], &mut target[to..to + columns]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 5, width: 4 };

    fn counting_images(count: usize) -> Images {
        let pixels = (0..count * SHAPE.pixels()).map(|value| (value % 251) as u8 + 1).collect();
        Images { pixels, labels: (0..count).map(|index| (index % 10) as u8).collect() }
    }

    fn gathered(images: &Images, indices: &[u32], shift: Option<Shift>) -> (Vec<f32>, Vec<u32>) {
        let (mut pixels, mut labels) = (vec![f32::NAN; indices.len() * SHAPE.pixels()], vec![99; indices.len()]);
        gather(images, SHAPE, indices, shift, &mut pixels, &mut labels);
        (pixels, labels)
    }

    #[test]
    fn an_epoch_sees_every_image_once_and_each_epoch_in_its_own_order() {
        let order = epoch_order(1000, 7, 0);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
        assert_eq!(order, epoch_order(1000, 7, 0));
        assert_ne!(order, epoch_order(1000, 7, 1));
        assert_ne!(order, epoch_order(1000, 8, 0));
        assert!(epoch_order(0, 0, 0).is_empty());
    }

    #[test]
    fn pixels_become_shares_of_255() {
        let images = counting_images(3);
        let (pixels, labels) = gathered(&images, &[2, 0], None);
        let expected: Vec<f32> =
            [images.image(2), images.image(0)].concat().iter().map(|&byte| f32::from(byte) / 255.0).collect();
        assert_eq!(pixels, expected);
        assert_eq!(labels, [2, 0]);
    }

    #[test]
    fn a_shifted_image_is_moved_as_a_whole_and_filled_with_zeros() {
        let images = counting_images(40);
        for max in [1, 3, 6] {
            let shift = Shift { max, seed: 3, epoch: 2 };
            for index in 0..40 {
                let (right, down) = shift.of(index);
                let (pixels, _) = gathered(&images, &[index], Some(shift));
                for channel in 0..2_isize {
                    for y in 0..5_isize {
                        for x in 0..4_isize {
                            let (from_x, from_y) = (x - right, y - down);
                            let inside = (0..4).contains(&from_x) && (0..5).contains(&from_y);
                            let at = |x: isize, y: isize| (channel * 20 + y * 4 + x) as usize;
                            let expected = if inside {
                                f32::from(images.image(index as usize)[at(from_x, from_y)]) / 255.0
                            } else {
                                0.0
                            };
                            assert_eq!(pixels[at(x, y)], expected, "image {index} by ({right}, {down}) at ({x}, {y})");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_shift_of_an_image_does_not_depend_on_its_batch() {
        let images = counting_images(8);
        let shift = Some(Shift { max: 2, seed: 1, epoch: 4 });
        let (whole, _) = gathered(&images, &[0, 1, 2, 3, 4, 5, 6, 7], shift);
        let halves = [gathered(&images, &[0, 1, 2], shift).0, gathered(&images, &[3, 4, 5, 6, 7], shift).0].concat();
        assert_eq!(whole, halves);
    }

    #[test]
    fn shifts_are_uniform_in_both_directions() {
        let shift = Shift { max: 2, seed: 11, epoch: 0 };
        let mut counts = [[0_i32; 5]; 5];
        for index in 0..25_000 {
            let (right, down) = shift.of(index);
            counts[(right + 2) as usize][(down + 2) as usize] += 1;
        }
        // 1000 expected in each cell; 6 standard deviations are 186.
        assert!(counts.iter().flatten().all(|count| (count - 1000).abs() < 186), "{counts:?}");
        assert_eq!(Shift { max: 0, seed: 11, epoch: 0 }.of(3), (0, 0));
    }
}
