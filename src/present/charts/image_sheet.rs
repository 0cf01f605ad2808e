//! Images of a data set, some of each class, as a network would see them.

use super::canvas::{Anchor, Pixels, Point, Scene, Stroke, Text, Weight};
use super::font;
use super::layout::MARGIN;
use super::style::{FAINT, INK, MUTED, NOTE, SMALL, SUBTITLE, TITLE};
use crate::base::words::by_count;

/// What to draw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageSheet {
    pub title: String,
    pub subtitle: String,
    /// `[channels, height, width]` of every image, 1 to 3 channels.
    pub shape: [usize; 3],
    pub classes: Vec<Class>,
}

/// A class with some of its images.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub name: String,
    /// Bytes of each image in that shape.
    pub images: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ImageSheetData {
    pub width: u32,
    pub height: u32,
    pub cells: Vec<Cell>,
    /// Pixels of the sheet for one of the image.
    pub scale: f64,
    /// Classes for which there is no room.
    pub left_out: usize,
}

/// One image in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub at: Point,
    pub image: Pixels,
    pub words: String,
}

/// Images that a sheet has room for.
pub const MOST_IMAGES: usize = 144;
/// Images of a class that are enough.
const ENOUGH: usize = 12;
const COLUMNS: usize = 12;
/// Side of an image on the sheet, about.
const SIDE: usize = 96;
const GAP: f64 = 14.0;
const BELOW: f64 = 34.0;
const HEAD: f64 = 140.0;

/// How many images of each class a sheet has room for.
pub fn images_of_a_class(classes: usize) -> usize {
    (MOST_IMAGES / classes.max(1)).clamp(1, ENOUGH)
}

/// Decides the grid: classes follow each other, each image with its class below. Images of another size than they should have are
/// left out.
pub fn data(sheet: &ImageSheet) -> ImageSheetData {
    let [_, height, width] = sheet.shape;
    let largest = height.max(width).max(1);
    // Larger images are drawn with every second pixel, every third, and so on.
    let step = largest.div_ceil(2 * SIDE);
    let scale = (SIDE as f64 / largest.div_ceil(step) as f64).round().max(1.0);
    let drawn = |length: usize| scale * length.div_ceil(step) as f64;
    // A name needs room below a narrow image, too.
    let (wide, high) = (drawn(width).max(SIDE as f64 * 0.75), drawn(height));
    let shown = sheet.classes.iter().take(MOST_IMAGES);
    let images = shown.flat_map(|class| {
        class.images.iter().take(images_of_a_class(sheet.classes.len())).map(|image| (image, class.name.as_str()))
    });
    let good: Vec<(Pixels, &str)> =
        images.filter_map(|(image, name)| Some((pixels(image, sheet.shape, step)?, name))).collect();
    let place = |index: usize| {
        let (row, column) = (index / COLUMNS, index % COLUMNS);
        (MARGIN + column as f64 * (wide + GAP) + (wide - drawn(width)) / 2.0, HEAD + row as f64 * (high + BELOW))
    };
    let columns = good.len().clamp(1, COLUMNS) as f64;
    let texts =
        font::width(&sheet.title, Weight::Bold, TITLE).max(font::width(&sheet.subtitle, Weight::Regular, SUBTITLE));
    let needed = 2.0 * MARGIN + columns * (wide + GAP);
    let rows = good.len().div_ceil(COLUMNS).max(1) as f64;
    let cells = good.into_iter().enumerate().map(|(index, (image, name))| Cell {
        at: place(index),
        image,
        words: font::shortened(name, Weight::Bold, SMALL, wide + GAP - 4.0),
    });
    ImageSheetData {
        width: needed.max((texts + 2.0 * MARGIN).min(2400.0)) as u32,
        height: (HEAD + rows * (high + BELOW) + 50.0) as u32,
        cells: cells.collect(),
        scale,
        left_out: sheet.classes.len().saturating_sub(MOST_IMAGES),
    }
}

/// Every `step`th pixel of an image, as 8-bit RGB: grey, red and green, or RGB.
fn pixels(image: &[u8], [channels, height, width]: [usize; 3], step: usize) -> Option<Pixels> {
    if !(1..=3).contains(&channels) || image.len() != channels * height * width || image.is_empty() {
        return None;
    }
    let value = |channel: usize, at: usize| match channels {
        1 => image[at],
        _ => image.get(channel * height * width + at).copied().unwrap_or(0),
    };
    let places = (0..height).step_by(step).flat_map(|y| (0..width).step_by(step).map(move |x| y * width + x));
    let rgb = places.flat_map(|at| [0, 1, 2].map(|channel| value(channel, at))).collect();
    Some(Pixels { width: width.div_ceil(step), height: height.div_ceil(step), rgb })
}

pub fn draw(sheet: &ImageSheet) -> Scene {
    let data = data(sheet);
    let mut scene = Scene::new(data.width, data.height);
    let room = f64::from(data.width) - 2.0 * MARGIN;
    let title = font::shortened(&sheet.title, Weight::Bold, TITLE, room);
    let subtitle = font::shortened(&sheet.subtitle, Weight::Regular, SUBTITLE, room);
    scene.text(Text::new((MARGIN, 66.0), title, TITLE, INK).bold());
    scene.text(Text::new((MARGIN, 104.0), subtitle, SUBTITLE, MUTED));
    for Cell { at: (x, y), image, words } in &data.cells {
        let (right, bottom) = (x + image.width as f64 * data.scale, y + image.height as f64 * data.scale);
        scene.image((*x, *y), data.scale, image.clone());
        let frame = vec![(*x, *y), (right, *y), (right, bottom), (*x, bottom), (*x, *y)];
        scene.line(frame, Stroke::solid(FAINT, 1.0));
        let middle = (x + right) / 2.0;
        scene.text(Text::new((middle, bottom + 22.0), words, SMALL, INK).anchor(Anchor::Middle).bold());
    }
    let mut note = "below each image: its class".to_string();
    if data.left_out > 0 {
        note.push_str(&format!(" · {} {} not shown", data.left_out, by_count(data.left_out, "class", "classes")));
    }
    scene.text(Text::new((MARGIN, f64::from(data.height) - 24.0), note, NOTE, MUTED));
    scene
}
