//! What a network is worth, and what it says, on images that are not trained on.

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::learn::{
    data::{Dataset, ImageShape, Images, batch},
    model::{Mask, Network, argmax},
};

/// Images a forward pass takes at once: enough for its best rate, few enough to need no more memory than training does.
pub(super) const BATCH: usize = 128;

/// What a network is worth on a set of images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean over the images, with the reconstruction of the longest capsule.
    pub loss: f64,
    /// In 0..=1.
    pub accuracy: f64,
}

/// What a network says of some images.
pub struct Predictions {
    /// `[n, channels, height, width]` in 0..=1.
    pub images: Tensor,
    /// `[n]`
    pub labels: Tensor,
    /// `[n, classes]`
    pub scores: Tensor,
    /// `[n, pixels]`, with a decoder.
    pub reconstruction: Option<Tensor>,
}

/// What `network` says of the first `count` of `images`.
pub fn predict(network: &Network, data: &Dataset, images: &Images, count: usize) -> Result<Predictions> {
    let count = count.min(images.len());
    let (mut pixels, mut labels, mut scores, mut reconstructions) = (vec![], vec![], vec![], vec![]);
    for (start, count) in batches(count) {
        let (of_pixels, of_labels) = plain_batch(data, images, start, count)?;
        let output = network.forward(&of_pixels, Mask::Longest)?;
        pixels.push(of_pixels);
        labels.push(of_labels);
        scores.push(output.scores);
        reconstructions.extend(output.reconstruction);
    }
    let reconstruction = (!reconstructions.is_empty()).then(|| Tensor::cat(&reconstructions, 0)).transpose()?;
    Ok(Predictions {
        images: Tensor::cat(&pixels, 0)?,
        labels: Tensor::cat(&labels, 0)?,
        scores: Tensor::cat(&scores, 0)?,
        reconstruction,
    })
}

fn plain_batch(data: &Dataset, images: &Images, start: usize, count: usize) -> Result<(Tensor, Tensor)> {
    let indices: Vec<u32> = (start..start + count).map(|index| index as u32).collect();
    let mut pixels = vec![0.0; count * data.shape.pixels()];
    let mut labels = vec![0; count];
    batch::gather(images, data.shape, &indices, None, &mut pixels, &mut labels);
    tensors(data.shape, &pixels, &labels)
}

/// The first image and the number of images of each batch of `count`.
pub(super) fn batches(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).step_by(BATCH).map(move |start| (start, BATCH.min(count - start)))
}

/// Images `[batch, channels, height, width]` and labels `[batch]`.
pub(super) fn tensors(shape: ImageShape, pixels: &[f32], labels: &[u32]) -> Result<(Tensor, Tensor)> {
    let size = (labels.len(), shape.channels, shape.height, shape.width);
    Ok((Tensor::from_slice(pixels, size, &Device::Cpu)?, Tensor::from_slice(labels, labels.len(), &Device::Cpu)?))
}

/// Rows of `scores [batch, classes]` whose first largest entry is the label.
pub(super) fn count_correct(scores: &[f32], labels: &[u32]) -> usize {
    let rows = scores.chunks_exact(scores.len() / labels.len());
    rows.zip(labels).filter(|(row, label)| argmax(row) == **label as usize).count()
}
