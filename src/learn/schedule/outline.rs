//! The shape of a schedule in a few rows, for who reads it as a table.

use super::{Progress, ScheduleConfig};
use crate::learn::model::scope::Scope;

/// Rate and batch size at a moment, what is computed and trained of the network, and how many samples the epoch sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Epochs done. Two rows of one moment are a jump: what was, and what is from there on.
    pub epoch: f64,
    pub learning_rate: f64,
    pub batch_size: usize,
    /// Of the first step of an epoch: others may leave the reconstruction out.
    pub scope: Scope,
    /// Of the training samples, which the epoch sees.
    pub share: f64,
}

/// A schedule in rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline {
    /// In the order of the epochs.
    pub rows: Vec<Row>,
    /// Whether rows are left out between the last one and those before it.
    pub is_cut: bool,
}

/// Rows of an outline, at most.
const MOST: usize = 60;
/// Whole epochs between two turns that have a row, at most.
const BETWEEN: usize = 10;
/// How closely a jump is enclosed, in epochs.
pub const SHARP: f64 = 1e-9;

/// Begin and end of a training, both sides of every turn and jump, and some rows between them where something moves.
pub fn outline(schedule: &ScheduleConfig, epochs: usize) -> Outline {
    let end = epochs as f64;
    let row = |epoch: f64, at: f64| {
        let progress = Progress { epoch: at, epochs: end };
        Row {
            epoch,
            learning_rate: schedule.learning_rate(progress),
            batch_size: schedule.batch_size(progress),
            scope: schedule.scope(progress, 0),
            share: if schedule.samples.reduced(at as usize, at as usize + 1) > 0 {
                schedule.samples.share
            } else {
                1.0
            },
        }
    };
    // The end of the training is not part of it, and a turn by rounding may count to either side.
    let (before, after) = (|epoch: f64| row(epoch, epoch - SHARP), |epoch: f64| row(epoch, epoch + SHARP));
    let mut turns = schedule.lr.turns(end, &schedule.batch, MOST);
    turns.extend(schedule.batch.turns());
    turns.push(schedule.warmup_epochs);
    turns.extend(schedule.samples.turns(epochs).take(MOST));
    turns.extend(schedule.turns_of_scope().map(|share| share * end));
    turns.retain(|turn| *turn > SHARP && *turn < end - SHARP);
    turns.sort_by(f64::total_cmp);
    turns.dedup_by(|one, other| (*one - *other).abs() < SHARP);
    turns.push(end);
    let mut rows = vec![row(0.0, 0.0)];
    let mut start = 0.0;
    for turn in turns {
        rows.extend(between(start, turn).into_iter().map(|epoch| row(epoch, epoch)));
        rows.push(before(turn));
        if turn < end && !is_alike(&before(turn), &after(turn)) {
            rows.push(after(turn));
        }
        start = turn;
    }
    // Of what stays as it is, begin and end say all.
    let says_more = |rows: &[Row]| !(is_alike(&rows[0], &rows[1]) && is_alike(&rows[1], &rows[2]));
    let inner: Vec<Row> = rows.windows(3).filter(|rows| says_more(rows)).map(|rows| rows[1]).collect();
    let (first, last) = (rows[0], rows[rows.len() - 1]);
    let is_cut = inner.len() + 2 > MOST;
    let rows = std::iter::once(first).chain(inner.into_iter().take(MOST - 2)).chain([last]).collect();
    Outline { rows, is_cut }
}

/// Moments between two turns: whole epochs where there are some, else quarters.
fn between(start: f64, end: f64) -> Vec<f64> {
    if end - start < 4.0 {
        return [0.25, 0.5, 0.75].map(|share| start + share * (end - start)).into();
    }
    // 1, 2, 5, 10, 20, 50, …
    let mut steps = (0..).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    let step = steps.find(|step| (end - start) / step <= BETWEEN as f64).unwrap_or(end - start);
    let first = (start / step).floor() + 1.0;
    let moments = (0..=BETWEEN).map(|number| (first + number as f64) * step);
    moments.filter(|epoch| *epoch > start + SHARP && *epoch < end - SHARP).collect()
}

/// Whether two rows say the same, but for rounding.
fn is_alike(one: &Row, other: &Row) -> bool {
    let largest = one.learning_rate.abs().max(other.learning_rate.abs());
    one.batch_size == other.batch_size
        && one.scope == other.scope
        && one.share == other.share
        && (one.learning_rate - other.learning_rate).abs() <= 1e-6 * largest
}
