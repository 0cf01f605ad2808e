//! Curves of a study that was trained to its end, as what a strategy may be tried on.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use anyhow::{Context, Result, bail};

use crate::{
    base::words::plural,
    learn::{config::TrialConfig, record::Status},
    present::report::view::StudyView,
    search::{
        space::{Candidate, Trial},
        strategy::Costs,
        study::Study,
    },
};

/// Trials whose curves are known to the end.
pub struct Recording {
    pub candidates: Vec<Candidate>,
    /// By replicate, then by configuration.
    pub trials: Vec<Trial>,
    /// Index of the configuration that others are compared to.
    pub baseline: Option<usize>,
    pub costs: Costs,
    /// Of each trial.
    pub curves: Vec<Recorded>,
    /// Configurations that were left out, as not all of their trials came to an end.
    pub left_out: usize,
}

/// The curve of a trial.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Validation accuracy after each epoch.
    pub accuracies: Vec<f64>,
    /// Seconds of training up to each epoch.
    pub seconds: Vec<f64>,
    pub diverged: bool,
}

impl Recording {
    /// Reads a study folder, or a folder of trials.csv and epochs.csv as `explore` writes them. Without study.toml beside these, every
    /// epoch of a training counts as a point.
    ///
    /// Errors: a file that is missing, or not of that form; no configuration whose trials all came to an end.
    pub fn read(folder: &Path) -> Result<Recording> {
        let study = Study::new(folder);
        if study.journal().exists() {
            return Recording::of_view(&StudyView::read(&study)?);
        }
        if !folder.join("trials.csv").exists() {
            bail!(
                "{} is no study, and has no trials.csv: give the folder of a study that was trained to its end, as in \
                 `fastrcaps simulate results/smoke`, or one with its trials.csv and epochs.csv",
                folder.display()
            );
        }
        let rows = Rows::read(folder)?;
        match folder.join("study.toml").exists() {
            true => {
                let plan = study.plan()?;
                let names: HashMap<&str, usize> = (plan.expansion.candidates.iter().enumerate())
                    .map(|(at, candidate)| (candidate.label.as_str(), at))
                    .collect();
                let candidates = plan.expansion.candidates.clone();
                Recording::of(candidates.clone(), plan.expansion.baseline, |trials: &mut Vec<_>| {
                    for row in rows.0 {
                        let at = names.get(row.configuration.as_str());
                        let unknown =
                            || format!("study.toml has no configuration {:?}, trials.csv has", row.configuration);
                        let at = *at.with_context(unknown)?;
                        trials.push((at, row.replicate, candidates[at].config.parameters(), row.curve));
                    }
                    Ok(())
                })
            }
            false => Recording::of_rows(rows),
        }
    }

    fn of_view(view: &StudyView) -> Result<Recording> {
        let expansion = &view.expansion;
        Recording::of(expansion.candidates.clone(), expansion.baseline, |trials: &mut Vec<_>| {
            for index in view.wanted() {
                let Some(record) = &view.records[index] else { continue };
                let diverged = record.status == Status::Diverged;
                if record.status != Status::Done && !diverged {
                    continue;
                }
                let curve = Recorded {
                    accuracies: view.epochs[index].iter().map(|row| row.validation_accuracy).collect(),
                    seconds: view.epochs[index].iter().map(|row| row.train_seconds_screen).collect(),
                    diverged,
                };
                trials.push((view.trials[index].candidate, record.replicate, record.parameters, curve));
            }
            Ok(())
        })
    }

    /// Rows without a space: configurations by their names, at a learning rate that makes every epoch a point.
    fn of_rows(rows: Rows) -> Result<Recording> {
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        for row in &rows.0 {
            let next = names.len();
            if *names.entry(row.configuration.clone()).or_insert(next) == next {
                let epochs = row.epochs;
                // Replicates have the seeds that follow.
                let seed = next << 20;
                let text = format!(
                    "seed = {seed}\n[model]\npreset = 'tiny'\n[train]\nepochs = {epochs}\n[schedule.lr]\npolicy = 'fixed'\n\
                     [schedule.batch]\npolicy = 'fixed'\n"
                );
                let config = TrialConfig::resolve(text.parse().context("a configuration of nothing but its epochs")?)?;
                let values = row.values.iter().map(|value| Some(value.clone()).filter(|value| !value.is_empty()));
                candidates.push(Candidate { config, values: values.collect(), label: row.configuration.clone() });
            }
        }
        Recording::of(candidates, None, |trials: &mut Vec<_>| {
            for row in rows.0 {
                trials.push((names[&row.configuration], row.replicate, row.parameters, row.curve));
            }
            Ok(())
        })
    }

    /// Of curves (configuration, replicate, parameters, curve) that `fill` gives; configurations without all of their
    /// replicates are left out.
    fn of(
        candidates: Vec<Candidate>,
        baseline: Option<usize>,
        fill: impl FnOnce(&mut Vec<(usize, usize, usize, Recorded)>) -> Result<()>,
    ) -> Result<Recording> {
        let mut given = Vec::new();
        fill(&mut given)?;
        let replicates = given.iter().map(|of| of.1 + 1).max().unwrap_or(0);
        let mut curves: BTreeMap<usize, BTreeMap<usize, (usize, Recorded)>> = BTreeMap::new();
        for (candidate, replicate, parameters, curve) in given {
            let epochs = candidates[candidate].config.train.epochs;
            if curve.diverged || curve.accuracies.len() == epochs {
                curves.entry(candidate).or_default().insert(replicate, (parameters, curve));
            }
        }
        curves.retain(|_, of| of.len() == replicates);
        if curves.is_empty() {
            bail!("no configuration was trained to its end under every seed: a simulation needs whole curves");
        }
        let left_out = candidates.len() - curves.len();
        let place: HashMap<usize, usize> = curves.keys().enumerate().map(|(to, from)| (*from, to)).collect();
        let mut recording = Recording {
            candidates: curves.keys().map(|at| candidates[*at].clone()).collect(),
            trials: Vec::new(),
            baseline: baseline.and_then(|at| place.get(&at).copied()),
            costs: Costs::default(),
            curves: Vec::new(),
            left_out,
        };
        for of in curves.values() {
            let epochs = of.values().map(|(_, curve)| curve.seconds.len()).max().unwrap_or(0);
            let mean = |epoch: usize| {
                let known: Vec<f64> = of.values().filter_map(|(_, curve)| curve.seconds.get(epoch).copied()).collect();
                known.iter().sum::<f64>() / known.len() as f64
            };
            recording.costs.seconds.push((0..epochs).map(mean).collect());
            recording.costs.parameters.extend(of.values().next().map(|(parameters, _)| *parameters));
        }
        // All that diverged early have no later times: as long as the epochs that there are.
        for (seconds, candidate) in recording.costs.seconds.iter_mut().zip(&recording.candidates) {
            let each = seconds.last().map_or(1.0, |last| last / seconds.len() as f64);
            while seconds.len() < candidate.config.train.epochs {
                seconds.push(seconds.last().map_or(0.0, |last| *last) + each);
            }
        }
        let mut all: Vec<BTreeMap<usize, (usize, Recorded)>> = curves.into_values().collect();
        for replicate in 0..replicates {
            for (candidate, of) in all.iter_mut().enumerate() {
                let Some((_, curve)) = of.remove(&replicate) else { continue };
                let config = recording.candidates[candidate].config.replicate(replicate);
                recording.trials.push(Trial { candidate, replicate, config });
                recording.curves.push(curve);
            }
        }
        Ok(recording)
    }

    /// In words.
    pub fn words(&self) -> String {
        let (configurations, trials) =
            (plural(self.candidates.len(), "configuration"), plural(self.trials.len(), "trial"));
        let left_out = match self.left_out {
            0 => String::new(),
            count => format!("; {} left out, without whole curves", plural(count, "configuration")),
        };
        format!("{configurations}, {trials}{left_out}")
    }
}

/// What trials.csv and epochs.csv say.
struct Rows(Vec<Row>);

struct Row {
    configuration: String,
    values: Vec<String>,
    replicate: usize,
    parameters: usize,
    epochs: usize,
    curve: Recorded,
}

impl Rows {
    fn read(folder: &Path) -> Result<Rows> {
        let path = folder.join("trials.csv");
        let mut rows = Vec::new();
        let mut of_key: HashMap<String, usize> = HashMap::new();
        let table = Table::read(&path)?;
        let [key, status, name, replicate, parameters, epochs] =
            ["key", "status", "configuration", "replicate", "parameters", "epochs"].map(|column| table.column(column));
        let (key, status, name, replicate) = (key?, status?, name?, replicate?);
        let (parameters, epochs) = (parameters?, epochs?);
        // Values of the axes stand between them.
        let last = table.column("attempts").unwrap_or(replicate).min(replicate);
        for line in &table.lines {
            let diverged = &line[status] == "diverged";
            if &line[status] != "done" && !diverged {
                continue;
            }
            of_key.insert(line[key].to_string(), rows.len());
            rows.push(Row {
                configuration: line[name].to_string(),
                values: (name + 1..last).map(|at| line[at].to_string()).collect(),
                replicate: table.number(line, replicate)?,
                parameters: table.number(line, parameters)?,
                epochs: table.number(line, epochs)?,
                curve: Recorded { diverged, ..Recorded::default() },
            });
        }
        let path = folder.join("epochs.csv");
        let table = Table::read(&path)?;
        let (key, accuracy) = (table.column("key")?, table.column("validation_accuracy")?);
        let seconds = table.column("train_seconds_screen").or_else(|_| table.column("train_seconds"))?;
        for line in &table.lines {
            if let Some(at) = of_key.get(&line[key]) {
                let curve = &mut rows[*at].curve;
                curve.accuracies.push(table.number(line, accuracy)?);
                curve.seconds.push(table.number(line, seconds)?);
            }
        }
        Ok(Rows(rows))
    }
}

/// A CSV file.
struct Table<'a> {
    path: &'a Path,
    head: csv::StringRecord,
    lines: Vec<csv::StringRecord>,
}

impl Table<'_> {
    fn read(path: &Path) -> Result<Table<'_>> {
        let context = || format!("cannot read {}", path.display());
        let mut reader = csv::Reader::from_path(path).with_context(context)?;
        let head = reader.headers().with_context(context)?.clone();
        let lines = reader.records().collect::<Result<Vec<_>, _>>().with_context(context)?;
        Ok(Table { path, head, lines })
    }

    fn column(&self, name: &str) -> Result<usize> {
        let missing = || format!("{} has no column {name:?}", self.path.display());
        self.head.iter().position(|of| of == name).with_context(missing)
    }

    fn number<T: std::str::FromStr>(&self, line: &csv::StringRecord, at: usize) -> Result<T> {
        let text = &line[at];
        let line = line.position().map_or(0, |position| position.line());
        let wrong =
            || format!("{}:{line}: {} is {text:?}, no number that it can be", self.path.display(), &self.head[at]);
        text.parse().ok().with_context(wrong)
    }
}
