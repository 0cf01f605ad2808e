//! `fastrcaps pick`: one configuration out of a study, ready to train.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, anyhow};
use fastrcaps::{
    analysis::{
        Extent, Point,
        bootstrap::{accuracy_interval, difference_interval, time_interval},
        pick::{self, Pick},
    },
    present::report::{
        cells,
        findings::{accuracy_sd, test_accuracy, test_accuracy_sd},
        view::StudyView,
    },
    search::study::{Study, holdings::PICKED},
};
use serde_json::json;

use super::{
    attribution::{ladder_json, ladder_table},
    columns::wrapped,
    constraints::ConstraintsArg,
    display::mean_and_deviation,
    input::{TimesArg, outln, shell_line},
    target::Target,
    terminal::terminal_columns,
};

/// Pick one configuration of a study by constraints, and write the config file that trains it.
///
/// Constraints can be combined. Of the configurations that meet all of them, it picks the fastest if a constraint is
/// about accuracy, otherwise the most accurate; with --knee, the knee of their front. Accuracy is validation accuracy.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  fastrcaps pick results/smoke --max-time 90s
  fastrcaps pick results/smoke --min-speedup 2x --max-accuracy-loss 0.1pp
  fastrcaps pick results/smoke --within 0.1pp --max-parameters 100000
  fastrcaps pick results/smoke --knee --json

METHODOLOGY.md has the rules of the choice, and the meaning of the confidence.")]
pub struct Args {
    /// A study folder, made by `fastrcaps explore`
    study: PathBuf,
    #[command(flatten)]
    constraints: ConstraintsArg,
    #[command(flatten)]
    times: TimesArg,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Config file to write [default: STUDY/pick/config.toml]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that this command did not write
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let study = Study::new(args.study);
    let view = args.times.read(&study)?;
    let points = view.points();
    let pick = pick::pick(&points, &view.design(), &args.constraints.constraints())
        .map_err(|error| anyhow!(cells::pick_error(&error)))
        .with_context(|| format!("nothing is picked from {}", study.folder.display()))?;
    let out = args.out.unwrap_or_else(|| study.folder.join("pick").join("config.toml"));
    let out = Target::checked(out, args.force, |bytes| bytes.starts_with(PICKED.as_bytes()))?;
    let of = Picked { study: &study, view: &view, points: &points, pick: &pick, out: &out };
    out.write(of.config()?.as_bytes())?;
    if args.json {
        outln!("{}", of.json());
    } else {
        outln!("{}", of.text());
    }
    Ok(ExitCode::SUCCESS)
}

/// The picked configuration, with all that is printed about it.
struct Picked<'a> {
    study: &'a Study,
    view: &'a StudyView,
    points: &'a [Point],
    pick: &'a Pick,
    out: &'a Target,
}

impl Picked<'_> {
    fn point(&self) -> &Point {
        &self.points[self.pick.point]
    }

    fn baseline(&self) -> Option<&Point> {
        self.pick.baseline.map(|index| &self.points[index])
    }

    fn speedup(&self) -> Option<f64> {
        self.point().speedup(self.baseline()?)
    }

    fn accuracy_change(&self) -> Option<f64> {
        self.point().accuracy_change(self.baseline()?)
    }

    fn accuracy_change_interval(&self) -> Option<(f64, f64)> {
        difference_interval(self.point(), self.baseline()?).filter(|_| self.accuracy_change().is_some())
    }

    fn config(&self) -> Result<String> {
        let point = self.point();
        let config = self.view.config(point)?;
        let lines = [
            format!("{PICKED} from the study {}: {}", self.study.folder.display(), point.label),
            format!("# Why: {}", self.pick.why),
            format!("# Time: {}; {}", cells::time(self.point()), self.view.times_line_of(point.time.basis)),
            format!("# Validation accuracy: {}", cells::accuracy(self.point())),
        ];
        // A path or a label may hold anything; a comment ends with its line.
        let comment = |line: String| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        Ok(format!("{}\n\n{}", lines.map(comment).join("\n"), config.to_toml()))
    }

    fn file(&self) -> String {
        self.out.path().display().to_string()
    }

    fn command(&self) -> String {
        let words = ["fastrcaps", "train", &self.file(), "--out", "trained"];
        shell_line(words.map(String::from))
    }

    fn text(&self) -> String {
        let (point, pick) = (self.point(), self.pick);
        let is_alike = self.baseline().is_some_and(|base| self.point().takes_steps_of(base));
        let speedup = match self.speedup() {
            Some(_) if is_alike => "the same steps, so as fast".into(),
            Some(factor) => format!("{factor:.2}× as fast"),
            None => "speed-up unknown".into(),
        };
        let change = self.accuracy_change().map_or("change of accuracy unknown".into(), |change| {
            let interval = self
                .accuracy_change_interval()
                .map_or(String::new(), |(low, high)| format!(" (95 %: {:+.2} to {:+.2})", 100.0 * low, 100.0 * high));
            format!("{:+.2} points of accuracy{interval}", 100.0 * change)
        });
        let next = match &pick.runner_up {
            Some(next) => format!("{}: {}", self.points[next.point].label, next.why_not),
            None => "nothing else".into(),
        };
        let rows = [
            ("configuration", point.label.clone()),
            ("time", cells::time(self.point())),
            (
                "validation",
                format!("{}, of {} images", cells::accuracy(self.point()), self.view.validated_on(point.candidate)),
            ),
            ("test", mean_and_deviation(test_accuracy(point), test_accuracy_sd(point))),
            ("parameters", point.parameters.to_string()),
            ("to the baseline", format!("{speedup}, {change}")),
            ("why", pick.why.clone()),
            ("next", next),
            ("confidence", cells::confidence(pick.confidence)),
        ];
        let rows = rows.into_iter().chain(pick.notes.iter().map(|note| ("note", note.clone())));
        const NAME: usize = 17;
        let room = terminal_columns().map_or(usize::MAX, |columns| columns.saturating_sub(NAME).max(20));
        let line = |(name, value): (&str, String)| {
            let value = wrapped(&value, room).join(&format!("\n{:NAME$}  ", ""));
            format!("{name:<NAME$}{value}\n")
        };
        let lines: String = rows.map(line).collect();
        // Without a baseline there is none.
        let ladder = ladder_table(self.view, self.points, pick.point);
        let ladder = ladder
            .map_or(String::new(), |table| format!("\nFrom the baseline to it, one change at a time:\n\n{table}\n"));
        format!("{lines}{ladder}\n{} is its config file; this trains it:\n  {}", self.file(), self.command())
    }

    fn json(&self) -> serde_json::Value {
        let (point, pick) = (self.point(), self.pick);
        let pair = |interval: Option<(f64, f64)>| interval.map(|(low, high)| [low, high]);
        json!({
            "study": self.study.folder.display().to_string(),
            "configuration": point.label,
            "epochs": point.epochs,
            "extent": match point.extent { Extent::Whole => "whole", Extent::Prefix => "prefix" },
            "parameters": point.parameters,
            "train_seconds": point.seconds(),
            "train_seconds_interval": pair(time_interval(point)),
            "time_basis": point.time.basis.as_str(),
            "times_measured": point.time.seconds.len(),
            "replicates": point.accuracy.len(),
            "validation_accuracy": point.mean_accuracy(),
            "validation_accuracy_sd": accuracy_sd(point),
            "validation_accuracy_interval": pair(accuracy_interval(point)),
            "test_accuracy": test_accuracy(point),
            "test_accuracy_sd": test_accuracy_sd(point),
            "baseline": self.baseline().map(|baseline| &baseline.label),
            "speedup": self.speedup(),
            "accuracy_change": self.accuracy_change(),
            "accuracy_change_interval": pair(self.accuracy_change_interval()),
            "why": pick.why,
            "considered": pick.considered,
            "met": pick.met,
            "runner_up": pick.runner_up.as_ref().map(|next| json!({
                "configuration": self.points[next.point].label,
                "epochs": self.points[next.point].epochs,
                "train_seconds": self.points[next.point].seconds(),
                "validation_accuracy": self.points[next.point].mean_accuracy(),
                "why_not": next.why_not,
            })),
            "confidence": pick.confidence.share(),
            "notes": pick.notes,
            "ladder": ladder_json(self.view, self.points, pick.point),
            "config_file": self.file(),
            "command": self.command(),
        })
    }
}
