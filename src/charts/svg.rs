//! Writes a [`Scene`] as SVG: text stays text, in Noto Sans or what the reader has instead, at the width laid out for it.

use std::fmt::Write;

use super::canvas::{Anchor, Dash, Point, Scene, Shape, Stroke, Text, Turn, Weight};
use super::{font, style::Colour};

pub(super) fn encode(scene: &Scene) -> String {
    let (width, height) = (scene.width, scene.height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"Noto Sans, Helvetica, Arial, sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for shape in &scene.shapes {
        svg.push_str(&element(shape));
        svg.push('\n');
    }
    svg.push_str("</svg>\n");
    svg
}

fn element(shape: &Shape) -> String {
    match shape {
        Shape::Line { points, stroke } => {
            format!("<polyline points=\"{}\" fill=\"none\"{}/>", pairs(points), stroked(Some(stroke)))
        }
        Shape::Polygon { points, fill, outline } => {
            format!("<polygon points=\"{}\"{}{}/>", pairs(points), filled(*fill), stroked(outline.as_ref()))
        }
        Shape::Circle { centre, radius, fill, outline } => format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\"{}{}/>",
            number(centre.0),
            number(centre.1),
            number(*radius),
            filled(*fill),
            stroked(outline.as_ref())
        ),
        Shape::Text(text) => text_element(text),
        Shape::Image { at, scale, pixels } => format!(
            "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" style=\"image-rendering: pixelated\" \
             href=\"data:image/png;base64,{}\"/>",
            number(at.0),
            number(at.1),
            number(pixels.width as f64 * scale),
            number(pixels.height as f64 * scale),
            base64(&super::png::encode_pixels(pixels))
        ),
    }
}

fn text_element(text: &Text) -> String {
    let (x, y) = (number(text.at.0), number(text.at.1));
    let anchor = match text.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let weight = if text.weight == Weight::Bold { " font-weight=\"bold\"" } else { "" };
    let turn = if text.turn == Turn::Up { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
    let halo = if text.halo > 0.0 {
        let width = number(2.0 * text.halo);
        format!(
            " paint-order=\"stroke\" stroke=\"#ffffff\" stroke-opacity=\"0.85\" stroke-width=\"{width}\" stroke-linejoin=\"round\""
        )
    } else {
        String::new()
    };
    let length = number(font::width(&text.text, text.weight, text.size));
    format!(
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" text-anchor=\"{anchor}\" textLength=\"{length}\" \
         lengthAdjust=\"spacingAndGlyphs\"{weight}{turn}{halo}{}>{}</text>",
        number(text.size),
        filled(text.colour),
        escaped(&text.text)
    )
}

fn pairs(points: &[Point]) -> String {
    points.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect::<Vec<_>>().join(" ")
}

fn number(value: f64) -> String {
    super::style::trimmed(format!("{value:.2}"))
}

fn hex(colour: Colour) -> String {
    format!("#{:02x}{:02x}{:02x}", colour.red, colour.green, colour.blue)
}

fn filled(colour: Colour) -> String {
    let mut attributes = format!(" fill=\"{}\"", hex(colour));
    if colour.opacity < 1.0 {
        // Writing into a String cannot fail.
        let _ = write!(attributes, " fill-opacity=\"{}\"", number(colour.opacity));
    }
    attributes
}

fn stroked(stroke: Option<&Stroke>) -> String {
    let Some(stroke) = stroke else { return String::new() };
    let (on, off) = Dash::PATTERN;
    let dash = if stroke.dash == Dash::Dashed { format!(" stroke-dasharray=\"{on} {off}\"") } else { String::new() };
    let opacity = number(stroke.colour.opacity);
    let (colour, width) = (hex(stroke.colour), number(stroke.width));
    format!(
        " stroke=\"{colour}\" stroke-opacity=\"{opacity}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{dash}"
    )
}

/// Text for XML: its five special characters as entities, control characters left out.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => {}
            other => safe.push(other),
        }
    }
    safe
}

/// Base64 of RFC 4648, for images inside the document.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63] as char;
            text.push(if place <= group.len() { digit } else { '=' });
        }
    }
    text
}
