//! The words that a point of the front has beside its mark and in the list.

use super::{FrontPoint, Role, accuracy_bar};
use crate::present::charts::style;

pub(super) fn name(point: &FrontPoint) -> String {
    match point.role {
        Role::Baseline => style::baseline(&point.label),
        Role::Other => point.label.clone(),
    }
}

/// "99.25 ± 0.04 %", "10.20 %, chance".
pub(super) fn accuracy(point: &FrontPoint) -> String {
    let spread = accuracy_bar(point).map(|sd| format!(" ± {:.2}", sd * 100.0)).unwrap_or_default();
    let chance = if point.is_chance { ", chance" } else { "" };
    format!("{:.2}{spread} %{chance}", point.accuracy * 100.0)
}

pub(super) fn values(point: &FrontPoint) -> String {
    let mut text = format!("{} · {}", accuracy(point), style::duration(point.train_seconds));
    if let Some(test) = point.test_accuracy.filter(|test| (0.0..=1.0).contains(test)) {
        text.push_str(&format!(" · test {}", style::percent(test)));
    }
    text
}
