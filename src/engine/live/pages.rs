//! The pages that are served: written when they are asked for, and kept until their study changes.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    request::{NOT_FOUND, Refusal, encoded},
    watch::{Signature, signature, studies_at},
};
use crate::{
    base::{
        machine,
        words::{accuracy, duration, plural},
    },
    engine::{
        sweep_log,
        upkeep::status::{Standing, look, standing},
    },
    present::{
        page::{self, Content, Document, Report, index::Line, now::Now},
        report::{
            comparison::{Comparison, Side},
            view::StudyView,
        },
    },
    search::study::Study,
};

/// What is answered where nothing is refused.
pub struct Answer {
    pub kind: &'static str,
    pub policy: String,
    pub body: Arc<String>,
}

/// The most that writing pages of a study may take of the machine's processor time: a large study's page is renewed less often.
const SHARE: f64 = 0.01;

/// A study as it was last seen.
#[derive(Default)]
struct Seen {
    signature: Signature,
    /// Keys of the trials that were running, whose epochs count as changes.
    running: Vec<String>,
    page: Option<Arc<String>>,
    line: Option<Line>,
    /// Until then, changes wait.
    rests_until: Option<Instant>,
}

/// All pages of a place.
pub struct Pages {
    place: PathBuf,
    seen: Mutex<HashMap<String, Seen>>,
}

impl Pages {
    pub fn new(place: PathBuf) -> Pages {
        Pages { place, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn studies(&self) -> BTreeMap<String, Study> {
        studies_at(&self.place)
    }

    fn find(&self, name: &str) -> Result<Study, Refusal> {
        self.studies().remove(name).ok_or(NOT_FOUND)
    }

    /// Whether there is a study of this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// The studies that have changed since this was asked last.
    pub fn changed(&self) -> Vec<String> {
        let studies = self.studies();
        let mut seen = self.seen();
        seen.retain(|name, _| studies.contains_key(name));
        let has_changed = |(name, study): (String, Study)| {
            let of = seen.entry(name.clone()).or_default();
            if of.rests_until.is_some_and(|until| Instant::now() < until) {
                return None;
            }
            let now = signature(&study, &of.running);
            let is_new = of.signature.is_empty();
            let has_changed = of.signature != now;
            if has_changed {
                (of.signature, of.page, of.line) = (now, None, None);
            }
            (has_changed && !is_new).then_some(name)
        };
        studies.into_iter().filter_map(has_changed).collect()
    }

    pub fn study(&self, name: &str) -> Result<Answer, Refusal> {
        let study = self.find(name)?;
        let content = Content::Live { events: format!("/events/{}", encoded(name)), home: "/".into() };
        let kept = self.seen().get(name).and_then(|of| of.page.clone());
        if let Some(page) = kept {
            return Ok(answer(page, &content));
        }
        let begun = machine::thread_seconds();
        // A change that comes while it is read is seen by the watcher, which compares with what was before; and so is it that
        // other trials run now.
        let known = self.seen().get(name).map(|of| of.running.clone()).unwrap_or_default();
        let before = signature(&study, &known);
        let found = look(&study);
        let running = found.iter().flat_map(|(of, _)| &of.running).map(|of| of.key.clone()).collect();
        let document = written(&study, found);
        let page = Arc::new(document.write(&content));
        let mut seen = self.seen();
        let of = seen.entry(name.into()).or_default();
        (of.signature, of.running, of.page) = (before, running, Some(page.clone()));
        of.rests_until = Some(Instant::now() + rest(machine::thread_seconds() - begun));
        drop(seen);
        Ok(answer(page, &content))
    }

    pub fn compare(&self, first: &str, second: &str) -> Result<Answer, Refusal> {
        let (first, second) = (self.find(first)?, self.find(second)?);
        let content = Content::Live { events: "/events".into(), home: "/".into() };
        let read = || -> Result<Document> {
            Ok(page::compare::html(&Comparison::of([Side::read(&first, None)?, Side::read(&second, None)?])))
        };
        let document = read().unwrap_or_else(|error| page::now::unreadable(&format!("{error:#}")));
        Ok(answer(Arc::new(document.write(&content)), &content))
    }

    /// All studies; where there is one, its page.
    pub fn index(&self) -> Result<Answer, Refusal> {
        let studies = self.studies();
        if let (Some(only), 1) = (studies.keys().next(), studies.len()) {
            return self.study(only);
        }
        let content = Content::Live { events: "/events".into(), home: "/".into() };
        let lines: Vec<Line> = studies.iter().map(|(name, study)| self.line(name, study)).collect();
        Ok(answer(Arc::new(page::index::html(&lines).write(&content)), &content))
    }

    fn line(&self, name: &str, study: &Study) -> Line {
        let kept = self.seen().get(name).and_then(|of| of.line.clone());
        kept.unwrap_or_else(|| {
            let line = match standing(study) {
                Ok(of) => line_of(name, &of),
                Err(error) => {
                    Line { name: name.into(), path: encoded(name), progress: format!("{error:#}"), ..Line::default() }
                }
            };
            self.seen().entry(name.into()).or_default().line = Some(line.clone());
            line
        })
    }
}

fn line_of(name: &str, of: &Standing) -> Line {
    let best = of.best.as_ref();
    Line {
        name: name.into(),
        path: encoded(name),
        progress: progress(of),
        is_explored: of.explorer.is_some(),
        best: best.map_or(String::new(), |best| best.configuration.clone()),
        accuracy: best.map_or(String::new(), |best| accuracy(best.validation_accuracy)),
        time: best.map_or(String::new(), |best| {
            let basis = best.time_basis.map_or(String::new(), |basis| format!(", {basis}"));
            format!("{}{basis}", best.train_seconds.map_or("unknown".into(), duration))
        }),
    }
}

fn progress(of: &Standing) -> String {
    let counts =
        [(of.diverged, "diverged"), (of.failed, "failed"), (of.stopped, "given up"), (of.running.len(), "running")];
    let others = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!(", {count} {word}"));
    format!("{} of {} done{}", of.done, plural(of.trials, "trial"), others.collect::<String>())
}

/// The page of a study as it is now; where it cannot be read, why.
fn written(study: &Study, found: Result<(Standing, StudyView)>) -> Document {
    let report = || -> Result<Document> {
        let (standing, view) = found?;
        page::html_with(&Report::of(study, view)?, Some(&now(study, &standing)))
    };
    report().unwrap_or_else(|error| page::now::unreadable(&format!("{error:#}")))
}

fn now(study: &Study, of: &Standing) -> Now {
    let who = match (&of.explorer, &of.held, &of.unknown) {
        (Some(line), ..) => format!("explored {line}"),
        (_, Some(held), _) => held.clone(),
        (.., Some(why)) => format!("whether it is explored cannot be known: {why}"),
        _ => "nobody explores it now".into(),
    };
    let running = of.running.iter().map(|trial| {
        [
            format!("{}, replicate {}", trial.configuration, trial.replicate),
            format!("{}/{}", trial.epoch, trial.epochs),
            trial.validation_accuracy.map_or(String::new(), |of| accuracy(Some(of))),
            trial.running_seconds.map_or(String::new(), duration),
        ]
    });
    Now {
        who,
        progress: progress(of),
        paused: of.explorer.as_ref().and_then(|_| sweep_log::pause(study)),
        left: of.eta_seconds.map(duration),
        running: running.collect(),
    }
}

fn answer(body: Arc<String>, content: &Content) -> Answer {
    Answer { kind: "text/html; charset=utf-8", policy: page::policy(content), body }
}

/// How long a page that took so many seconds of processor time is left as it is.
fn rest(seconds: f64) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Duration::from_secs_f64(seconds / (SHARE * cores as f64))
}
