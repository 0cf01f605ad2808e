//! Images beside what the decoder makes of them, with true and predicted classes.

use anyhow::bail;
use serde::Serialize;

use super::canvas::{Anchor, Pixels, Point, Scene, Stroke, Text, Weight};
use super::font;
pub use super::images::{Picture, Sample};
use super::kind::{ChartKind, OnSheet, Ranges, boxed};
use super::layout::{self, MARGIN};
use super::look::Style;
use super::style::{FAINT, INK, MUTED, NOTE, SMALL, SUBTITLE, TITLE, VERMILION};
use crate::base::words::plural;

pub const KIND: ChartKind = ChartKind {
    name: "reconstructions",
    title: "Images and their reconstructions",
    help: "test images beside what the decoder of the picked configuration makes of them",
    ranges: Ranges::Neither,
    data: |study, _| {
        if study.samples.is_empty() {
            let label = study.picked.and_then(|picked| study.view.expansion.candidates.get(picked));
            let of = label.map_or("the picked configuration".into(), |of| format!("{:?}", of.label));
            bail!(
                "there is no reconstruction: {of} has no decoder, or no weights were kept of it; name another one with \
                 --configuration, as the column `configuration` of trials.csv has it"
            );
        }
        let label = study.picked.and_then(|picked| study.view.expansion.candidates.get(picked));
        let of = label.map_or(String::new(), |of| format!("{}: ", of.label));
        boxed(ReconstructionsChart {
            title: format!("{}: test images and their reconstructions", study.view.space.name),
            subtitle: format!("{of}above the image, below what the decoder makes of its longest capsule"),
            samples: study.samples.clone(),
        })
    },
};

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ReconstructionsChart {
    pub title: String,
    pub subtitle: String,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReconstructionsLayout {
    pub width: u32,
    pub height: u32,
    pub cells: Vec<Cell>,
    /// Top edge of each band of two rows.
    pub bands: Vec<f64>,
    /// Samples for which there is no room.
    pub left_out: usize,
}

/// One sample in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub at: Point,
    pub scale: f64,
    pub original: Pixels,
    pub reconstruction: Pixels,
    pub words: String,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    Wrong,
}

const COLUMNS: usize = 10;
const BANDS: usize = 4;
/// Side of an image on the picture, about: a whole number of pixels per pixel.
const SIDE: f64 = 120.0;
const GAP: f64 = 18.0;
const CAPTIONS: f64 = 170.0;
const HEAD: f64 = 140.0;

impl OnSheet for ReconstructionsChart {
    fn on_sheet(&self, style: &Style) -> Scene {
        draw(self, style)
    }
}

/// How many samples a picture has room for: two bands, or as many as its height has.
pub fn samples_for(style: &Style) -> usize {
    const LEAST: usize = 2;
    let high = 2.0 * SIDE + GAP + 58.0;
    let room = style.height.map_or(0.0, |_| f64::from(style.sheet_height()) - HEAD - 40.0);
    COLUMNS * ((room / high) as usize).clamp(LEAST, BANDS)
}

/// Decides the grid. Samples whose images are not as large as they say are left out.
pub fn arrange(chart: &ReconstructionsChart) -> ReconstructionsLayout {
    let good: Vec<_> = chart
        .samples
        .iter()
        .filter_map(|sample| Some((sample, pixels(&sample.original)?, pixels(&sample.reconstruction)?)))
        .take(COLUMNS * BANDS)
        .collect();
    let largest = good.iter().map(|(_, image, _)| image.width.max(image.height)).max().unwrap_or(SIDE as usize);
    let scale = (SIDE / largest as f64).round().max(1.0);
    let side = scale * largest as f64;
    let band = 2.0 * side + GAP + 58.0;
    let columns = good.len().min(COLUMNS);
    let place = |index: usize| {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        (MARGIN + CAPTIONS + column as f64 * (side + GAP), HEAD + row as f64 * band)
    };
    let cell = |(index, (sample, original, reconstruction)): (usize, (&Sample, Pixels, Pixels))| {
        let verdict = if sample.truth == sample.predicted { Verdict::Right } else { Verdict::Wrong };
        let words = match verdict {
            Verdict::Right => sample.truth.clone(),
            Verdict::Wrong => format!("{} → {}", sample.truth, sample.predicted),
        };
        let words = font::shortened(&words, Weight::Bold, SMALL, side + GAP - 4.0);
        Cell { at: place(index), scale, original, reconstruction, words, verdict }
    };
    let bands = good.len().div_ceil(COLUMNS);
    let needed = 2.0 * MARGIN + CAPTIONS + columns as f64 * (side + GAP);
    let texts =
        font::width(&chart.title, Weight::Bold, TITLE).max(font::width(&chart.subtitle, Weight::Regular, SUBTITLE));
    ReconstructionsLayout {
        width: needed.max(texts + 2.0 * MARGIN).min(2400.0).max(needed) as u32,
        height: (HEAD + bands.max(1) as f64 * band + 40.0) as u32,
        bands: (0..bands).map(|row| place(row * COLUMNS).1).collect(),
        left_out: chart.samples.len() - good.len(),
        cells: good.into_iter().enumerate().map(cell).collect(),
    }
}

/// 8-bit RGB of a picture; none if it has another number of values than it says, or is too large to draw.
fn pixels(picture: &Picture) -> Option<Pixels> {
    let Picture { channels, height, width, values } = picture;
    let size = height.checked_mul(*width)?;
    let right = (1..=3).contains(channels) && values.len() == channels * size;
    if !right || size == 0 || *height > 256 || *width > 256 {
        return None;
    }
    let byte = |value: f32| (value.clamp(0.0, 1.0) * 255.0).round() as u8;
    let value = |channel: usize, at: usize| match channels {
        1 => values[at],
        _ => values.get(channel * size + at).copied().unwrap_or(0.0),
    };
    let rgb = (0..size).flat_map(|at| [0, 1, 2].map(|channel| byte(value(channel, at)))).collect();
    Some(Pixels { width: *width, height: *height, rgb })
}

pub fn draw(chart: &ReconstructionsChart, style: &Style) -> Scene {
    let data = arrange(chart);
    let shape = f64::from(data.width) / f64::from(layout::WIDTH);
    let height = data.height.max((f64::from(style.height_for(0.0)) * shape) as u32);
    let mut scene = Scene::new(data.width, height);
    let room = f64::from(data.width) - 2.0 * MARGIN;
    let title = font::shortened(style.title.as_ref().unwrap_or(&chart.title), Weight::Bold, TITLE, room);
    let subtitle = font::shortened(&chart.subtitle, Weight::Regular, SUBTITLE, room);
    scene.text(Text::new((MARGIN, 66.0), title, TITLE, INK).bold());
    scene.text(Text::new((MARGIN, 104.0), subtitle, SUBTITLE, MUTED));
    if data.cells.is_empty() {
        scene.text(Text::new((MARGIN, HEAD + 60.0), "No reconstruction to show", SUBTITLE, MUTED));
    }
    for cell in &data.cells {
        draw_cell(&mut scene, cell);
    }
    for (top, cell) in data.bands.iter().zip(data.cells.iter().step_by(COLUMNS)) {
        let side = cell.original.height as f64 * cell.scale;
        let right = MARGIN + CAPTIONS - 20.0;
        for (row, words) in ["original", "reconstructed"].into_iter().enumerate() {
            let y = top + row as f64 * (side + GAP) + side / 2.0 + 7.0;
            scene.text(Text::new((right, y), words, SMALL, MUTED).anchor(Anchor::End));
        }
    }
    let mut note = "below: class, and where it is mistaken: true → predicted".to_string();
    if data.left_out > 0 {
        note.push_str(&format!(" · {} not shown", plural(data.left_out, "sample")));
    }
    scene.text(Text::new((MARGIN, f64::from(height) - 24.0), note, NOTE, MUTED));
    scene
}

fn draw_cell(scene: &mut Scene, cell: &Cell) {
    let Cell { at: (x, y), scale, original, reconstruction, words, verdict } = cell;
    let below = y + original.height as f64 * scale + GAP;
    for (top, image) in [(*y, original), (below, reconstruction)] {
        scene.image((*x, top), *scale, image.clone());
        let (right, bottom) = (x + image.width as f64 * scale, top + image.height as f64 * scale);
        let frame = vec![(*x, top), (right, top), (right, bottom), (*x, bottom), (*x, top)];
        scene.line(frame, Stroke::solid(FAINT, 1.0));
    }
    let middle = x + original.width as f64 * scale / 2.0;
    let baseline = below + reconstruction.height as f64 * scale + 28.0;
    let colour = if *verdict == Verdict::Wrong { VERMILION } else { INK };
    scene.text(Text::new((middle, baseline), words, SMALL, colour).anchor(Anchor::Middle).bold());
}
