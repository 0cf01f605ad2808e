//! Images that charts are given.

use serde::Serialize;

/// An image beside what a decoder makes of it, with its true and its predicted class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    pub original: Picture,
    pub reconstruction: Picture,
    pub truth: String,
    pub predicted: String,
}

/// An image of values in 0..=1, as the network sees it: `[channels, height, width]` with 1 (grey), 2 (red and green)
/// or 3 (RGB) channels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Picture {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub values: Vec<f32>,
}
