//! The embedded font: Noto Sans, so that no chart depends on what the machine has installed.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, GlyphId};

use super::canvas::Weight;

struct Faces {
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

static FACES: LazyLock<Faces> = LazyLock::new(|| {
    // The bytes are constants of the binary; every test that draws a letter proves that they are read.
    let face = |bytes| FontRef::try_from_slice(bytes).expect("the embedded font is a font");
    Faces { regular: face(ttf_noto_sans::REGULAR), bold: face(ttf_noto_sans::BOLD) }
});

/// A glyph, its place along the line and the size of a font unit, in pixels.
pub(super) struct Placed {
    pub glyph: GlyphId,
    pub x: f64,
}

pub(super) fn face(weight: Weight) -> &'static FontRef<'static> {
    match weight {
        Weight::Regular => &FACES.regular,
        Weight::Bold => &FACES.bold,
    }
}

/// Pixels per font unit at `size` pixels per em.
pub(super) fn unit(weight: Weight, size: f64) -> f64 {
    size / f64::from(face(weight).units_per_em().unwrap_or(1000.0))
}

/// Glyphs of one line with their kerning, and the line's width.
pub(super) fn layout(text: &str, weight: Weight, size: f64) -> (Vec<Placed>, f64) {
    let (font, unit) = (face(weight), unit(weight, size));
    let (mut placed, mut x, mut before) = (Vec::new(), 0.0, None);
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        let glyph = font.glyph_id(letter);
        if let Some(before) = before {
            x += f64::from(font.kern_unscaled(before, glyph)) * unit;
        }
        placed.push(Placed { glyph, x });
        x += f64::from(font.h_advance_unscaled(glyph)) * unit;
        before = Some(glyph);
    }
    (placed, x)
}

/// Width of one line of text, in pixels.
pub fn width(text: &str, weight: Weight, size: f64) -> f64 {
    layout(text, weight, size).1
}

/// `text`, cut with "…" if it is wider than `limit` pixels.
pub fn shortened(text: &str, weight: Weight, size: f64, limit: f64) -> String {
    if width(text, weight, size) <= limit {
        return text.to_string();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        kept.push(letter);
        if width(&kept, weight, size) + width("…", weight, size) > limit {
            kept.pop();
            break;
        }
    }
    format!("{}…", kept.trim_end_matches([' ', ',']))
}

/// `text` in at most `lines` lines of at most `limit` pixels, broken at blanks; what is too long for them is cut with "…".
pub fn wrapped(text: &str, weight: Weight, size: f64, limit: f64, lines: usize) -> Vec<String> {
    let mut broken: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let joined = broken.last().map(|line| format!("{line} {word}"));
        match joined {
            Some(joined) if width(&joined, weight, size) <= limit || broken.len() == lines => {
                broken.pop();
                broken.push(joined);
            }
            _ => broken.push(word.to_string()),
        }
    }
    broken.iter().map(|line| shortened(line, weight, size, limit)).collect()
}

/// `text` in one line or, if it is wider than `limit`, in two of about equal width, broken after a comma if it has one.
pub fn two_lines(text: &str, weight: Weight, size: f64, limit: f64) -> Vec<String> {
    let width = |text: &str| width(text, weight, size);
    if width(text) <= limit {
        return vec![text.to_string()];
    }
    let widest = |(before, after): &(&str, &str)| {
        let inside_a_phrase = if before.ends_with(',') { 0.0 } else { limit / 4.0 };
        width(before).max(width(after)) + inside_a_phrase
    };
    let breaks = text.match_indices(' ').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let lines = match breaks.min_by(|a, b| widest(a).total_cmp(&widest(b))) {
        Some((before, after)) => vec![before, after],
        None => vec![text],
    };
    lines.into_iter().map(|line| shortened(line, weight, size, limit)).collect()
}
