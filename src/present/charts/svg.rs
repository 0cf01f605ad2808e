//! Writes a [`Scene`] as SVG with plotters' backend: text stays text, in Noto Sans or what the reader has instead.
//!
//! Plotters writes whole numbers, so its canvas has ten units per pixel, inside a document of the picture's size. What
//! it has no word for (dashes, halos, round joins) its shapes inherit from the group around them, and images are ours.

use std::io;

use base64::{Engine, prelude::BASE64_STANDARD};
use plotters::backend::{DrawingBackend, SVGBackend};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, DrawingErrorKind};

use super::canvas::{Pixels, Point, Scene, Shape, Stroke, Text};
use super::lettering::{HALO, Lettering, unit};
use super::style::Colour;

/// How every picture of this program begins.
pub const START: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" data-by=\"fastrcaps\"";

/// Units per pixel.
const SCALE: f64 = 10.0;

type Drawn = Result<(), DrawingErrorKind<io::Error>>;

pub(super) fn encode(scene: &Scene) -> String {
    let (width, height) = (scene.width.max(1), scene.height.max(1));
    let size = (width * SCALE as u32, height * SCALE as u32);
    let mut svg = format!(
        "{START} width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\" \
         stroke-linejoin=\"round\">\n",
        size.0, size.1
    );
    let page = [(0.0, 0.0), (f64::from(width), 0.0), (f64::from(width), f64::from(height)), (0.0, f64::from(height))];
    let page = Shape::Polygon { points: page.to_vec(), fill: scene.page, outline: None };
    let shapes: Vec<&Shape> = std::iter::once(&page).chain(&scene.shapes).collect();
    for alike in shapes.chunk_by(|a, b| inherited(a, scene.page) == inherited(b, scene.page)) {
        let Some(attributes) = inherited(alike[0], scene.page) else {
            alike.iter().for_each(|shape| svg.push_str(&image(shape)));
            continue;
        };
        svg.push_str(&format!("<g{attributes}>\n"));
        let mut backend = SVGBackend::with_string(&mut svg, size);
        let drawn =
            alike.iter().try_for_each(|shape| draw(&mut backend, shape, scene.page)).and_then(|()| backend.present());
        drawn.expect("writing into memory cannot fail");
        drop(backend);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// What a shape takes from its group; none for images, which plotters does not draw.
fn inherited(shape: &Shape, page: Colour) -> Option<String> {
    let stroke = match shape {
        Shape::Line { stroke, .. } => Some(stroke),
        Shape::Polygon { outline, .. } | Shape::Circle { outline, .. } => outline.as_ref(),
        Shape::Text(text) if text.halo > 0.0 => {
            let (width, Colour { red, green, blue, .. }) = (unit(2.0 * text.halo, SCALE), page);
            return Some(format!(
                " paint-order=\"stroke\" stroke=\"#{red:02x}{green:02x}{blue:02x}\" stroke-opacity=\"{HALO}\" \
                 stroke-width=\"{width}\""
            ));
        }
        Shape::Text(_) => None,
        Shape::Image { .. } => return None,
    };
    let dashes = stroke.and_then(|stroke| stroke.dash.pattern());
    Some(dashes.map_or(String::new(), |(on, off)| format!(" stroke-dasharray=\"{} {}\"", on * SCALE, off * SCALE)))
}

fn draw(backend: &mut SVGBackend, shape: &Shape, page: Colour) -> Drawn {
    match shape {
        Shape::Line { points, stroke } => backend.draw_path(points.iter().copied().map(place), &Pen::of(stroke)),
        Shape::Polygon { points, fill, outline } => {
            backend.fill_polygon(points.iter().copied().map(place), &BackendColor::from(*fill))?;
            let Some(outline) = outline else { return Ok(()) };
            // Over its start, so that the line has a join there.
            let around = points.iter().chain(points.iter().take(2)).copied();
            backend.draw_path(around.map(place), &Pen::of(outline))
        }
        Shape::Circle { centre, radius, fill, outline } => {
            let radius = unit(radius.max(0.0), SCALE) as u32;
            backend.draw_circle(place(*centre), radius, &BackendColor::from(*fill), true)?;
            let Some(outline) = outline else { return Ok(()) };
            backend.draw_circle(place(*centre), radius, &Pen::of(outline), false)
        }
        Shape::Text(text) => {
            let style = Lettering::new(text, SCALE, page);
            backend.draw_text(&allowed(text), &style, style.place())
        }
        Shape::Image { .. } => Ok(()),
    }
}

/// A stroke in units.
struct Pen {
    colour: Colour,
    width: u32,
}

impl Pen {
    fn of(stroke: &Stroke) -> Pen {
        Pen { colour: stroke.colour, width: unit(stroke.width.max(0.0), SCALE) as u32 }
    }
}

impl BackendStyle for Pen {
    fn color(&self) -> BackendColor {
        self.colour.into()
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

fn place((x, y): Point) -> BackendCoord {
    (unit(x, SCALE), unit(y, SCALE))
}

/// A text without what XML does not allow; plotters escapes the rest.
fn allowed(text: &Text) -> String {
    text.text.chars().filter(|letter| !letter.is_control() && !matches!(letter, '\u{fffe}' | '\u{ffff}')).collect()
}

fn image(shape: &Shape) -> String {
    let Shape::Image { at, scale, pixels } = shape else { return String::new() };
    let Pixels { width, height, .. } = pixels;
    let (x, y) = place(*at);
    format!(
        "<image x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" style=\"image-rendering: pixelated\" \
         href=\"data:image/png;base64,{}\"/>\n",
        unit(*width as f64 * scale, SCALE),
        unit(*height as f64 * scale, SCALE),
        BASE64_STANDARD.encode(super::png::encode_pixels(pixels))
    )
}
