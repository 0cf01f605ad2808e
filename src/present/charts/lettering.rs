//! Text as plotters' backends take it. The style is our own because those of plotters want a font of the machine, or
//! lose the side bearings and the kerning of an embedded one and set every letter on a whole pixel.

use std::convert::Infallible;

use ab_glyph::{Font, OutlinedGlyph, PxScale, point};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontFamily, FontStyle, FontTransform};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle};

use super::canvas::{Anchor, Text, Turn, Weight};
use super::font::{self, Bitmap, Letter};
use super::style::Colour;

/// What text may lie on stays a little visible through its halo, which is of the page's colour.
pub(super) const HALO: f64 = 0.85;

/// Where plotters' SVG backend puts the top of a line, in em above the baseline.
const TOP: f64 = 0.76;
/// Plotters' SVG backend divides font sizes by this.
const SVG_SIZE: f64 = 1.24;

/// What is farther along a line, in pixels, is on no page.
const LONGEST: f64 = 20_000.0;

/// A text on a canvas with `scale` units per pixel. The backend for bitmaps asks for its layout and its points, the one
/// for SVG for everything else.
pub(super) struct Lettering<'a> {
    text: &'a Text,
    scale: f64,
    page: Colour,
}

impl Lettering<'_> {
    pub fn new(text: &Text, scale: f64, page: Colour) -> Lettering<'_> {
        Lettering { text, scale, page }
    }

    /// Where a backend has to put the text, in units.
    pub fn place(&self) -> BackendCoord {
        let (x, y) = (unit(self.text.at.0, self.scale), unit(self.text.at.1, self.scale));
        match self.text.turn {
            Turn::Across => (x, y - self.top()),
            Turn::Up => (x - self.top(), y),
        }
    }

    fn top(&self) -> i32 {
        (TOP * self.text.size * self.scale).round() as i32
    }

    /// The letters with the origin at the start of the baseline, and room for `margin` around them.
    fn ink(&self, margin: usize) -> Ink {
        let Text { text, weight, size, .. } = self.text;
        let face = font::face(*weight);
        let height = font::unit(*weight, size * self.scale) * f64::from(face.height_unscaled());
        let (placed, _) = font::layout(text, *weight, size * self.scale);
        let seen = placed.into_iter().take_while(|placed| placed.x < LONGEST * self.scale);
        let strokes = seen.filter_map(|placed| match placed.letter {
            Letter::Outline(glyph) => {
                let scale = PxScale::from(height as f32);
                let glyph = glyph.with_scale_and_position(scale, point(placed.x as f32, 0.0));
                face.outline_glyph(glyph).map(Inked::Outline)
            }
            Letter::Bitmap(bitmap) => {
                Some(Inked::Bitmap { bitmap, x: placed.x.round(), side: size * self.scale / Bitmap::SIDE as f64 })
            }
        });
        let strokes: Vec<_> = strokes.collect();
        let bounds = strokes.iter().map(Inked::bounds);
        let Some(all) = bounds.reduce(|a, b| ab_glyph::Rect {
            min: point(a.min.x.min(b.min.x), a.min.y.min(b.min.y)),
            max: point(a.max.x.max(b.max.x), a.max.y.max(b.max.y)),
        }) else {
            return Ink { left: 0, top: 0, width: 0, cover: Vec::new() };
        };
        let (left, top) = (all.min.x as i32 - margin as i32, all.min.y as i32 - margin as i32);
        let (width, height) = (all.width() as usize + 2 * margin, all.height() as usize + 2 * margin);
        let mut ink = Ink { left, top, width, cover: vec![0; width * height] };
        for stroke in strokes {
            let corner = stroke.bounds().min;
            let (x0, y0) = ((corner.x as i32 - left) as usize, (corner.y as i32 - top) as usize);
            stroke.draw(|x, y, cover| {
                let cell = &mut ink.cover[(y0 + y as usize) * width + x0 + x as usize];
                *cell = (*cell).max((cover * 255.0) as u8);
            });
        }
        ink
    }
}

/// A letter where it stands, in units.
enum Inked {
    Outline(OutlinedGlyph),
    /// Its points are squares of `side`, from `x` on.
    Bitmap {
        bitmap: Bitmap,
        x: f64,
        side: f64,
    },
}

impl Inked {
    /// A box of whole units.
    fn bounds(&self) -> ab_glyph::Rect {
        match self {
            Inked::Outline(outline) => outline.px_bounds(),
            Inked::Bitmap { bitmap, x, side } => {
                let top = (-side * Bitmap::ASCENT as f64).floor();
                let (width, height) = (side * bitmap.columns() as f64, side * Bitmap::SIDE as f64);
                ab_glyph::Rect {
                    min: point(*x as f32, top as f32),
                    max: point((x + width.ceil()) as f32, (top + height.ceil()) as f32),
                }
            }
        }
    }

    /// Tells how much of each unit of its box it covers, in 0..=1.
    fn draw(&self, mut cover: impl FnMut(u32, u32, f32)) {
        match self {
            Inked::Outline(outline) => outline.draw(cover),
            Inked::Bitmap { bitmap, side, .. } => {
                let bounds = self.bounds();
                // The point that the middle of a unit is in.
                let point = |at: u32| ((f64::from(at) + 0.5) / side) as usize;
                for y in 0..bounds.height() as u32 {
                    let row = bitmap.rows.get(point(y)).copied().unwrap_or(0);
                    for x in (0..bounds.width() as u32).filter(|x| row << point(*x).min(15) & 0x8000 != 0) {
                        cover(x, y, 1.0);
                    }
                }
            }
        }
    }
}

/// How much of each point letters cover, in 0..=255, row by row.
struct Ink {
    left: i32,
    top: i32,
    width: usize,
    cover: Vec<u8>,
}

impl Ink {
    /// The points within `reach` of a letter.
    fn rim(&self, reach: u8) -> Vec<u8> {
        let width = self.width.max(1);
        let gaps: Vec<u8> = self.cover.chunks_exact(width).flat_map(gaps).collect();
        let mut rim = vec![0; self.cover.len()];
        for (y, row) in rim.chunks_exact_mut(width).enumerate() {
            let reach = usize::from(reach);
            for (other, gaps) in gaps.chunks_exact(width).enumerate().take(y + reach + 1).skip(y.saturating_sub(reach))
            {
                let height = y.abs_diff(other);
                let width = (reach * reach - height * height).isqrt() as u8;
                row.iter_mut().zip(gaps).for_each(|(point, gap)| *point |= if *gap <= width { 255 } else { 0 });
            }
        }
        rim
    }

    fn points(&self, cover: &[u8]) -> impl Iterator<Item = (i32, i32, f64)> {
        let covered = cover.iter().enumerate().filter(|(_, cover)| **cover > 0);
        covered.map(|(at, cover)| {
            let (x, y) = ((at % self.width) as i32, (at / self.width) as i32);
            (self.left + x, self.top + y, f64::from(*cover) / 255.0)
        })
    }
}

/// Distance of each point of a row to the nearest that is covered by half, where that is below 255.
fn gaps(row: &[u8]) -> Vec<u8> {
    let next = |before: u8, cover: u8| if cover >= 128 { 0 } else { before.saturating_add(1) };
    let mut gaps = Vec::with_capacity(row.len());
    let mut gap = u8::MAX;
    for cover in row {
        gap = next(gap, *cover);
        gaps.push(gap);
    }
    gap = u8::MAX;
    for (least, cover) in gaps.iter_mut().zip(row).rev() {
        gap = next(gap, *cover);
        *least = gap.min(*least);
    }
    gaps
}

impl BackendTextStyle for Lettering<'_> {
    type FontError = Infallible;

    fn color(&self) -> BackendColor {
        self.text.colour.into()
    }

    fn size(&self) -> f64 {
        self.text.size * self.scale * SVG_SIZE
    }

    fn transform(&self) -> FontTransform {
        match self.text.turn {
            Turn::Across => FontTransform::None,
            Turn::Up => FontTransform::Rotate270,
        }
    }

    fn style(&self) -> FontStyle {
        match self.text.weight {
            Weight::Regular => FontStyle::Normal,
            Weight::Bold => FontStyle::Bold,
        }
    }

    fn anchor(&self) -> Pos {
        let along = match self.text.anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        Pos::new(along, VPos::Top)
    }

    fn family(&self) -> FontFamily<'_> {
        FontFamily::Name("Noto Sans, Open Sans, Helvetica, Arial, sans-serif")
    }

    fn layout_box(&self, text: &str) -> Result<(BackendCoord, BackendCoord), Infallible> {
        let width = font::width(text, self.text.weight, self.text.size * self.scale);
        Ok(((0, -self.top()), (width.round() as i32, 0)))
    }

    fn draw<E, DrawFunc: FnMut(i32, i32, BackendColor) -> Result<(), E>>(
        &self,
        _text: &str,
        (x0, y0): BackendCoord,
        mut draw: DrawFunc,
    ) -> Result<Result<(), E>, Infallible> {
        let reach = (self.text.halo * self.scale).round().clamp(0.0, 200.0) as u8;
        let ink = self.ink(usize::from(reach));
        let rim = if reach > 0 { ink.rim(reach) } else { Vec::new() };
        let rim = ink.points(&rim).map(|point| (point, self.page.opacity(HALO)));
        let letters = ink.points(&ink.cover).map(|point| (point, self.text.colour));
        let mut all = rim.chain(letters);
        Ok(all.try_for_each(|((x, y, cover), colour)| draw(x0 + x, y0 + y, BackendColor::from(colour).mix(cover))))
    }
}

impl From<Colour> for BackendColor {
    fn from(colour: Colour) -> BackendColor {
        BackendColor { alpha: colour.opacity, rgb: (colour.red, colour.green, colour.blue) }
    }
}

/// A coordinate as the whole number of units that plotters takes, kept where sums of them are safe.
pub(super) fn unit(pixels: f64, scale: f64) -> i32 {
    (pixels * scale).clamp(-1e8, 1e8).round() as i32
}
