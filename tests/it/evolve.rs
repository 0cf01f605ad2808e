//! Evolve: what it proposes does not depend on how it was run, comes from a space that nobody lists, and is told with its reasons.

use std::{cell::Cell, rc::Rc};

use fastrcaps::{
    base::source::Document,
    learn::record::{EpochRow, Status},
    search::{
        space::{Candidate, Space},
        strategy::{Brief, Costs, Decision, Ground, Line, Offered, Progress, STRATEGIES, Settings, Why},
    },
};
use proptest::prelude::*;

use crate::{
    cli::{explore_until, figures, folder_with, refuse, succeed, table, told},
    facts::Facts,
    freeze::{made_up, sweep},
};

/// A space of more than 10^9 combinations, some of which mean the same.
const SPACE: &str = "
[base]
model = { preset = 'tiny' }
train = { epochs = 12 }
[axes]
\"schedule.lr.rate\" = { from = 1e-5, to = 1e-1, scale = 'log' }
\"schedule.batch.size\" = { from = 8, to = 256, scale = 'log', integer = true }
\"model.routing_iterations\" = [3, 2, 1]
\"model.decoder\" = ['full', 'small', 'none']
\"model.reconstruction_weight\" = { from = 0, to = 0.01 }
\"data.shift\" = [0, 1, 2]
[[exclude]]
\"model.decoder\" = 'small'
\"data.shift\" = 1
";

/// The space by its combinations, and how many it was asked for.
#[derive(Debug)]
struct Field {
    space: Space,
    lines: Vec<Line>,
    asked: Cell<usize>,
}

impl Ground for Field {
    fn lines(&self) -> &[Line] {
        &self.lines
    }

    fn start(&self) -> Option<Vec<usize>> {
        Some(self.space.baseline_choice().unwrap())
    }

    fn at(&self, place: &[usize]) -> Option<Offered> {
        self.asked.set(self.asked.get() + 1);
        let config = self.space.at(place).unwrap()?.config;
        Some(Offered {
            key: config.key(""),
            stops: config.schedule.stops(12),
            seconds: (1..=12).map(|epoch| epoch as f64 * config.rough_work()).collect(),
            parameters: config.parameters(),
        })
    }

    fn places(&self) -> Option<&[Vec<usize>]> {
        None
    }
}

struct Known {
    ground: Rc<dyn Ground>,
    field: Rc<Field>,
}

fn known() -> Known {
    let space = Space::from_document(Document::parse("space.toml", SPACE.into()).unwrap(), "space", &[]).unwrap();
    assert!(space.size() > 1_000_000_000);
    let line =
        |of: &fastrcaps::search::space::Axis| Line { values: of.values.len(), is_ordered: of.path != "model.decoder" };
    let lines = space.axes.iter().map(line).collect();
    let field = Rc::new(Field { space, lines, asked: Cell::new(0) });
    Known { ground: field.clone(), field }
}

#[derive(Debug, PartialEq)]
struct End {
    /// Names, status and epochs of each trial.
    trials: Vec<(Vec<String>, Status, usize)>,
    decisions: Vec<Decision>,
}

/// What a training of a configuration comes to after an epoch, whenever it is asked for.
fn row(of: &Candidate, epoch: usize) -> EpochRow {
    let number = |axis: usize| of.values[axis].as_ref().map_or(0.0, |value| value.parse::<f64>().unwrap());
    let rate = (number(0).ln() - (3e-3f64).ln()).abs();
    let height = 0.99 - 0.02 * rate - 0.01 * number(5) - 0.005 * (3.0 - number(2)) - 0.0002 * number(1);
    let accuracy = (height * (1.0 - 0.5f64.powf(epoch as f64 / 2.0))).max(0.1);
    made_up(epoch, accuracy)
}

impl Known {
    /// Explores until `limit` configurations were proposed and nothing is open; `next(n)` says which of n running trials ends next,
    /// and whether the explorer is killed instead.
    fn explore(&self, limit: usize, slots: usize, mut next: impl FnMut(usize) -> (usize, bool)) -> End {
        let space = &self.field.space;
        let evolve = STRATEGIES.into_iter().find(|of| of.name == "evolve").unwrap();
        let mut list = vec![space.names(&space.baseline_choice().unwrap())];
        let mut kept: Vec<Progress> = Vec::new();
        loop {
            let (_, expansion) = space.listed(&list).unwrap();
            let trials = expansion.trials(1);
            kept.resize(trials.len(), Progress::new(Status::Pending));
            let costs = Costs {
                seconds: expansion
                    .candidates
                    .iter()
                    .map(|of| (1..=12).map(|epoch| 1e-9 * epoch as f64 * of.config.rough_work()).collect())
                    .collect(),
                parameters: expansion.candidates.iter().map(|of| of.config.parameters()).collect(),
            };
            let brief = Brief {
                trials: &trials,
                candidates: &expansion.candidates,
                costs: Some(&costs),
                settings: Settings::default(),
                asked: trials.len(),
                limit: Some(limit),
                begun: &[],
                baseline: expansion.baseline,
                ground: Some(&self.ground),
            };
            let searcher = (evolve.searcher)(&brief);
            let row = |trial: usize, epoch: usize| row(&expansion.candidates[trials[trial].candidate], epoch);
            if !sweep(searcher.as_ref(), &trials, row, &mut kept, slots, &mut next) {
                continue;
            }
            let further = searcher.further();
            if further.is_empty() {
                let ends = list.into_iter().zip(&kept).map(|(names, of)| (names, of.status, of.epochs.len()));
                return End { trials: ends.collect(), decisions: searcher.decisions(0) };
            }
            list.extend(further.iter().map(|place| space.names(place)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn proposals_are_the_same_for_any_slots_any_order_of_ends_and_any_kills(
        slots in 1usize..20,
        choices in prop::collection::vec((0usize..1000, prop::bool::weighted(0.05)), 1000),
    ) {
        let known = known();
        let mut at = 0;
        let end = known.explore(36, slots, |_| {
            at += 1;
            choices.get(at).copied().unwrap_or((0, false))
        });
        prop_assert_eq!(end, known.explore(36, 1, |_| (0, false)));
    }
}

#[test]
fn few_of_a_thousand_million_combinations_are_asked_for_and_the_proposals_are_better_than_chance() {
    let known = known();
    let began = std::time::Instant::now();
    let End { trials, decisions } = known.explore(80, 1, |_| (0, false));
    assert_eq!(trials.len(), 80);
    let rounds = decisions.iter().map(|of| of.round).max().unwrap() + 1;
    // Each is found out again whenever the list grows.
    let asked = known.field.asked.get();
    println!("{asked} asked for in {rounds} rounds, {} decisions, {:?}", decisions.len(), began.elapsed());
    assert!(asked < 300 * rounds * rounds, "{asked} in {rounds} rounds");
    let distinct: std::collections::BTreeSet<&Vec<String>> = trials.iter().map(|of| &of.0).collect();
    assert_eq!(distinct.len(), 80, "each once");
    // All are trained a little, few to their end.
    assert!(trials.iter().all(|of| of.2 > 0));
    assert!(trials.iter().filter(|of| of.2 == 12).count() < 60, "{trials:?}");
    let by = |why: Why| decisions.iter().filter(|of| of.why == why).map(|of| of.trial).collect::<Vec<_>>();
    let distance = |of: &[usize]| {
        let rate = |trial: &usize| trials[*trial].0[0].parse::<f64>().unwrap();
        of.iter().map(|trial| (rate(trial).ln() - (3e-3f64).ln()).abs()).sum::<f64>() / of.len() as f64
    };
    let (drawn, proposed) = (by(Why::Drawn), by(Why::Proposed));
    assert!(proposed.len() >= 40 && drawn.len() >= 8);
    assert!(distance(&proposed) < 0.7 * distance(&drawn), "{} {}", distance(&proposed), distance(&drawn));
    let told = decisions.iter().find(|of| of.why == Why::Proposed).unwrap();
    assert!(!told.based_on.is_empty() && told.words().contains(&told.based_on) && told.basis.is_some());
}

/// More configurations than anybody would list, quick to train; not all train on the same data.
const SMALL: &str = "
[base]
data = { name = 'glyphs', train_samples = 100, test_samples = 40, validation_fraction = 0.4 }
model = { preset = 'tiny', decoder = 'none' }
train = { epochs = 2 }
schedule.batch = { policy = 'fixed', size = 16 }
[axes]
\"schedule.lr.rate\" = { from = 1e-5, to = 1e-1, scale = 'log' }
\"data.shift\" = [0, 1]
[baseline]
\"schedule.lr.rate\" = 1e-3
\"data.shift\" = 0
";

const EXPLORE: [&str; 7] = ["explore", "space.toml", "--strategy", "evolve", "--quiet", "--limit", "19"];

#[test]
fn serial_parallel_and_interrupted_explorations_propose_the_same_and_say_why() {
    let serial = folder_with(SMALL);
    succeed(serial.path(), &[&EXPLORE[..], &["--slots", "1x1"]].concat());
    let study = serial.path().join("results/space");
    let wanted = figures(&study);
    let costs = study.join("costs.json");
    let with_costs = ["--costs", costs.to_str().unwrap()];
    let stopped = folder_with(SMALL);
    for begun in [5, 18] {
        let arguments = [&EXPLORE[..], &["--no-confirm", "--slots", "2x1"], &with_costs].concat();
        explore_until(stopped.path(), &arguments, begun, "-KILL");
    }
    succeed(stopped.path(), &[&EXPLORE[..], &["--slots", "3x1"], &with_costs].concat());
    assert_eq!(figures(&stopped.path().join("results/space")), wanted);

    let rows = table(study.join("trials.csv"));
    assert_eq!(rows.len(), 19);
    assert_eq!((rows[0]["configuration"].as_str(), rows[0]["status"].as_str()), ("baseline", "done"));
    succeed(serial.path(), &["explain", "results/space", &rows[18]["configuration"]])
        .names([&rows[18]["key"], "proposed"]);
    succeed(serial.path(), &["study", "check", "results/space"]);

    // Again it has nothing to do; with a higher limit it goes on, and what was proposed stays.
    succeed(serial.path(), &EXPLORE);
    assert_eq!(figures(&study), wanted);
    succeed(serial.path(), &[&EXPLORE[..6], &["20"]].concat());
    let more = table(study.join("trials.csv"));
    assert_eq!(more.len(), 20);
    assert!(rows.iter().zip(&more).all(|(old, new)| old["key"] == new["key"]));
}

#[test]
fn without_an_end_nothing_is_proposed_and_only_a_strategy_that_proposes_goes_with_a_deadline() {
    let folder = folder_with(SMALL);
    refuse(folder.path(), &EXPLORE[..5]).names(["--strategy", "evolve", "--until", "--budget", "--limit"]);
    let told_so = refuse(folder.path(), &["explore", "space.toml", "--strategy", "halving", "--budget", "1h"]);
    told_so.names(["--strategy", "halving", "--until", "--budget"]);
    refuse(folder.path(), &[&EXPLORE[..], &["--risk", "0.1"]].concat()).names(["--risk"]);
    assert!(!folder.path().join("results").exists());
    told(
        folder.path(),
        &["explore", "space.toml", "--strategy", "evolve", "--quiet", "--budget", "3s", "--slots", "1x1"],
    );
    assert!(!table(folder.path().join("results/space/trials.csv")).is_empty());
}
