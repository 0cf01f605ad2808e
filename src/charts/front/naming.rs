//! Which points of the front chart get a label, what it says, and where it finds room.

use super::{FrontData, FrontPoint, Kind, Label, Mark, Role, accuracy_bar, draw};
use crate::charts::canvas::{Area, Weight};
use crate::charts::font;
use crate::charts::labels::{self, Surroundings, Wanted};
use crate::charts::style::{self, LABEL, SMALL};

/// Up to as many labels show their values, and name the points that are on the front by their parameters alone.
const DETAILED: usize = 8;
/// More labels than this make a chart unreadable.
const MOST_LABELS: usize = 13;

/// The marks to label: the baseline, then the front from its fastest point on.
fn named<'a>(data: &'a FrontData, points: &[FrontPoint]) -> Vec<&'a Mark> {
    let marks_of = |wanted: &dyn Fn(&Mark) -> bool| {
        let mut marks: Vec<&Mark> = data.marks.iter().filter(|mark| wanted(mark)).collect();
        marks.sort_by(|a, b| a.at.0.total_cmp(&b.at.0).then(a.point.cmp(&b.point)));
        marks
    };
    let is_baseline = |mark: &Mark| points[mark.point].role == Role::Baseline;
    let mut named = marks_of(&|mark| is_baseline(mark));
    let stairs = marks_of(&|mark| mark.kind == Kind::Front && !is_baseline(mark));
    let others = marks_of(&|mark| mark.kind == Kind::FrontByParameters && !is_baseline(mark));
    let room = MOST_LABELS.saturating_sub(named.len());
    if stairs.len() <= room {
        named.extend(&stairs);
    } else {
        // Evenly along the front, its two ends included.
        named.extend((0..room).map(|k| stairs[k * (stairs.len() - 1) / (room - 1).max(1)]));
    }
    if named.len() + others.len() <= DETAILED {
        named.extend(others);
    }
    named
}

/// Labels as many points as there is room for.
pub(super) fn place_labels(data: &mut FrontData, points: &[FrontPoint]) {
    let named = named(data, points);
    let detailed = named.len() <= DETAILED;
    let labels: Vec<Label> = named.iter().map(|mark| label(mark.point, &points[mark.point], detailed)).collect();
    let wanted: Vec<Wanted> = named
        .iter()
        .zip(&labels)
        .map(|(mark, label)| Wanted {
            anchor: mark.at,
            radius: mark.radius,
            width: label.area.width(),
            height: label.area.height(),
        })
        .collect();
    let around = surroundings(data, points);
    let places = labels::place(&wanted, &data.plot.area.grown(-5.0), &around);
    data.unlabelled = places.iter().filter(|place| place.is_none()).count();
    data.labels =
        labels.into_iter().zip(places).filter_map(|(label, area)| Some(Label { area: area?, ..label })).collect();
}

fn surroundings(data: &FrontData, points: &[FrontPoint]) -> Surroundings {
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
fn label(index: usize, point: &FrontPoint, detailed: bool) -> Label {
    const WIDEST: f64 = 360.0;
    let name = match point.role {
        Role::Baseline => style::baseline(&point.label),
        Role::Other => point.label.clone(),
    };
    let lines = font::balanced(&name, Weight::Regular, LABEL, WIDEST, 3);
    let values = detailed.then(|| values(point));
    let widths = lines.iter().map(|line| font::width(line, Weight::Regular, LABEL));
    let width = widths.chain(values.iter().map(|line| font::width(line, Weight::Regular, SMALL))).fold(0.0, f64::max);
    let height = (lines.len() + usize::from(detailed)) as f64 * draw::LABEL_LINE;
    Label { point: index, area: Area::new(0.0, 0.0, width + 8.0, height + 2.0), lines, values }
}

fn values(point: &FrontPoint) -> String {
    let spread = accuracy_bar(point).map(|sd| format!(" ± {:.2}", sd * 100.0)).unwrap_or_default();
    let mut text = format!("{:.2}{spread} % · {}", point.accuracy * 100.0, style::duration(point.train_seconds));
    if let Some(test) = point.test_accuracy.filter(|test| (0.0..=1.0).contains(test)) {
        text.push_str(&format!(" · test {}", style::percent(test)));
    }
    text
}
