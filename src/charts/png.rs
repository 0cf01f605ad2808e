//! Paints a [`Scene`] as PNG.

use ab_glyph::{Font, OutlineCurve, Point as FontPoint};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, PremultipliedColorU8, Rect, StrokeDash,
    Transform,
};

use super::canvas::{Anchor, Dash, Pixels, Point, Scene, Shape, Stroke, Text, Turn};
use super::font;
use super::style::{Colour, WHITE};

pub(super) fn encode(scene: &Scene) -> Vec<u8> {
    // A picture has at least one pixel; the charts bound their sizes far below what a Pixmap holds.
    let mut pixmap = Pixmap::new(scene.width.max(1), scene.height.max(1)).expect("the size is positive and bounded");
    pixmap.fill(Color::WHITE);
    for shape in &scene.shapes {
        draw(&mut pixmap, shape);
    }
    // The encoder writes into memory: nothing of it can fail for a pixmap that exists.
    pixmap.encode_png().expect("a pixmap in memory encodes")
}

fn draw(pixmap: &mut Pixmap, shape: &Shape) {
    match shape {
        Shape::Line { points, stroke } => {
            if let Some(path) = polyline(points, PathEnd::Open) {
                stroke_path(pixmap, &path, stroke);
            }
        }
        Shape::Polygon { points, fill, outline } => {
            fill_path(pixmap, polyline(points, PathEnd::Closed), *fill, *outline)
        }
        Shape::Circle { centre, radius, fill, outline } => {
            let path = PathBuilder::from_circle(centre.0 as f32, centre.1 as f32, *radius as f32);
            fill_path(pixmap, path, *fill, *outline);
        }
        Shape::Text(text) => draw_text(pixmap, text),
        Shape::Image { at, scale, pixels } => draw_image(pixmap, *at, *scale, pixels),
    }
}

fn paint(colour: Colour) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(colour.red, colour.green, colour.blue, (colour.opacity * 255.0).round() as u8);
    paint
}

#[derive(Clone, Copy, PartialEq)]
enum PathEnd {
    Open,
    Closed,
}

fn polyline(points: &[Point], end: PathEnd) -> Option<Path> {
    let mut path = PathBuilder::new();
    let (first, rest) = points.split_first()?;
    path.move_to(first.0 as f32, first.1 as f32);
    for (x, y) in rest {
        path.line_to(*x as f32, *y as f32);
    }
    if end == PathEnd::Closed {
        path.close();
    }
    path.finish()
}

fn stroke_path(pixmap: &mut Pixmap, path: &Path, stroke: &Stroke) {
    let (on, off) = Dash::PATTERN;
    let settings = tiny_skia::Stroke {
        width: stroke.width as f32,
        line_cap: LineCap::Butt,
        line_join: LineJoin::Round,
        dash: (stroke.dash == Dash::Dashed).then(|| StrokeDash::new(vec![on, off], 0.0)).flatten(),
        ..tiny_skia::Stroke::default()
    };
    pixmap.stroke_path(path, &paint(stroke.colour), &settings, Transform::identity(), None);
}

fn fill_path(pixmap: &mut Pixmap, path: Option<Path>, fill: Colour, outline: Option<Stroke>) {
    let Some(path) = path else { return };
    pixmap.fill_path(&path, &paint(fill), FillRule::Winding, Transform::identity(), None);
    if let Some(outline) = outline {
        stroke_path(pixmap, &path, &outline);
    }
}

fn draw_text(pixmap: &mut Pixmap, text: &Text) {
    let (face, unit) = (font::face(text.weight), font::unit(text.weight, text.size));
    let (glyphs, width) = font::layout(&text.text, text.weight, text.size);
    let start = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -width / 2.0,
        Anchor::End => -width,
    };
    let mut path = PathBuilder::new();
    for placed in glyphs {
        let Some(outline) = face.outline(placed.glyph) else { continue };
        let put = |p: FontPoint| {
            let (along, rise) = (start + placed.x + f64::from(p.x) * unit, f64::from(p.y) * unit);
            match text.turn {
                Turn::Across => ((text.at.0 + along) as f32, (text.at.1 - rise) as f32),
                Turn::Up => ((text.at.0 - rise) as f32, (text.at.1 - along) as f32),
            }
        };
        let mut pen = None;
        for curve in &outline.curves {
            let (from, to) = match curve {
                OutlineCurve::Line(from, to)
                | OutlineCurve::Quad(from, _, to)
                | OutlineCurve::Cubic(from, _, _, to) => (*from, *to),
            };
            if pen != Some(from) {
                let (x, y) = put(from);
                path.move_to(x, y);
            }
            pen = Some(to);
            let (x, y) = put(to);
            match curve {
                OutlineCurve::Line(..) => path.line_to(x, y),
                OutlineCurve::Quad(_, c, _) => path.quad_to(put(*c).0, put(*c).1, x, y),
                OutlineCurve::Cubic(_, c, d, _) => path.cubic_to(put(*c).0, put(*c).1, put(*d).0, put(*d).1, x, y),
            }
        }
    }
    let Some(path) = path.finish() else { return };
    if text.halo > 0.0 {
        stroke_path(pixmap, &path, &Stroke::solid(WHITE.opacity(0.85), 2.0 * text.halo));
    }
    fill_path(pixmap, Some(path), text.colour, None);
}

fn draw_image(pixmap: &mut Pixmap, at: Point, scale: f64, pixels: &Pixels) {
    for (index, rgb) in pixels.rgb.chunks_exact(3).take(pixels.width * pixels.height).enumerate() {
        let (column, row) = (index % pixels.width, index / pixels.width);
        let (x, y) = (at.0 + column as f64 * scale, at.1 + row as f64 * scale);
        let Some(square) = Rect::from_xywh(x as f32, y as f32, scale as f32, scale as f32) else { continue };
        let mut paint = Paint { anti_alias: false, ..Paint::default() };
        paint.set_color_rgba8(rgb[0], rgb[1], rgb[2], 255);
        pixmap.fill_rect(square, &paint, Transform::identity(), None);
    }
}

/// An image alone, as PNG at its own size.
pub(super) fn encode_pixels(pixels: &Pixels) -> Vec<u8> {
    let (width, height) = (pixels.width.max(1) as u32, pixels.height.max(1) as u32);
    // Images in charts are small, as their charts have checked.
    let mut pixmap = Pixmap::new(width, height).expect("the size is positive and bounded");
    for (target, rgb) in pixmap.pixels_mut().iter_mut().zip(pixels.rgb.chunks_exact(3)) {
        if let Some(colour) = PremultipliedColorU8::from_rgba(rgb[0], rgb[1], rgb[2], 255) {
            *target = colour;
        }
    }
    pixmap.encode_png().expect("a pixmap in memory encodes")
}
