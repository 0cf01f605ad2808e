//! The sheet most charts share: title and subtitle above, notes below, the plot between.

use super::canvas::{Anchor, Area, Scene, Text, Weight};
use super::font;
use super::look::{SHEET_WIDTH, Style};
use super::style::{INK, MUTED, NOTE, SUBTITLE, TITLE};

pub const WIDTH: u32 = SHEET_WIDTH;
pub const MARGIN: f64 = 56.0;
const TITLE_BASELINE: f64 = 66.0;
const SUBTITLE_BASELINE: f64 = 104.0;
const SUBTITLE_LINE: f64 = 30.0;

const TEXT_WIDTH: f64 = WIDTH as f64 - 2.0 * MARGIN;

fn subtitle_lines(subtitle: &str) -> Vec<String> {
    font::wrapped(subtitle, Weight::Regular, SUBTITLE, TEXT_WIDTH, 2)
}

/// Where the legend's text stands: below the subtitle.
pub fn legend_baseline(subtitle: &str) -> f64 {
    SUBTITLE_BASELINE + SUBTITLE_LINE * subtitle_lines(subtitle).len() as f64 + 18.0
}

/// The room for the plot without its tick labels, below a legend.
pub fn plot_area(style: &Style, subtitle: &str) -> Area {
    let top = legend_baseline(subtitle) + 28.0;
    Area {
        left: MARGIN + 126.0,
        top,
        right: f64::from(WIDTH) - MARGIN,
        bottom: f64::from(style.sheet_height()) - 152.0,
    }
}

/// A sheet with its texts on it.
pub fn sheet(style: &Style, title: &str, subtitle: &str, notes: &[String]) -> Scene {
    sheet_of(style.sheet_height(), style, title, subtitle, notes)
}

/// A sheet as high as its rows need.
pub fn sheet_of(height: u32, style: &Style, title: &str, subtitle: &str, notes: &[String]) -> Scene {
    let mut scene = Scene::new(WIDTH, height);
    let title = style.title.as_deref().unwrap_or(title);
    let title = font::shortened(title, Weight::Bold, TITLE, TEXT_WIDTH);
    scene.text(Text::new((MARGIN, TITLE_BASELINE), title, TITLE, INK).bold());
    for (line, text) in subtitle_lines(subtitle).into_iter().enumerate() {
        let y = SUBTITLE_BASELINE + SUBTITLE_LINE * line as f64;
        scene.text(Text::new((MARGIN, y), text, SUBTITLE, MUTED));
    }
    let lines = font::wrapped(&notes.join(" · "), Weight::Regular, NOTE, TEXT_WIDTH, 2);
    for (above, text) in lines.into_iter().rev().enumerate() {
        let y = f64::from(height) - 28.0 - 26.0 * above as f64;
        scene.text(Text::new((MARGIN, y), text, NOTE, MUTED));
    }
    scene
}

/// A sentence where a plot would be.
pub fn empty(scene: &mut Scene, sentence: &str) {
    let middle = (f64::from(scene.width) / 2.0, f64::from(scene.height) / 2.0);
    scene.text(Text::new(middle, sentence, TITLE, MUTED).anchor(Anchor::Middle));
}
