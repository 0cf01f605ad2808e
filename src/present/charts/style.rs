//! What all charts share: colours, sizes, and how values are written.

pub use crate::base::words::{duration, three_digits, trimmed};

use crate::base::words;

/// What a colour becomes on a dark page: greys have their counterparts, all others are as light as they must be to be seen.
pub fn on_dark(colour: Colour) -> Colour {
    const PAIRS: [(Colour, Colour); 5] = [
        (WHITE, rgb(0x14181d)),
        (INK, rgb(0xe9edf1)),
        (MUTED, rgb(0xa9b3bd)),
        (FAINT, rgb(0x59636d)),
        (GRID, rgb(0x2a3138)),
    ];
    let same = |(light, _): &&(Colour, Colour)| light.opacity(1.0) == colour.opacity(1.0);
    if let Some((_, dark)) = PAIRS.iter().find(same) {
        return dark.opacity(colour.opacity);
    }
    let lighter = |share: f64| {
        let mix = |of: u8| (f64::from(of) + (255.0 - f64::from(of)) * share).round() as u8;
        Colour { red: mix(colour.red), green: mix(colour.green), blue: mix(colour.blue), opacity: colour.opacity }
    };
    let seen = (0..=20).map(|step| lighter(f64::from(step) / 20.0));
    seen.into_iter().find(|of| of.contrast(PAIRS[0].1) >= 4.5).unwrap_or(colour)
}

/// A colour with its opacity in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Colour {
    pub red: u8,
    pub green: u8,
    pub blue: u8,
    pub opacity: f64,
}

const fn rgb(hex: u32) -> Colour {
    Colour { red: (hex >> 16) as u8, green: (hex >> 8) as u8, blue: hex as u8, opacity: 1.0 }
}

impl Colour {
    pub const fn opacity(self, opacity: f64) -> Colour {
        Colour { opacity, ..self }
    }

    /// How well it is told from another, from 1 to 21 (WCAG 2.2), both without their opacities.
    pub fn contrast(self, other: Colour) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn luminance(self) -> f64 {
        let linear = |of: u8| {
            let share = f64::from(of) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.red) + 0.7152 * linear(self.green) + 0.0722 * linear(self.blue)
    }
}

pub const WHITE: Colour = rgb(0xffffff);
pub const INK: Colour = rgb(0x1b1f24);
/// Text of the second rank, axes.
pub const MUTED: Colour = rgb(0x57606a);
/// Lines that are context only.
pub const FAINT: Colour = rgb(0xb8bfc6);
pub const GRID: Colour = rgb(0xe6e9ec);

/// Okabe and Ito's colours, told apart by colour-blind readers; yellow is left out, as it is weak on white.
pub const PALETTE: [Colour; 6] =
    [rgb(0x0072b2), rgb(0xd55e00), rgb(0x009e73), rgb(0xcc79a7), rgb(0xe69f00), rgb(0x56b4e9)];
pub const BLUE: Colour = PALETTE[0];
pub const VERMILION: Colour = PALETTE[1];

/// Viridis (Smith and van der Walt 2015) at even steps, without its yellow end.
const VIRIDIS: [Colour; 8] = [
    rgb(0x440154),
    rgb(0x46327e),
    rgb(0x365c8d),
    rgb(0x277f8e),
    rgb(0x1fa187),
    rgb(0x4ac16d),
    rgb(0x8fd03f),
    rgb(0xb8c71f),
];

/// A sequential colour for `share` in 0..=1, from yellow-green (small) to dark violet (large).
pub fn sequential(share: f64) -> Colour {
    let place = (1.0 - share.clamp(0.0, 1.0)) * (VIRIDIS.len() - 1) as f64;
    let index = (place as usize).min(VIRIDIS.len() - 2);
    let (from, to, between) = (VIRIDIS[index], VIRIDIS[index + 1], place - index as f64);
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * between).round() as u8;
    Colour { red: mix(from.red, to.red), green: mix(from.green, to.green), blue: mix(from.blue, to.blue), opacity: 1.0 }
}

pub const TITLE: f64 = 34.0;
pub const SUBTITLE: f64 = 22.0;
/// Labels of points, lines and axes.
pub const LABEL: f64 = 21.0;
/// Tick labels, legends, second lines.
pub const SMALL: f64 = 20.0;
pub const NOTE: f64 = 18.0;

/// `0.9925` as "99.25 %".
pub fn percent(share: f64) -> String {
    words::percent(share, 2)
}

/// What charts call the baseline: "Baseline: fixed, batch 16", or only that where its label says no more.
pub fn baseline(label: &str) -> String {
    match label.get(..8).filter(|first| first.eq_ignore_ascii_case("baseline")) {
        // With what follows it, as in "baseline, 3 epochs".
        Some(_) if label.len() == 8 || label[8..].starts_with(", ") => format!("Baseline{}", &label[8..]),
        _ => format!("Baseline: {label}"),
    }
}

/// `6_720_000` as "6.72 M".
pub fn count(value: usize) -> String {
    let scaled = |unit: f64, name: &str| {
        let number = value as f64 / unit;
        let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
        format!("{number:.digits$} {name}")
    };
    match value {
        0..=999 => value.to_string(),
        1_000..=999_999 => scaled(1e3, "k"),
        _ => scaled(1e6, "M"),
    }
}

/// A learning rate as config files write it: "0.01", "3e-4".
pub fn rate(value: f64) -> String {
    if value == 0.0 || (1e-2..10.0).contains(&value) {
        return trimmed(format!("{value:.4}"));
    }
    let text = format!("{value:.2e}");
    // A number in scientific notation has its one "e".
    text.split_once('e').map_or(text.clone(), |(digits, power)| format!("{}e{power}", trimmed(digits.to_string())))
}
