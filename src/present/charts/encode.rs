//! A scene as PNG and as SVG.

use super::{canvas::Scene, png, svg};

impl Scene {
    /// The picture as an encoded PNG.
    pub fn png(&self) -> Vec<u8> {
        png::encode(self)
    }

    /// The picture as an SVG document.
    pub fn svg(&self) -> String {
        svg::encode(self)
    }
}
