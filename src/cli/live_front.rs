//! The front so far as a small picture of braille dots, for a terminal.

use std::collections::BTreeMap;

use fastrcaps::{
    analysis::pareto::{Goal, front_2d},
    base::words::{accuracy as percent, duration},
    learn::record::{Status, TrialRecord},
    present::report::view::StudyView,
};

/// Rows of the plot, and its columns; each is four dots high and two wide.
pub const ROWS: usize = 6;
const COLUMNS: usize = 48;
const GOALS: [Goal; 2] = [Goal::Minimise, Goal::Maximise];

/// The trials that ended well, by configuration.
pub struct LiveFront {
    /// Candidate of each trial.
    candidates: Vec<usize>,
    /// Seconds and accuracies of the replicates of each configuration, by trial.
    ended: BTreeMap<usize, BTreeMap<usize, (f64, f64)>>,
}

impl LiveFront {
    /// With what ended before.
    pub fn new(view: &StudyView) -> LiveFront {
        let candidates = view.trials.iter().map(|trial| trial.candidate).collect();
        let mut front = LiveFront { candidates, ended: BTreeMap::new() };
        for (trial, record) in view.records.iter().enumerate() {
            record.iter().for_each(|record| front.ended(trial, record));
        }
        front
    }

    /// Takes up a trial that ended.
    pub fn ended(&mut self, trial: usize, record: &TrialRecord) {
        let figures = record.train_seconds_screen.zip(record.validation_accuracy);
        if let (Status::Done, Some((seconds, accuracy))) = (record.status, figures)
            && seconds > 0.0
            && seconds.is_finite()
            && accuracy.is_finite()
        {
            self.ended.entry(self.candidates[trial]).or_default().insert(trial, (seconds, accuracy));
        }
    }

    /// The mean of each configuration: seconds, accuracy.
    fn points(&self) -> Vec<[f64; 2]> {
        let mean = |of: &BTreeMap<usize, (f64, f64)>| {
            let sum = of.values().fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
            [sum.0 / of.len() as f64, sum.1 / of.len() as f64]
        };
        self.ended.values().map(mean).collect()
    }

    /// [`ROWS`] lines and a last one that says what they show; none before two configurations have ended.
    pub fn lines(&self) -> Option<Vec<String>> {
        let points = self.points();
        if points.len() < 2 {
            return None;
        }
        let front: Vec<[f64; 2]> = front_2d(&points, &GOALS).into_iter().map(|at| points[at]).collect();
        let (from, to) = ends(points.iter().map(|point| point[0].ln()));
        let mut accuracies: Vec<f64> = points.iter().map(|point| point[1]).collect();
        accuracies.sort_by(f64::total_cmp);
        // What is far below the others would leave no room for them.
        let (best, median) = (accuracies[accuracies.len() - 1], accuracies[accuracies.len() / 2]);
        let floor = best - 3.0 * (best - median).max(0.001);
        let lowest = accuracies.iter().copied().find(|of| *of >= floor).unwrap_or(floor);
        let (low, high) = ends([lowest, best].into_iter());
        let mut dots = Dots::none();
        let place = |[seconds, accuracy]: [f64; 2]| {
            let x = (seconds.ln() - from) / (to - from) * (2 * COLUMNS - 1) as f64;
            let y = (high - accuracy) / (high - low) * (4 * ROWS - 1) as f64;
            (x.round() as usize, y.round().clamp(0.0, (4 * ROWS - 1) as f64) as usize)
        };
        points.iter().for_each(|point| dots.set(place(*point)));
        for pair in front.windows(2) {
            let ((left, above), (right, below)) = (place(pair[0]), place(pair[1]));
            (left..=right).for_each(|x| dots.set((x, above)));
            (below.min(above)..=above.max(below)).for_each(|y| dots.set((right, y)));
        }
        let mut lines = dots.lines();
        for (row, value) in [(0, high), (ROWS - 1, low)] {
            lines[row] = format!("{:>9} {}", percent(Some(value)), lines[row]);
        }
        for line in &mut lines[1..ROWS - 1] {
            *line = format!("{:>9} {line}", "");
        }
        let (fastest, slowest) = (duration(from.exp()), duration(to.exp()));
        let count = points.len();
        lines.push(format!("{:>9} {fastest} to {slowest} of training · line: front of {count}", ""));
        Some(lines)
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), of| (low.min(of), high.max(of)));
    if high - low > 1e-9 { (low, high) } else { (low - 0.005, high + 0.005) }
}

/// Dots of a braille picture.
struct Dots {
    cells: [[u8; COLUMNS]; ROWS],
}

impl Dots {
    fn none() -> Dots {
        Dots { cells: [[0; COLUMNS]; ROWS] }
    }

    fn set(&mut self, (x, y): (usize, usize)) {
        // Bits of U+2800 and on: two columns of three, then the two below.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        if let Some(cell) = self.cells.get_mut(y / 4).and_then(|row| row.get_mut(x / 2)) {
            *cell |= BITS[y % 4][x % 2];
        }
    }

    fn lines(&self) -> Vec<String> {
        let letter = |cell: &u8| char::from_u32(0x2800 + u32::from(*cell)).unwrap_or(' ');
        self.cells.iter().map(|row| row.iter().map(letter).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(points: &[(f64, f64)]) -> LiveFront {
        let ended = points.iter().enumerate().map(|(at, point)| (at, BTreeMap::from([(at, *point)]))).collect();
        LiveFront { candidates: (0..points.len()).collect(), ended }
    }

    #[test]
    fn the_fastest_stands_at_the_left_and_the_most_accurate_at_the_top() {
        let lines = front(&[(1.0, 0.9), (10.0, 0.95), (100.0, 0.99)]).lines().unwrap();
        assert_eq!(lines.len(), ROWS + 1);
        assert!(lines[0].contains("99.00 %") && lines[ROWS - 1].contains("90.00 %"), "{lines:?}");
        // The last column of the first row, and the first of the last, have dots.
        assert!(!lines[0].ends_with('\u{2800}') && lines[ROWS - 1].chars().nth(10) != Some('\u{2800}'), "{lines:#?}");
        assert!(lines[ROWS].contains("1 s to 100 s"), "{lines:?}");
    }

    #[test]
    fn equal_points_and_hopeless_ones_are_drawn_and_one_alone_is_not() {
        assert!(front(&[(1.0, 0.9)]).lines().is_none());
        assert!(front(&[(1.0, 0.9), (1.0, 0.9)]).lines().is_some());
        let lines = front(&[(1.0, 0.1), (2.0, 0.98), (3.0, 0.985), (4.0, 0.99)]).lines().unwrap();
        assert!(!lines[ROWS - 1].contains("10.00 %"), "{lines:#?}");
    }
}
