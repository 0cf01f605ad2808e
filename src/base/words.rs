//! Counts, numbers and characters as texts have them.

use std::borrow::Cow;

/// "1 label", "2 labels".
pub fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The one of two words that goes with a count, as in `1 of 3 is` and `2 of 3 are`.
pub fn by_count(count: usize, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}

/// Longer numbers are written in powers of ten: `1e308` has 309 digits, and nobody counts them.
const LONGEST: usize = 20;

/// A number with so many digits after the point, or in powers of ten where it is too long.
pub fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.len() > LONGEST { format!("{value:.digits$e}") } else { text }
}

/// A share in per cent with so many digits after the point: `0.9925` as "99.25 %".
pub fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", 100.0 * share)
}

/// Seconds in the unit a reader would choose: "45 s", "12.3 min", "2.5 h".
pub fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 1.0 => (s * 1e3, "ms"),
        s if s < 120.0 => (s, "s"),
        s if s < 7200.0 => (s / 60.0, "min"),
        s if s < 172_800.0 => (s / 3600.0, "h"),
        s => (s / 86_400.0, "d"),
    };
    format!("{} {unit}", three_digits(value))
}

/// At least three significant digits, without trailing zeros after the point.
pub fn three_digits(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    trimmed(format!("{value:.digits$}"))
}

/// A number's text without trailing zeros after the point.
pub fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// A size in MB of a million bytes.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// A size in GB of a thousand million bytes.
pub fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

/// `text` with its long numbers written in powers of ten, where they have a point or a zero to leave out: `0.5` stays as it is,
/// and so does a checksum.
pub fn short_numbers(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let word = &from[..from.find(|c| !is_part(c)).unwrap_or(from.len())];
        // A point after it ends a sentence.
        let (word, after) = from.split_at(word.trim_end_matches('.').len().max(1));
        short.push_str(before);
        let is_decimal = word.len() > LONGEST && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match word.parse::<f64>().ok().filter(|value| is_decimal && value.is_finite()) {
            // The shortest text that means this very number.
            Some(value) if format!("{value:e}").len() < word.len() => short.push_str(&format!("{value:e}")),
            _ => short.push_str(word),
        }
        rest = after;
    }
    short + rest
}

/// Whether a character does something to a terminal or a line instead of standing in it: control characters, breaks of
/// lines and paragraphs, and what turns the direction of the text after it.
pub fn is_control(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with such characters spelled out, as in U+001B; for what is told of a text that may have any. Ends of lines and
/// tabs stay.
pub fn spelled(text: &str) -> Cow<'_, str> {
    let is_spelled = |letter: char| is_control(letter) && !matches!(letter, '\n' | '\t');
    if !text.contains(is_spelled) {
        return text.into();
    }
    let spelled = |letter| if is_spelled(letter) { code_point(letter) } else { letter.into() };
    text.chars().map(spelled).collect::<String>().into()
}

/// A character by its number, as in U+001B.
pub fn code_point(letter: char) -> String {
    format!("U+{:04X}", u32::from(letter))
}

/// These words as a shell command.
pub fn shell_line(words: impl IntoIterator<Item = String>) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c);
    let quote = |word: String| match !word.is_empty() && word.chars().all(is_plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// An accuracy in per cent, or that it is unknown.
pub fn accuracy(share: Option<f64>) -> String {
    share.map_or("unknown".to_string(), |share| percent(share, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!([0, 1, 2].map(|count| plural(count, "trial")), ["0 trials", "1 trial", "2 trials"]);
        assert_eq!([0, 1, 2].map(|count| by_count(count, "is", "are")), ["are", "is", "are"]);
    }

    #[test]
    fn long_numbers_are_written_in_powers_of_ten_and_others_as_they_are() {
        assert_eq!(number(2.0, 3), "2.000");
        assert_eq!(number(-1e308, 3), "-1.000e308");
        let long = format!("data.shift = {:.1}: `-{}`, not {}", 1e308, 1e308, 1e-300);
        assert_eq!(short_numbers(&long), "data.shift = 1e308: `-1e308`, not 1e-300");
        for kept in ["", "é 0.5, 1e308 × 2", "at 1.2.3", "of 12345678901234567890.", &"0123456789abcdef".repeat(4)] {
            assert_eq!(short_numbers(kept), kept);
        }
    }
}
