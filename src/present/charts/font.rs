//! The embedded fonts, so that no chart depends on what the machine has installed: Noto Sans, and for what it has no letter
//! for (CJK, emoji) GNU Unifont's bitmaps.

use std::sync::{LazyLock, Mutex, PoisonError};

use ab_glyph::{Font, FontRef, GlyphId};
use unifont_bitmap::Unifont;

use super::canvas::Weight;
use crate::base::words::{code_point, is_control};

struct Faces {
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

static FACES: LazyLock<Faces> = LazyLock::new(|| {
    // The bytes are constants of the binary; every test that draws a letter proves that they are read.
    let face = |bytes| FontRef::try_from_slice(bytes).expect("the embedded font is a font");
    Faces { regular: face(ttf_noto_sans::REGULAR), bold: face(ttf_noto_sans::BOLD) }
});

/// A letter and its place along the line in pixels.
pub(super) struct Placed {
    pub letter: Letter,
    pub x: f64,
}

#[derive(Clone, Copy)]
pub(super) enum Letter {
    Outline(GlyphId),
    Bitmap(Bitmap),
}

/// A letter of 16 rows, an em high; the leftmost point is the highest of 16 bits.
#[derive(Clone, Copy)]
pub(super) struct Bitmap {
    pub rows: [u16; Bitmap::SIDE],
    is_wide: bool,
}

impl Bitmap {
    /// Points of an em.
    pub const SIDE: usize = 16;
    /// Rows above the baseline.
    pub const ASCENT: usize = 14;

    /// Columns, and with them the way to the next letter.
    pub fn columns(&self) -> usize {
        if self.is_wide { Bitmap::SIDE } else { Bitmap::SIDE / 2 }
    }

    /// Unifont's letter, if it has one.
    fn of(letter: char) -> Option<Bitmap> {
        static UNIFONT: LazyLock<Mutex<Unifont>> = LazyLock::new(|| Mutex::new(Unifont::open()));
        let mut font = UNIFONT.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows_of = |letter: char| {
            let bitmap = font.load_bitmap(u32::from(letter));
            let (is_wide, bytes) = (bitmap.is_wide(), bitmap.get_bytes());
            let mut rows = [0; Bitmap::SIDE];
            for (row, bits) in rows.iter_mut().zip(bytes.chunks(if is_wide { 2 } else { 1 })) {
                *row = u16::from_be_bytes([bits[0], bits.get(1).copied().unwrap_or(0)]);
            }
            (rows, is_wide)
        };
        let (rows, is_wide) = rows_of(letter);
        // What it lacks it shows as this character.
        (letter == char::REPLACEMENT_CHARACTER || rows != rows_of(char::REPLACEMENT_CHARACTER).0)
            .then_some(Bitmap { rows, is_wide })
    }
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

/// Letters of one line with their kerning, and the line's width.
pub(super) fn layout(text: &str, weight: Weight, size: f64) -> (Vec<Placed>, f64) {
    let (font, unit) = (face(weight), unit(weight, size));
    let (mut placed, mut x, mut before) = (Vec::new(), 0.0, None);
    for letter in text.chars().filter(|letter| is_visible(*letter)).flat_map(|letter| letters(letter, font)) {
        let advance = match letter {
            Letter::Outline(glyph) => {
                if let Some(before) = before.replace(glyph) {
                    x += f64::from(font.kern_unscaled(before, glyph)) * unit;
                }
                f64::from(font.h_advance_unscaled(glyph)) * unit
            }
            Letter::Bitmap(bitmap) => {
                before = None;
                size * bitmap.columns() as f64 / Bitmap::SIDE as f64
            }
        };
        placed.push(Placed { letter, x });
        x += advance;
    }
    (placed, x)
}

/// A character's letter; of one that no font has, its number's, as in U+20BB7.
fn letters(letter: char, font: &FontRef) -> Vec<Letter> {
    let glyph = font.glyph_id(letter);
    if glyph.0 != 0 {
        return vec![Letter::Outline(glyph)];
    }
    match Bitmap::of(letter) {
        Some(bitmap) => vec![Letter::Bitmap(bitmap)],
        None => code_point(letter).chars().map(|of| Letter::Outline(font.glyph_id(of))).collect(),
    }
}

/// Whether a character shows: not what controls, joins or selects the forms of others.
fn is_visible(letter: char) -> bool {
    let joins = matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let selects = matches!(letter, '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}');
    !is_control(letter) && !joins && !selects
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

/// Whether [`wrapped`] or [`balanced`] cut the text to these lines.
pub fn is_cut(lines: &[String], text: &str) -> bool {
    lines.last().is_some_and(|line| line.ends_with('…')) && !text.trim_end().ends_with('…')
}

/// `text` in at most `lines` lines of at most `limit` pixels, broken at blanks; what is too long for them is cut with "…".
pub fn wrapped(text: &str, weight: Weight, size: f64, limit: f64, lines: usize) -> Vec<String> {
    let words = words(text, weight, size, limit);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
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
    let pieces = self::words(text, weight, size, limit);
    let words: Vec<&str> = pieces.iter().map(String::as_str).collect();
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

/// The words of a text; one that is wider than `limit` in parts that are not: not every script has blanks.
fn words(text: &str, weight: Weight, size: f64, limit: f64) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        if width(word, weight, size) <= limit {
            words.push(word.to_string());
            continue;
        }
        let mut part = String::new();
        for letter in word.chars() {
            part.push(letter);
            if width(&part, weight, size) > limit && part.chars().nth(1).is_some() {
                part.pop();
                words.push(std::mem::replace(&mut part, letter.to_string()));
            }
        }
        words.push(part);
    }
    words
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
