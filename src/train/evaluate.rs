//! Accuracy and loss on images that are not trained on.

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::{
    data::{Dataset, Images, batch},
    model::{Mask, Network},
};

/// Images a forward pass takes at once.
const BATCH: usize = 256;

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

/// Loss and accuracy of `network` on `images`, which belong to `data`.
pub fn evaluate(network: &Network, data: &Dataset, images: &Images) -> Result<Evaluation> {
    let (mut loss, mut correct) = (0.0, 0);
    for start in (0..images.len()).step_by(BATCH) {
        let count = BATCH.min(images.len() - start);
        let (pixels, labels) = plain_batch(data, images, start, count)?;
        let output = network.forward(&pixels, Mask::Longest)?;
        loss += f64::from(network.loss(&output, &pixels, &labels)?.to_scalar::<f32>()?) * count as f64;
        correct += count_correct(&output.scores.to_vec2()?, &labels.to_vec1()?);
    }
    let count = images.len() as f64;
    Ok(Evaluation { loss: loss / count, accuracy: correct as f64 / count })
}

/// What `network` says of the first `count` of `images`.
pub fn predict(network: &Network, data: &Dataset, images: &Images, count: usize) -> Result<Predictions> {
    let count = count.min(images.len());
    let (mut pixels, mut labels, mut scores, mut reconstructions) = (vec![], vec![], vec![], vec![]);
    for start in (0..count).step_by(BATCH) {
        let (of_pixels, of_labels) = plain_batch(data, images, start, BATCH.min(count - start))?;
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
    let size = (count, data.shape.channels, data.shape.height, data.shape.width);
    Ok((Tensor::from_vec(pixels, size, &Device::Cpu)?, Tensor::from_vec(labels, count, &Device::Cpu)?))
}

/// Rows of `scores` whose first largest entry is the label.
pub fn count_correct(scores: &[Vec<f32>], labels: &[u32]) -> usize {
    let right = |(row, label): &(&Vec<f32>, &u32)| argmax(row) == **label as usize;
    scores.iter().zip(labels).filter(right).count()
}

/// Index of the first largest value; NaN is never the largest.
pub fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] || values[best].is_nan() {
            best = index;
        }
    }
    best
}
