//! The list below the plot, of the points that stand in it by their numbers.

use super::{FrontPoint, words};
use crate::present::charts::canvas::{Anchor, Area, Scene, Text, Weight};
use crate::present::charts::style::{INK, MUTED, NOTE, SMALL, duration};
use crate::present::charts::{font, layout};

/// Rows in one or two columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    pub rows: Vec<Row>,
    pub columns: Vec<Area>,
    /// Points of the front for which there is no row.
    pub more: usize,
}

/// A point in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its number in the plot; none for a baseline that is not on the front, which has a shape of its own there.
    pub number: Option<usize>,
    pub point: usize,
    /// Its name.
    pub lines: Vec<String>,
    pub accuracy: String,
    pub time: String,
    pub area: Area,
}

/// Pixels that a list may be high.
pub(super) const HIGHEST: f64 = 1250.0;
/// How far above the lower end of the sheet without a list.
const TOP: f64 = 64.0;
const GAP: f64 = 56.0;
const LINE: f64 = 25.0;
const HEADER: f64 = 34.0;
/// Columns of a row: up to where the number stands, where the name begins, and the room of the time and before figures.
const NUMBER: f64 = 36.0;
const NAME: f64 = 50.0;
const TIME: f64 = 100.0;
const BEFORE: f64 = 28.0;
/// The narrowest column of accuracies.
const ACCURACY: f64 = 80.0;

/// Lays points out with their numbers: in two columns where their names are short, else in one. `more` points are only
/// counted.
pub(super) fn lay_out(sheet: f64, numbered: &[(Option<usize>, usize)], points: &[FrontPoint], more: usize) -> List {
    let room = f64::from(layout::WIDTH) - 2.0 * layout::MARGIN;
    let accuracies = numbered.iter().map(|(_, point)| words::accuracy(&points[*point]));
    let accuracy = accuracies.map(|text| font::width(&text, Weight::Regular, SMALL)).fold(ACCURACY, f64::max);
    let values = TIME + accuracy + BEFORE;
    let names: Vec<String> = numbered.iter().map(|(_, point)| words::name(&points[*point])).collect();
    let wrapped = |width: f64, most: usize| -> Vec<Vec<String>> {
        let wrap = |name: &String| font::wrapped(name, Weight::Regular, SMALL, width - NAME - values, most);
        names.iter().map(wrap).collect()
    };
    let half = (room - GAP) / 2.0;
    let short = wrapped(half, 2);
    let is_short = short.iter().zip(&names).all(|(lines, name)| !font::is_cut(lines, name));
    let widest = names.iter().map(|name| font::width(name, Weight::Regular, SMALL)).fold(0.0, f64::max);
    let one = room.min(NAME + widest + values);
    let (columns, width, lines) = if is_short { (2, half, short) } else { (1, one, wrapped(one, 4)) };
    let height = |lines: &Vec<String>| LINE * lines.len().max(1) as f64 + 6.0;
    let end = if more > 0 { LINE } else { 0.0 };
    let whole = lines.iter().map(height).sum::<f64>() + end;
    let mut list = List { more, ..List::default() };
    let column = |number: usize| Area::new(layout::MARGIN + (width + GAP) * number as f64, sheet - TOP, width, HEADER);
    list.columns.push(column(0));
    for (&(number, point), lines) in numbered.iter().zip(lines) {
        let high = height(&lines);
        let used = list.columns[list.columns.len() - 1].height() - HEADER;
        if list.columns.len() < columns && used + high / 2.0 > whole / 2.0 {
            list.columns.push(column(list.columns.len()));
        }
        let last = list.columns.len() - 1;
        let under = &mut list.columns[last];
        let area = Area::new(under.left, under.bottom, width, high);
        under.bottom = area.bottom;
        let (accuracy, time) = (words::accuracy(&points[point]), duration(points[point].train_seconds));
        list.rows.push(Row { number, point, lines, accuracy, time, area });
    }
    list
}

impl List {
    /// What it makes the picture higher, in pixels.
    pub(super) fn height(&self) -> f64 {
        let bottom = self.columns.iter().map(|column| column.bottom).fold(f64::NEG_INFINITY, f64::max);
        let top = self.columns.first().map_or(bottom, |column| column.top);
        let end = if self.more > 0 { LINE } else { 0.0 };
        if self.rows.is_empty() { 0.0 } else { (bottom - top + end + 30.0).ceil() }
    }

    pub(super) fn draw(&self, scene: &mut Scene, baseline: impl Fn(&mut Scene, (f64, f64))) {
        let right = |at: (f64, f64), text: &str, size, colour| Text::new(at, text, size, colour).anchor(Anchor::End);
        for column in &self.columns {
            let y = column.top + 20.0;
            scene.text(right((column.right - TIME, y), "accuracy", NOTE, MUTED));
            scene.text(right((column.right, y), "time", NOTE, MUTED));
        }
        for row in &self.rows {
            let Area { left, top, right: end, .. } = row.area;
            let y = top + LINE - 6.0;
            match row.number {
                Some(number) => scene.text(right((left + NUMBER, y), &number.to_string(), SMALL, INK).bold()),
                None => baseline(scene, (left + NUMBER - 11.0, y - 7.0)),
            }
            for (line, text) in row.lines.iter().enumerate() {
                scene.text(Text::new((left + NAME, y + LINE * line as f64), text, SMALL, INK));
            }
            scene.text(right((end - TIME, y), &row.accuracy, SMALL, INK));
            scene.text(right((end, y), &row.time, SMALL, INK));
        }
        if let (Some(column), true) = (self.columns.last(), self.more > 0) {
            let at = (column.left + NAME, column.bottom + LINE - 6.0);
            scene.text(Text::new(at, format!("and {} more, in front.csv", self.more), SMALL, MUTED));
        }
    }
}
