//! How points are named: beside them where all names find room there, else by numbers and a list.

use super::list::{self, HIGHEST};
use super::words::{name, values};
use super::{FrontLayout, FrontPoint, Kind, Label, PointMark, Role, draw};
use crate::present::charts::canvas::{Area, Weight};
use crate::present::charts::font;
use crate::present::charts::labels::{self, Surroundings, Wanted};
use crate::present::charts::style::{LABEL, SMALL};

/// Up to as many labels show their values.
const DETAILED: usize = 8;
/// For more names than this no room is looked for beside their points.
const MOST_NAMES: usize = 10;
/// Of more points than this, so many along the whole front have a number.
const MOST_NUMBERS: usize = 40;

/// The marks to name: the baseline, where it is not on the front, then the front from its fastest point on.
fn named(data: &FrontLayout, points: &[FrontPoint]) -> Vec<PointMark> {
    let (dominated, mut front): (Vec<&PointMark>, Vec<&PointMark>) =
        data.marks.iter().partition(|mark| mark.kind == Kind::Dominated);
    front.sort_by(|a, b| a.at.0.total_cmp(&b.at.0).then(a.point.cmp(&b.point)));
    let baseline = dominated.into_iter().filter(|mark| points[mark.point].role == Role::Baseline);
    baseline.chain(front).cloned().collect()
}

/// Names points beside them, if all names can be read and followed there; else numbers the front.
pub(super) fn name_points(data: &mut FrontLayout, points: &[FrontPoint]) {
    let named = named(data, points);
    let around = surroundings(data, points);
    if named.len() <= MOST_NAMES {
        let is_detailed = named.len() <= DETAILED;
        let labels: Vec<Label> = named.iter().map(|mark| label(mark.point, &points[mark.point], is_detailed)).collect();
        let is_whole = labels.iter().all(|label| !font::is_cut(&label.lines, &points[label.point].label));
        let labels = placed(labels, &named, data, &around);
        if is_whole && labels.len() == named.len() {
            data.labels = labels;
            return;
        }
    }
    number(data, points, &named, &around);
}

/// Numbers along the front, by which a list tells the names. Where the list is too long, of fewer points.
fn number(data: &mut FrontLayout, points: &[FrontPoint], named: &[PointMark], around: &Surroundings) {
    let baseline = named.iter().find(|mark| mark.kind == Kind::Dominated).map(|mark| (None, mark.point));
    let front: Vec<(usize, &PointMark)> = (1..).zip(named.iter().filter(|mark| mark.kind != Kind::Dominated)).collect();
    let mut most = MOST_NUMBERS.min(front.len());
    let shown = loop {
        let shown = evenly(&front, most);
        let rows: Vec<_> = baseline.into_iter().chain(shown.iter().map(|(of, mark)| (Some(*of), mark.point))).collect();
        data.list = list::lay_out(f64::from(data.height), &rows, points, front.len() - shown.len());
        if data.list.height() <= HIGHEST || most <= 1 {
            break shown;
        }
        most -= 1;
    };
    data.height += data.list.height() as u32;
    let numbers = shown.iter().map(|(of, mark)| sized(mark.point, vec![of.to_string()], None)).collect();
    let marks: Vec<PointMark> = shown.into_iter().map(|(_, mark)| mark.clone()).collect();
    data.labels = placed(numbers, &marks, data, around);
    data.unlabelled = marks.len() - data.labels.len();
}

/// So many of them from the first to the last.
fn evenly<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let count = most.min(all.len());
    (0..count).map(|k| all[k * (all.len() - 1) / (count - 1).max(1)]).collect()
}

/// The labels that find a place beside their marks where they can be read and followed.
fn placed(labels: Vec<Label>, marks: &[PointMark], data: &FrontLayout, around: &Surroundings) -> Vec<Label> {
    let wanted: Vec<Wanted> = marks
        .iter()
        .zip(&labels)
        .map(|(mark, label)| Wanted {
            anchor: mark.at,
            radius: mark.radius,
            width: label.area.width(),
            height: label.area.height(),
        })
        .collect();
    let mut room = data.plot.area.grown(-5.0);
    room.top -= data.headroom;
    let mut places = labels::place(&wanted, &room, around);
    for index in 0..places.len() {
        if !labels::is_clean(index, &wanted, &places, around) {
            places[index] = None;
        }
    }
    labels.into_iter().zip(places).filter_map(|(label, area)| Some(Label { area: area?, ..label })).collect()
}

fn surroundings(data: &FrontLayout, points: &[FrontPoint]) -> Surroundings {
    let mut around = Surroundings { solid: draw::inner_texts(data), ..Surroundings::default() };
    for mark in &data.marks {
        let area = Area::around(mark.at, mark.radius + 2.0);
        match mark.kind {
            Kind::Dominated if points[mark.point].role == Role::Other => around.soft.push(area),
            _ => around.solid.push(area),
        }
        around.faint_lines.extend(&mark.bars);
    }
    let stairs = data.staircase();
    around.lines.extend(stairs.windows(2).map(|pair| (pair[0], pair[1])));
    around.faint_lines.extend(data.cross_hair());
    around
}

/// Text and size of a label; its place is still to be found.
fn label(index: usize, point: &FrontPoint, is_detailed: bool) -> Label {
    const WIDEST: f64 = 360.0;
    let lines = font::balanced(&name(point), Weight::Regular, LABEL, WIDEST, 3);
    sized(index, lines, is_detailed.then(|| values(point)))
}

fn sized(point: usize, lines: Vec<String>, values: Option<String>) -> Label {
    let widths = lines.iter().map(|line| font::width(line, Weight::Regular, LABEL));
    let width = widths.chain(values.iter().map(|line| font::width(line, Weight::Regular, SMALL))).fold(0.0, f64::max);
    let height = (lines.len() + values.iter().len()) as f64 * draw::LABEL_LINE;
    Label { point, area: Area::new(0.0, 0.0, width + 8.0, height + 2.0), lines, values }
}
