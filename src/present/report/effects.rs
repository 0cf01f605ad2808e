//! What each optimisation of a study does, as tables.

use anyhow::Result;

use super::{tables::text, view::StudyView};
use crate::{
    analysis::{
        Point,
        attribution::{self, Change, Effect, Interaction, Optimisation},
        contrast::{Measured, SpeedUp},
        ladder::{Ladder, LadderStep},
    },
    search::space::Space,
};

/// Effects and interactions of a study; none where it has nothing to compare with yet.
pub struct Effects {
    pub effects: Vec<Effect>,
    pub interactions: Vec<Interaction>,
}

impl Effects {
    pub fn of(view: &StudyView) -> Effects {
        Effects::among(view, &view.points())
    }

    /// The same, where the points of the study are known.
    pub fn among(view: &StudyView, points: &[Point]) -> Effects {
        let design = view.design();
        Effects {
            effects: attribution::effects(&design, points).unwrap_or_default(),
            interactions: attribution::interactions(&design, points).unwrap_or_default(),
        }
    }
}

/// What an optimisation is called.
pub fn name(space: &Space, of: &Optimisation) -> String {
    space.value_name(of.axis, &of.to)
}

/// What a rung of a ladder is called: what it changes.
pub fn step_name(space: &Space, step: &LadderStep) -> String {
    match step {
        LadderStep::Baseline => "baseline".into(),
        LadderStep::Stop(epochs) => format!("stop after {}", super::view::epochs(*epochs)),
        LadderStep::Change(changes) => {
            let named = |(axis, value): &(usize, Option<String>)| Some(space.value_name(*axis, value.as_ref()?));
            changes.iter().filter_map(named).collect::<Vec<_>>().join(" + ")
        }
    }
}

/// `attribution.csv`: one row per optimisation, the fastest first.
pub fn attribution(space: &Space, effects: &[Effect]) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let fixed = ["optimisation", "axis", "value", "baseline_value", "contexts", "contexts_diverged"];
    let changes = CHANGE.iter().map(ToString::to_string);
    let is_wanted = |column: &&str| !SEVERAL.contains(column);
    let alone = CHANGE.iter().copied().filter(is_wanted).map(|column| format!("at_baseline_{column}"));
    table.write_record(fixed.map(String::from).into_iter().chain(changes).chain(alone))?;
    for effect in effects {
        let of = &effect.optimisation;
        let mut row: Vec<String> =
            [&name(space, of), &space.axes[of.axis].path, &of.to, &of.from].map(|of| text(of)).into();
        row.extend([effect.overall.contexts.to_string(), effect.overall.diverged.to_string()]);
        row.extend(change(Some(&effect.overall)));
        let alone = CHANGE.iter().zip(change(effect.at_baseline.as_ref()));
        row.extend(alone.filter(|(column, _)| is_wanted(column)).map(|(_, cell)| cell));
        table.write_record(row)?;
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

const CHANGE: [&str; 23] = [
    "speedup",
    "speedup_low",
    "speedup_high",
    "speedup_least",
    "speedup_greatest",
    "contexts_faster",
    "contexts_slower",
    "time_contexts",
    "time_measurements",
    "time_basis",
    "contexts_without_time",
    "accuracy_change",
    "accuracy_change_low",
    "accuracy_change_high",
    "accuracy_change_least",
    "accuracy_change_greatest",
    "contexts_more_accurate",
    "contexts_less_accurate",
    "accuracy_contexts",
    "replicates",
    "parameter_share",
    "parameter_share_least",
    "parameter_share_greatest",
];

/// Columns that say something of several contexts only.
const SEVERAL: [&str; 13] = [
    "speedup_least",
    "speedup_greatest",
    "contexts_faster",
    "contexts_slower",
    "time_contexts",
    "contexts_without_time",
    "accuracy_change_least",
    "accuracy_change_greatest",
    "contexts_more_accurate",
    "contexts_less_accurate",
    "accuracy_contexts",
    "parameter_share_least",
    "parameter_share_greatest",
];

fn change(of: Option<&Change>) -> [String; 23] {
    let Some(of) = of else { return CHANGE.map(|_| String::new()) };
    let [speed, low, high, least, greatest, faster, slower, contexts, rounds] =
        measured(of.speed_up.map(|of| of.factor));
    let [accuracy, accuracy_low, accuracy_high, lowest, highest, better, worse, accuracy_contexts, replicates] =
        measured(of.accuracy);
    let speed_basis = of.speed_up.map(|of| of.basis.as_str().to_string()).unwrap_or_default();
    let without = of.without_time.to_string();
    let [share, share_least, share_greatest] =
        [of.parameters.mean, of.parameters.least, of.parameters.greatest].map(|share| share.to_string());
    [
        speed,
        low,
        high,
        least,
        greatest,
        faster,
        slower,
        contexts,
        rounds,
        speed_basis,
        without,
        accuracy,
        accuracy_low,
        accuracy_high,
        lowest,
        highest,
        better,
        worse,
        accuracy_contexts,
        replicates,
        share,
        share_least,
        share_greatest,
    ]
}

/// Estimate, interval, range over the contexts, contexts better and worse, contexts, measurements. Unknown is empty.
fn measured(of: Option<Measured>) -> [String; 9] {
    let Some(of) = of else { return Default::default() };
    let end = |end: fn((f64, f64)) -> f64| of.interval.map(|interval| end(interval).to_string()).unwrap_or_default();
    [
        of.estimate.to_string(),
        end(|(low, _)| low),
        end(|(_, high)| high),
        of.least.to_string(),
        of.greatest.to_string(),
        of.better.to_string(),
        of.worse.to_string(),
        of.contexts.to_string(),
        of.measurements.to_string(),
    ]
}

/// `interactions.csv`: one row per pair of optimisations that were trained together, the largest in accuracy first.
pub fn interactions(space: &Space, interactions: &[Interaction]) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "optimisation",
        "axis",
        "value",
        "other_optimisation",
        "other_axis",
        "other_value",
        "contexts",
        "accuracy_interaction",
        "accuracy_interaction_low",
        "accuracy_interaction_high",
        "accuracy_contexts",
        "replicates",
        "speedup_interaction",
        "speedup_interaction_low",
        "speedup_interaction_high",
        "time_contexts",
        "time_measurements",
        "time_basis",
    ])?;
    for Interaction { first, second, contexts, accuracy, speed_up } in interactions {
        let mut row = Vec::new();
        for of in [first, second] {
            row.extend([&name(space, of), &space.axes[of.axis].path, &of.to].map(|of| text(of)));
        }
        row.push(contexts.to_string());
        for of in [*accuracy, speed_up.map(|of| of.factor)] {
            let [estimate, low, high, _, _, _, _, contexts, measurements] = measured(of);
            row.extend([estimate, low, high, contexts, measurements]);
        }
        row.push(speed_up.map(|of| of.basis.as_str().to_string()).unwrap_or_default());
        table.write_record(row)?;
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}

/// A ladder, as `fastrcaps attribution --ladder … --csv` prints it: one row per rung.
pub fn ladder(space: &Space, points: &[Point], ladder: &Ladder) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let figures = ["speedup", "total_speedup", "accuracy_change", "total_accuracy_change"];
    let ends = figures.map(|name| [name.to_string(), format!("{name}_low"), format!("{name}_high")]);
    let fixed = ["change", "configuration", "seconds", "time_basis", "accuracy", "parameters"].map(String::from);
    table.write_record(fixed.iter().chain(ends.as_flattened()))?;
    for rung in &ladder.rungs {
        let point = &points[rung.point];
        let known = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let mut row = vec![text(&step_name(space, &rung.step)), text(&point.label), known(point.seconds())];
        row.push(point.seconds().map(|_| point.time.basis.as_str().to_string()).unwrap_or_default());
        row.extend([known(point.mean_accuracy()), point.parameters.to_string()]);
        let factor = |of: Option<SpeedUp>| of.map(|of| of.factor);
        for of in [factor(rung.speed_up), factor(rung.total_speed_up), rung.accuracy, rung.total_accuracy] {
            row.extend(measured(of).into_iter().take(3));
        }
        table.write_record(row)?;
    }
    Ok(table.into_inner().map_err(|error| error.into_error())?)
}
