//! How large and in which colours a chart is drawn.

use super::canvas::{Dash, Scene, Stroke};
use super::style::{PALETTE, on_dark};

/// How a chart is to look.
#[derive(Clone, Debug, PartialEq)]
pub struct Style {
    /// In pixels, at [`SCREEN`] dots per inch.
    pub width: u32,
    /// Absent: as high as the chart needs.
    pub height: Option<u32>,
    /// Dots per inch: more of them make a picture of the same size on paper, with more pixels.
    pub dpi: u32,
    /// In the place of the chart's own.
    pub title: Option<String>,
    /// From where to where the axes go, in their units; absent: as the values need.
    pub x_range: Option<(f64, f64)>,
    pub y_range: Option<(f64, f64)>,
    pub theme: Theme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Light,
    Dark,
}

/// Dots per inch of a picture that is not meant for paper.
pub const SCREEN: u32 = 96;
/// Width of the sheet that every chart is laid out on; the finished picture is that sheet, scaled.
pub const SHEET_WIDTH: u32 = 1600;
/// Height of a sheet that nothing else is said about.
pub const SHEET_HEIGHT: u32 = 1000;

/// How many times as high as it must be a row is at most.
const STRETCH: f64 = 3.2;

impl Default for Style {
    fn default() -> Style {
        let (width, height, dpi, theme) = (SHEET_WIDTH, None, SCREEN, Theme::Light);
        Style { width, height, dpi, title: None, x_range: None, y_range: None, theme }
    }
}

impl Style {
    /// Height of the sheet: that of a picture of this shape, as far as a chart can be laid out in it.
    pub fn sheet_height(&self) -> u32 {
        let Some(height) = self.height else { return SHEET_HEIGHT };
        let wanted = f64::from(SHEET_WIDTH) * f64::from(height) / f64::from(self.width.max(1));
        (wanted.round() as u32).clamp(800, 2400)
    }

    /// Height of the sheet of a chart that needs so much; more, where a picture of this shape has room.
    pub fn height_for(&self, needed: f64) -> u32 {
        let needed = needed.ceil() as u32;
        if self.height.is_some() { needed.max(self.sheet_height()) } else { needed }
    }

    /// Height of each of so many rows on a sheet that has `others` pixels of other things: `least`, and more where the picture is
    /// to have a height that leaves room below them.
    pub fn row_for(&self, rows: usize, others: f64, least: f64) -> f64 {
        if self.height.is_none() {
            return least;
        }
        ((f64::from(self.sheet_height()) - others) / rows.max(1) as f64).clamp(least, STRETCH * least)
    }

    /// A scene that was laid out on the sheet, in its size and colours.
    pub fn finish(&self, scene: &Scene) -> Scene {
        let dots = |pixels: f64| (pixels * f64::from(self.dpi) / f64::from(SCREEN)).round().max(1.0) as u32;
        let grown = || f64::from(scene.height) * f64::from(self.width) / f64::from(scene.width.max(1));
        let size = (dots(f64::from(self.width)), dots(self.height.map_or_else(grown, f64::from)));
        let is_as_it_is = size == (scene.width, scene.height);
        let sized = if is_as_it_is { scene.clone() } else { scene.fitted(size.0, size.1) };
        let dpi = (self.dpi != SCREEN).then_some(self.dpi);
        let Scene { page, shapes, .. } = match self.theme {
            Theme::Light => sized,
            Theme::Dark => sized.recoloured(on_dark),
        };
        Scene { width: size.0, height: size.1, page, dpi, shapes }
    }
}

/// How lines are told apart: by each colour, then by each colour again, dotted.
const DASHES: [Dash; 2] = [Dash::Solid, Dash::Dotted];
/// As many lines have a style of their own.
pub const TOLD_APART: usize = DASHES.len() * PALETTE.len();

/// The style of a line by its number, below [`TOLD_APART`]; no two have one.
pub fn told_apart(line: usize) -> Stroke {
    Stroke { colour: PALETTE[line % PALETTE.len()], width: 3.0, dash: DASHES[line / PALETTE.len() % DASHES.len()] }
}
