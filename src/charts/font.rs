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
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut broken = filled(&words, weight, size, limit);
    let rest = broken.split_off(lines.saturating_sub(1).min(broken.len())).join(" ");
    broken.extend((!rest.is_empty()).then_some(rest));
    broken.iter().map(|line| shortened(line, weight, size, limit)).collect()
}

/// `text` in at most `lines` lines of about equal width, broken after commas or, if that is not enough, at any blank.
pub fn balanced(text: &str, weight: Weight, size: f64, limit: f64, lines: usize) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let phrases: Vec<String> =
        words.split_inclusive(|word| word.ends_with(',')).map(|phrase| phrase.join(" ")).collect();
    let phrases: Vec<&str> = phrases.iter().map(String::as_str).collect();
    for pieces in [phrases, words] {
        let fits = |broken: &[String], limit: f64| broken.iter().all(|line| width(line, weight, size) <= limit);
        let mut best = filled(&pieces, weight, size, limit);
        if best.len() > lines || !fits(&best, limit) {
            continue;
        }
        let (mut narrow, mut wide) = (limit / 2.0 / lines as f64, limit);
        while wide - narrow > 4.0 {
            let middle = (narrow + wide) / 2.0;
            let broken = filled(&pieces, weight, size, middle);
            if broken.len() == best.len() && fits(&broken, middle) {
                (best, wide) = (broken, middle);
            } else {
                narrow = middle;
            }
        }
        return best;
    }
    wrapped(text, weight, size, limit, lines)
}

/// Lines of as many pieces as fit into `limit` pixels, but at least one.
fn filled(pieces: &[&str], weight: Weight, size: f64, limit: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {piece}"), weight, size) <= limit => {
                line.push(' ');
                line.push_str(piece);
            }
            _ => lines.push(piece.to_string()),
        }
    }
    lines
}
