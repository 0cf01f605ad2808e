//! Two studies beside each other: what may be compared between them, and what comes of it.

use std::collections::HashMap;

use anyhow::Result;

use super::{
    cells::{self, points as in_points},
    findings::Findings,
    noise::{caution, noise},
    view::StudyView,
};
use crate::{
    analysis::{
        Basis, Extent, Point,
        pareto::{Goal, dominates, hypervolume_2d},
    },
    base::words::{accuracy as percent, duration, plural},
    learn::record::Status,
    search::study::{Study, StudyFile},
};

/// One of the two studies.
pub struct Side {
    /// The folder, as it was named.
    pub folder: String,
    pub view: StudyView,
    pub findings: Findings,
    pub declared: StudyFile,
}

impl Side {
    pub fn read(study: &Study, times: Option<&str>) -> Result<Side> {
        let view = StudyView::read_with_times(study, times)?;
        let findings = Findings::of(&view);
        Ok(Side { folder: study.folder.display().to_string(), findings, declared: study.read()?, view })
    }

    fn front(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.findings.front.iter().map(|index| &self.findings.points[*index])
    }

    fn baseline(&self) -> Option<&Point> {
        self.findings.baseline.map(|index| &self.findings.points[index])
    }
}

/// A configuration that both studies have trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// Its name in the first and in the second study.
    pub labels: [String; 2],
    /// Mean validation accuracies.
    pub accuracy: [Option<f64>; 2],
    pub seconds: [Option<f64>; 2],
}

/// Two studies held against each other.
pub struct Comparison {
    pub sides: [Side; 2],
    /// Whether both are of the same images, so that accuracies compare.
    pub is_same_data: bool,
    /// Whether times compare; none where there are none.
    pub are_same_times: bool,
    /// What must be known before anything is concluded.
    pub warnings: Vec<String>,
    /// Configurations with the same values and data in both, in the order of the first.
    pub shared: Vec<Shared>,
}

/// One line of the comparison: what, and its value in each study.
pub type Row = [String; 3];

const GOALS: [Goal; 2] = [Goal::Minimise, Goal::Maximise];

impl Comparison {
    pub fn of(sides: [Side; 2]) -> Comparison {
        let [a, b] = &sides;
        let is_same_data = a.declared.data == b.declared.data;
        let (are_same_times, why) = same_times(&a.view, &b.view);
        let mut warnings = Vec::new();
        if !is_same_data {
            warnings.push(other_data(a, b));
        }
        warnings.extend(why);
        let builds = [a, b].map(|side| &side.declared.git_revision);
        if builds[0] != builds[1] {
            warnings.push(format!(
                "They were begun by different builds ({} and {}): the same configuration may give other bits.",
                builds[0], builds[1]
            ));
        }
        let replicates = [a, b].map(|side| side.findings.points.iter().map(|of| of.accuracy.len()).max().unwrap_or(0));
        if replicates.iter().any(|count| *count < 2) {
            warnings.push(
                "One of them has one replicate of each configuration: nothing says how far other seeds lie apart, so a difference \
                 of accuracies may be luck."
                    .into(),
            );
        }
        let shared = if is_same_data { shared(a, b) } else { Vec::new() };
        Comparison { is_same_data, are_same_times, warnings, shared, sides }
    }

    /// The comparison, line by line.
    pub fn rows(&self) -> Vec<Row> {
        let both = |name: &str, of: &dyn Fn(&Side) -> String| -> Row {
            let [a, b] = &self.sides;
            [name.into(), of(a), of(b)]
        };
        let point = |of: Option<&Point>, words: &dyn Fn(&Point) -> String| of.map_or("–".into(), words);
        let time_and_accuracy =
            |of: &Point| format!("{}: {}, {}", of.label, cells::marked_time(of), percent(of.mean_accuracy()));
        let mut rows = vec![
            both("folder", &|of| of.folder.clone()),
            both("data", &data_words),
            both("configurations", &|of| of.view.expansion.candidates.len().to_string()),
            both("trials done", &|of| format!("{} of {}", of.view.count(Status::Done), of.view.wanted().count())),
            both("times", &|of| of.view.times_line()),
            both("points on the front", &|of| of.findings.front.len().to_string()),
            both("baseline", &|of| point(of.baseline(), &time_and_accuracy)),
            both("fastest on the front", &|of| point(of.front().next(), &time_and_accuracy)),
            both("most accurate on the front", &|of| point(of.front().next_back(), &time_and_accuracy)),
            both("its speed-up over the own baseline", &|of| {
                let best = of.findings.front.last().and_then(|index| of.findings.change(*index));
                best.and_then(cells::speed_beside_baseline).unwrap_or("–".into())
            }),
        ];
        if let Some(volumes) = self.hypervolumes() {
            let [a, b] = volumes.map(|share| percent(Some(share)));
            rows.push(["hypervolume, share of the same box".into(), a, b]);
            let [a, b] = self.dominated().map(|(count, of)| format!("{count} of {}", plural(of, "point")));
            rows.push(["of its front, dominated by the other".into(), a, b]);
        }
        rows
    }

    /// Shared configurations, line by line: names, accuracies and their difference, times and their ratio.
    pub fn shared_rows(&self) -> Vec<[String; 7]> {
        let row = |of: &Shared| {
            let difference = of.accuracy[0].zip(of.accuracy[1]).map(|(a, b)| in_points(b - a));
            let ratio =
                of.seconds[0].zip(of.seconds[1]).filter(|_| self.are_same_times).map(|(a, b)| cells::factor(a / b));
            let seconds = of.seconds.map(|of| of.map_or("–".into(), duration));
            let label = match of.labels[0] == of.labels[1] {
                true => of.labels[0].clone(),
                false => format!("{} / {}", of.labels[0], of.labels[1]),
            };
            let [accuracy, other_accuracy] = of.accuracy.map(percent);
            let [time, other_time] = seconds;
            let known = |of: Option<String>| of.unwrap_or_else(|| "–".into());
            [label, accuracy, other_accuracy, known(difference), time, other_time, known(ratio)]
        };
        self.shared.iter().map(row).collect()
    }

    /// The share of one box that each front dominates; none where accuracies or times do not compare.
    fn hypervolumes(&self) -> Option<[f64; 2]> {
        let pairs = self.pairs()?;
        let longest = pairs.iter().flatten().map(|[seconds, _]| *seconds).fold(f64::NAN, f64::max);
        let classes = self.sides[0].view.expansion.candidates[0].config.data.name.classes();
        let chance = 1.0 / classes as f64;
        let is_box = longest > 0.0;
        is_box.then(|| pairs.map(|of| hypervolume_2d(&of, &GOALS, [longest, chance]) / (longest * (1.0 - chance))))
    }

    /// Of each front, how many points a point of the other study dominates, and how many there are.
    fn dominated(&self) -> [(usize, usize); 2] {
        let Some(pairs) = self.pairs() else { return [(0, 0); 2] };
        let count = |own: usize| {
            let front = || {
                self.sides[own].findings.front.iter().map(|index| self.sides[own].findings.points[*index].objectives())
            };
            let is_beaten =
                |of: &[f64; 3]| pairs[1 - own].iter().any(|other| dominates(other, &[of[0], of[1]], &GOALS));
            (front().filter(is_beaten).count(), front().count())
        };
        [count(0), count(1)]
    }

    /// Time and accuracy of the points of both that have them; none where they do not compare.
    fn pairs(&self) -> Option<[Vec<[f64; 2]>; 2]> {
        let known = |side: &Side| -> Vec<[f64; 2]> {
            let of = side.findings.points.iter().map(Point::objectives);
            of.map(|[seconds, accuracy, _]| [seconds, accuracy])
                .filter(|pair| pair.iter().all(|of| of.is_finite()))
                .collect()
        };
        let [a, b] = &self.sides;
        (self.is_same_data && self.are_same_times).then(|| [known(a), known(b)])
    }
}

fn data_words(of: &Side) -> String {
    let config = &of.view.expansion.candidates[0].config.data;
    let counts = config.counts();
    let fingerprints: Vec<&str> = of.declared.data.values().map(|of| &of[..of.len().min(12)]).collect();
    format!("{}, {} to train on, fingerprint {}", config.name.descriptor().name, counts.train, fingerprints.join(", "))
}

fn other_data(a: &Side, b: &Side) -> String {
    let [first, second] = [a, b].map(data_words);
    format!("They are of different images ({first}; {second}): accuracies of the two do not compare.")
}

/// Whether the times of two studies compare, and what is to be said of it.
fn same_times(a: &StudyView, b: &StudyView) -> (bool, Option<String>) {
    let basis = |view: &StudyView| {
        let is_confirmed = |of: &Point| of.time.basis == Basis::Confirmed;
        if view.points().iter().any(is_confirmed) { Basis::Confirmed } else { Basis::Screened }
    };
    let words = |view: &StudyView| view.times_line();
    match [basis(a), basis(b)] {
        [Basis::Confirmed, Basis::Confirmed] => {
            let (Some(first), Some(second)) = (&a.times, &b.times) else { return (false, None) };
            let differences = first.differences(second);
            let why = format!(
                "Their times were taken on different machines or builds and do not compare: {}.",
                differences.join("; ")
            );
            (differences.is_empty(), (!differences.is_empty()).then_some(why))
        }
        [Basis::Screened, Basis::Screened] if a.common_origin() == b.common_origin() => {
            let slots = [a, b].map(|view| view.machine.as_ref().map(|machine| machine.slots.clone()));
            let beside = if slots[0] == slots[1] { "" } else { ", of different numbers in the two" };
            let noise = [a, b].into_iter().filter_map(|view| noise(view, &view.points()));
            let caution = caution(noise.max_by(|a, b| a.most.total_cmp(&b.most)));
            let why = format!("Their times are screened, taken beside other trials{beside}. {caution}");
            (true, Some(why))
        }
        [Basis::Screened, Basis::Screened] => (
            false,
            Some(format!(
                "Their times were screened on different machines or builds and do not compare: {}; {}.",
                words(a),
                words(b)
            )),
        ),
        _ => (false, Some("The times of one are confirmed, those of the other screened: they do not compare.".into())),
    }
}

/// Configurations that both have trained to the end.
fn shared(a: &Side, b: &Side) -> Vec<Shared> {
    let whole = |side: &Side| -> HashMap<usize, usize> {
        let points = side.findings.points.iter().enumerate();
        points
            .filter(|(_, of)| of.extent == Extent::Whole && !of.accuracy.is_empty())
            .map(|(at, of)| (of.candidate, at))
            .collect()
    };
    let (in_a, in_b) = (whole(a), whole(b));
    let candidates = |side: &Side| side.view.keys[..side.view.expansion.candidates.len()].to_vec();
    let of_b: HashMap<String, usize> = candidates(b).into_iter().enumerate().map(|(at, key)| (key, at)).collect();
    let pair = |(at, key): (usize, String)| {
        let other = of_b.get(&key)?;
        let points = [&a.findings.points[*in_a.get(&at)?], &b.findings.points[*in_b.get(other)?]];
        Some(Shared {
            labels: points.map(|of| of.label.clone()),
            accuracy: points.map(Point::mean_accuracy),
            seconds: points.map(Point::seconds),
        })
    };
    candidates(a).into_iter().enumerate().filter_map(pair).collect()
}
