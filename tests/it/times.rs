//! Times of steps: what is taken, what counts, what is taken again, and what trainings cost by them. No test asserts a time.

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use anyhow::Result;
use fastrcaps::{
    base::device::Place,
    engine::upkeep::{check, merge},
    learn::{
        config::TrialConfig,
        record::{EpochRow, Status, TrialRecord},
    },
    present::report::{
        departures::{Departure, departures},
        view::StudyView,
    },
    search::{study::Study, worker::LocalTasks},
    timing::{
        confirm::{self, Confirmation, OF_SWEEP, Trainings},
        rounds::{self, Clock, EndReason, Event, Job, Line, ROUNDS, Request},
        sets::{ENOUGH_ROUNDS, Fingerprint, Sample, Sentinel, TimeSet},
        shape::shapes,
    },
};
use proptest::prelude::*;

use crate::{
    cli::{folder_with, program, refuse, refused, succeed},
    facts::Facts,
    study::{declare, declare_space},
};

/// Two trials of three shapes.
const SPACE: &str = "
[base]
data = { name = 'glyphs', train_samples = 100, test_samples = 20, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = 2 }
[axes]
\"schedule.batch\" = [{ policy = 'fixed', size = 32 }, { policy = 'fixed', size = 40 }]
";

/// The end of a process that a test makes fail.
#[derive(Debug)]
struct ItFailed;

impl std::error::Error for ItFailed {}

impl std::fmt::Display for ItFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it failed")
    }
}

/// A clock that times nothing.
struct Pretended<'a> {
    /// Whether the nth sample (from 0) is disturbed.
    disturbed: &'a dyn Fn(usize) -> bool,
    /// Samples after which the process fails.
    fails_after: usize,
    busy: Option<String>,
    jobs: Vec<Job>,
    taken: usize,
}

impl Pretended<'_> {
    fn new(disturbed: &dyn Fn(usize) -> bool) -> Pretended<'_> {
        Pretended { disturbed, fails_after: usize::MAX, busy: None, jobs: Vec::new(), taken: 0 }
    }
}

/// What it says a step takes.
fn seconds(samples: usize, round: usize) -> f64 {
    samples as f64 + round as f64 / 100.0
}

fn sample(shape: &str, samples: usize, round: usize) -> Sample {
    Sample {
        shape: shape.into(),
        round,
        visit: 0,
        at: "2026-01-01T00:00:00Z".into(),
        steps: 3,
        seconds_per_step: seconds(samples, round),
        foreign_cores: Some(0.0),
        load: None,
        tainted: None,
    }
}

impl Clock for Pretended<'_> {
    fn busy(&mut self) -> Option<String> {
        self.busy.clone()
    }

    fn run(&mut self, job: &Job, told: &mut dyn FnMut(Option<Line>) -> Result<ControlFlow<()>>) -> Result<()> {
        self.jobs.push(job.clone());
        let at = "2026-01-01T00:00:00Z".to_string();
        let _ = told(Some(Line::Sentinel(Sentinel { round: job.round, visit: 0, at, seconds_per_step: 1.0 })))?;
        for task in &job.tasks {
            if self.taken == self.fails_after {
                return Err(ItFailed.into());
            }
            let tainted = (self.disturbed)(self.taken).then(|| "others".to_string());
            self.taken += 1;
            let sample = Sample { tainted, ..sample(&task.shape, task.samples, job.round) };
            if told(Some(Line::Sample(sample)))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn configs(study: &Study) -> Vec<TrialConfig> {
    study.plan().unwrap().expansion.candidates.into_iter().map(|candidate| candidate.config).collect()
}

fn fingerprint() -> Fingerprint {
    Fingerprint { processor: Some("one".into()), git_revision: Some("build".into()), ..Fingerprint::this(1) }
}

fn request<'a>(study: &'a Study, configs: &'a [&'a TrialConfig], stop: &'a AtomicBool) -> Request<'a> {
    Request {
        study,
        name: "default",
        fingerprint: fingerprint(),
        anew: false,
        configs,
        rounds: ROUNDS,
        sample_seconds: 0.1,
        patience: Duration::from_secs(600),
        deadline: None,
        stop,
    }
}

/// What the trainings of `declare` cost in each round, by the clock above: an epoch is 35 steps of 128 samples and one of the 20
/// that are left of 4500.
fn expected(epochs: usize) -> [f64; ROUNDS] {
    std::array::from_fn(|round| epochs as f64 * (4500.0 + 0.36 * round as f64))
}

#[test]
fn the_first_have_a_visit_of_their_own_where_the_time_before_the_deadline_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare_space(folder.path(), SPACE, "the data");
    let (all, stop) = (configs(&study), AtomicBool::new(false));
    let configs: Vec<&TrialConfig> = all.iter().collect();
    let lock = study.hold("timed").unwrap();
    // By what the sweep took, a step takes the longer the longer that took.
    let jobs = |name, swept: f64, first, left: Option<u64>| {
        let swept = configs.iter().map(|config| (*config, swept)).collect();
        let trainings = Trainings { configs: configs.clone(), first, swept };
        let confirmation = Confirmation {
            study: &study,
            name,
            anew: false,
            rounds: ROUNDS,
            threads: 1,
            place: Place::Cpu,
            gpu: None,
            sample_seconds: None,
            of_sweep: OF_SWEEP,
            patience: Duration::from_secs(600),
            deadline: left.map(|seconds| SystemTime::now() + Duration::from_secs(seconds)),
            stop: &stop,
            tasks: &LocalTasks { program: "nothing".into() },
            arguments: Vec::new(),
        };
        let (mut clock, mut visits) = (Pretended::new(&|_| false), 0);
        let confirmed = confirmation.take_by(&mut clock, &trainings, &lock, &mut |event| {
            visits += usize::from(matches!(event, confirm::Event::VisitBegun));
        });
        let confirmed = confirmed.unwrap();
        assert_eq!((confirmed.ending, confirmed.taken), (EndReason::Finished, shapes(&configs).len() * ROUNDS));
        (visits, clock.jobs)
    };
    let (of_first, of_all) = (shapes(&configs[..1]).len(), shapes(&configs).len());
    assert!(of_first < of_all);
    let (visits, short) = jobs("short", 1e6, 1, Some(600));
    let of_jobs: Vec<usize> = short.iter().map(|job| job.tasks.len()).collect();
    assert_eq!((visits, of_jobs), (2, [[of_first; ROUNDS], [of_all - of_first; ROUNDS]].concat()));
    // Enough time, no deadline, nobody who comes first, or everybody: all at once.
    for (name, swept, first, left) in [
        ("enough", 0.1, 1, Some(600)),
        ("no-deadline", 1e6, 1, None),
        ("none", 1e6, 0, Some(600)),
        ("all", 1e6, 2, Some(600)),
    ] {
        let (visits, jobs) = jobs(name, swept, first, left);
        assert_eq!((visits, jobs.len()), (1, ROUNDS), "{name}");
    }
    // What a sample takes lies within its bounds, whatever the sweep took.
    let length = |name, swept| jobs(name, swept, 0, None).1[0].sample_seconds;
    assert_eq!((length("longest", 1e6), length("shortest", 0.0)), (0.5, 0.02));
}

#[test]
fn what_was_disturbed_is_kept_does_not_count_and_is_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let (all, stop) = (configs(&study), AtomicBool::new(false));
    let configs: Vec<&TrialConfig> = all.iter().collect();
    // Also some of those that are taken again.
    let disturbed = |nth: usize| nth < 20 && nth.is_multiple_of(3);
    let mut clock = Pretended::new(&disturbed);
    let (mut rounds, mut last) = (Vec::new(), None);
    let confirmed = rounds::take(&request(&study, &configs, &stop), &mut clock, &mut |event| match *event {
        Event::Round { round, again, .. } => rounds.push((again, round)),
        Event::Sample { clean, samples, .. } => last = Some((clean, samples)),
        _ => {}
    })
    .unwrap();
    let shapes = shapes(&configs).len();
    assert_eq!((confirmed.ending, confirmed.tainted, confirmed.taken), (EndReason::Finished, 7, shapes * ROUNDS + 7));
    assert!(confirmed.lacking.is_empty());
    assert_eq!(last, Some((shapes * ROUNDS, shapes * ROUNDS)));
    assert_eq!(rounds[..ROUNDS], (0..ROUNDS).map(|round| (false, round)).collect::<Vec<_>>()[..]);
    assert!(rounds.len() > ROUNDS && rounds[ROUNDS..].iter().all(|(again, _)| *again));
    // Not in the same order in every round.
    let orders: Vec<Vec<&String>> =
        clock.jobs[..ROUNDS].iter().map(|job| job.tasks.iter().map(|task| &task.shape).collect()).collect();
    assert!(orders.iter().any(|order| *order != orders[0]), "{orders:?}");
    let set = TimeSet::read(&study, "default").unwrap().unwrap();
    assert_eq!(set, confirmed.set);
    assert_eq!(set.tainted(), 7);
    for config in &all {
        let (found, wanted) = (set.rounds(config, config.train.epochs).unwrap(), expected(config.train.epochs));
        assert_eq!(found.len(), ROUNDS);
        assert!(found.values().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-9 * b), "{found:?} {wanted:?}");
    }
    assert!(!set.drift().unwrap().is_much());
    assert!(check::check(&study).unwrap().problems.is_empty());
    // There is nothing left to do.
    let mut idle = Pretended::new(&|_| true);
    let again = rounds::take(&request(&study, &configs, &stop), &mut idle, &mut |_| {}).unwrap();
    assert_eq!((again.ending, again.taken), (EndReason::Finished, 0));
    // More rounds take only those.
    let more = Request { rounds: ROUNDS + 2, ..request(&study, &configs, &stop) };
    let more = rounds::take(&more, &mut Pretended::new(&|_| false), &mut |_| {}).unwrap();
    assert_eq!(more.taken, 2 * shapes);
}

#[test]
fn what_was_interrupted_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let (all, stop) = (configs(&study), AtomicBool::new(false));
    let configs: Vec<&TrialConfig> = all.iter().collect();
    let samples = shapes(&configs).len() * ROUNDS;
    let request = || request(&study, &configs, &stop);
    // A process that fails.
    let mut clock = Pretended { fails_after: 5, ..Pretended::new(&|_| false) };
    let error = rounds::take(&request(), &mut clock, &mut |_| {}).unwrap_err();
    assert!(error.is::<ItFailed>(), "{error:#}");
    assert_eq!(TimeSet::read(&study, "default").unwrap().unwrap().samples.len(), 5);
    // Somebody who asks for an end.
    let asked = rounds::take(&request(), &mut Pretended::new(&|_| false), &mut |event| {
        stop.store(matches!(event, Event::Sample { clean: 3, .. }), Relaxed);
    });
    let asked = asked.unwrap();
    assert_eq!((asked.ending, asked.taken), (EndReason::Asked, 3));
    assert!(!asked.lacking.is_empty());
    assert!(all.iter().all(|config| asked.set.rounds(config, config.train.epochs).is_none()));
    stop.store(false, Relaxed);
    // A time that is over.
    let late = Request { deadline: Some(SystemTime::now()), ..request() };
    let late = rounds::take(&late, &mut Pretended::new(&|_| false), &mut |_| {}).unwrap();
    assert_eq!((late.ending, late.taken), (EndReason::Deadline, 0));
    let rest = rounds::take(&request(), &mut Pretended::new(&|_| false), &mut |_| {}).unwrap();
    assert_eq!((rest.ending, rest.taken), (EndReason::Finished, samples - 8));
}

#[test]
fn patience_ends_and_says_what_lacks_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let (all, stop) = (configs(&study), AtomicBool::new(false));
    let configs: Vec<&TrialConfig> = all.iter().collect();
    let request = Request { patience: Duration::ZERO, ..request(&study, &configs, &stop) };
    let mut clock = Pretended { busy: Some("a compiler".into()), ..Pretended::new(&|_| true) };
    let confirmed = rounds::take(&request, &mut clock, &mut |_| {}).unwrap();
    let shapes = shapes(&configs).len();
    assert_eq!((confirmed.ending, confirmed.taken), (EndReason::Patience, shapes * ROUNDS));
    assert_eq!(confirmed.lacking.len(), shapes);
    assert!(confirmed.lacking.iter().all(|lacking| lacking.clean == 0 && lacking.why.as_deref() == Some("others")));
    let few = Request { rounds: ENOUGH_ROUNDS - 1, ..request };
    rounds::take(&few, &mut clock, &mut |_| {}).unwrap_err().to_string().names(["6"]);
}

#[test]
fn times_of_another_machine_or_build_are_not_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let (all, stop) = (configs(&study), AtomicBool::new(false));
    let configs: Vec<&TrialConfig> = all.iter().collect();
    let run = |request: Request| rounds::take(&request, &mut Pretended::new(&|_| false), &mut |_| {});
    let request = || request(&study, &configs, &stop);
    run(request()).unwrap();
    let before = fs::read(study.folder.join("times/default.json")).unwrap();
    let other = || Fingerprint { threads: 4, git_revision: Some("later".into()), ..fingerprint() };
    let said = run(Request { fingerprint: other(), ..request() }).unwrap_err().to_string();
    said.names(["threads", "1", "4", "git_revision", "\"build\"", "\"later\"", "--as OTHER", "--anew"]);
    said.is_silent_on(["processor"]);
    assert_eq!(fs::read(study.folder.join("times/default.json")).unwrap(), before);
    run(Request { fingerprint: other(), name: "other", ..request() }).unwrap();
    assert_eq!(TimeSet::names(&study).unwrap(), ["default", "other"]);
    let anew = run(Request { fingerprint: other(), anew: true, ..request() }).unwrap();
    assert_eq!(anew.set.samples.len(), anew.taken);
    for name in ["", "a/b", "../a", ".a", "a b", "ä", &"a".repeat(101)] {
        for anew in [true, false] {
            run(Request { name, anew, ..request() }).unwrap_err().to_string().names([format!("{name:?}")]);
        }
    }
}

#[test]
fn a_damaged_set_is_refused_and_found_by_a_check() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let (all, stop) = (configs(&study), AtomicBool::new(false));
    let configs: Vec<&TrialConfig> = all.iter().collect();
    let request = || request(&study, &configs, &stop);
    let taken = rounds::take(&request(), &mut Pretended::new(&|_| false), &mut |_| {}).unwrap().set;
    let path = study.folder.join("times/default.json");
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        fs::write(&path, &damaged).unwrap();
        match TimeSet::read(&study, "default") {
            // White space.
            Ok(read) => assert_eq!(read.as_ref(), Some(&taken), "byte {at}"),
            Err(error) => {
                format!("{error:#}").names(["default.json", "fastrcaps time"]);
                let found = check::check(&study).unwrap().problems;
                assert!(found.iter().any(|problem| problem.place == Path::new("times/default.json")), "{found:?}");
                let again = rounds::take(&request(), &mut Pretended::new(&|_| false), &mut |_| {});
                assert!(again.is_err(), "byte {at}");
            }
        }
    }
    let anew = Request { anew: true, ..request() };
    rounds::take(&anew, &mut Pretended::new(&|_| false), &mut |_| {}).unwrap();
    assert!(check::check(&study).unwrap().problems.is_empty());
    // A copy under another name, and a set of another study.
    fs::copy(&path, study.folder.join("times/copy.json")).unwrap();
    let mut foreign = TimeSet { name: "foreign".into(), ..taken };
    let (_, mut shape) = foreign.shapes.pop_first().unwrap();
    shape.samples += 1;
    foreign.shapes.insert(shape.id(), shape);
    foreign.samples.clear();
    foreign.write(&study).unwrap();
    let found = check::check(&study).unwrap().problems;
    let places: Vec<&Path> = found.iter().map(|problem| problem.place.as_path()).collect();
    assert_eq!(places, [Path::new("times/copy.json"), Path::new("times/foreign.json")], "{found:?}");
}

#[test]
fn a_merge_brings_times_over_and_overwrites_none() {
    let folder = tempfile::tempdir().unwrap();
    let [into, from] = ["into", "from"].map(|name| declare(&folder.path().join(name)));
    let (all, stop) = (configs(&into), AtomicBool::new(false));
    let configs: Vec<&TrialConfig> = all.iter().collect();
    let take = |study: &Study| {
        let request = request(study, &configs, &stop);
        rounds::take(&request, &mut Pretended::new(&|_| false), &mut |_| {}).unwrap().set
    };
    let merged = |name: &[&str]| {
        let lock = into.hold("merged into").unwrap();
        assert_eq!(merge::merge(&into, std::slice::from_ref(&from), &lock).unwrap().times, name);
    };
    let theirs = take(&from);
    merged(&["default"]);
    assert_eq!(TimeSet::read(&into, "default").unwrap(), Some(theirs.clone()));
    // The same again is nothing new.
    merged(&[]);
    let more = TimeSet { host: "a.host".into(), sentinels: Vec::new(), ..theirs.clone() };
    more.write(&from).unwrap();
    merged(&["default-a-host"]);
    assert_eq!(TimeSet::read(&into, "default").unwrap(), Some(theirs));
    merged(&[]);
}

/// What the program takes, as if nobody had disturbed it: tests run beside each other.
fn undisturbed(study: &Study) -> TimeSet {
    let mut set = TimeSet::read(study, "default").unwrap().unwrap();
    set.samples.iter_mut().for_each(|sample| sample.tainted = None);
    set
}

#[test]
fn the_program_takes_times_of_every_trial() {
    let folder = folder_with(SPACE);
    let at = |name: &str| Study::new(folder.path().join(name));
    succeed(folder.path(), &["explore", "space.toml", "--quiet", "--no-confirm"]);
    let study = at("results/space");
    assert!(!study.folder.join("times").exists());
    let listed = succeed(folder.path(), &["time", "results/space", "--list"]);
    listed.is_silent_on(["default", "THREADS"]);
    let arguments = ["time", "results/space", "--patience", "0s", "--sample", "10ms", "--json"];
    let output = program().current_dir(folder.path()).args(arguments).output().unwrap();
    // It fails where others disturbed it.
    let events: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((of("timing"), of("timed"), of("time")), (1, 1, 2), "{output:?}");
    let mut view = StudyView::read(&study).unwrap();
    let set = undisturbed(&study);
    assert_eq!(set.fingerprint.threads, 1);
    for id in set.shapes.keys() {
        assert_eq!(set.missing(id, ROUNDS).len(), 0);
    }
    assert!(set.samples.iter().all(|sample| sample.steps >= 3 && sample.seconds_per_step > 0.0));
    assert_eq!(view.count(Status::Done), 2);
    for candidate in &view.expansion.candidates {
        let rounds = set.rounds(&candidate.config, candidate.config.train.epochs).unwrap();
        assert!(rounds.len() == ROUNDS && rounds.values().all(|seconds| *seconds > 0.0));
    }
    view.times = Some(set);
    assert!(view.points().iter().all(|point| point.time.basis == fastrcaps::analysis::Basis::Confirmed));
    let listed = succeed(folder.path(), &["time", "results/space", "--list"]);
    listed.names(["default", "THREADS"]);
    for (arguments, code, facts) in [
        (&["time", "nowhere"][..], 1, &["nowhere", "study.toml"][..]),
        (&["time", "results/space", "--rounds", "5"], 2, &["--rounds", "5", "6.."]),
        (&["time", "results/space", "--as", "a/b"], 1, &["\"a/b\""]),
        (&["time", "results/space", "--threads", "2"], 1, &["threads", "1", "2", "--anew"]),
    ] {
        let (ended, said) = refused(folder.path(), arguments);
        said.names(facts);
        assert_eq!(ended, code, "{said}");
    }
    let lock = study.open().unwrap();
    let said = refuse(folder.path(), &["time", "results/space"]);
    said.names([format!("process {} on {}", std::process::id(), fastrcaps::base::machine::host())]);
    drop(lock);
    succeed(folder.path(), &["study", "export", "results/space", "--out", "space.tar.gz"]);
    let packed = flate2::read::GzDecoder::new(fs::File::open(folder.path().join("space.tar.gz")).unwrap());
    let mut packed = tar::Archive::new(packed);
    let names = packed.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned());
    assert!(names.into_iter().any(|path| path.ends_with("times/default.json")));
}

#[test]
fn a_sweep_confirms_its_times_at_its_end() {
    let folder = folder_with(SPACE);
    let confirm = ["explore", "space.toml", "--confirm-rounds", "6", "--confirm-patience", "0s", "--json"];
    let out = succeed(folder.path(), &confirm);
    let events: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.last().unwrap()["event"], "finished");
    assert_eq!(events.iter().filter(|event| event["event"] == "timed").count(), 1, "{out}");
    let study = Study::new(folder.path().join("results/space"));
    let set = undisturbed(&study);
    let view = StudyView::read(&study).unwrap();
    let configs: BTreeMap<String, &TrialConfig> =
        view.expansion.candidates.iter().map(|of| (of.label.clone(), &of.config)).collect();
    assert!(configs.values().all(|config| set.rounds(config, 2).is_some_and(|rounds| rounds.len() == 6)));
}

#[test]
fn a_machine_that_changed_between_two_visits_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let study = declare(folder.path());
    let (all, stop) = (configs(&study), AtomicBool::new(false));
    let configs: Vec<&TrialConfig> = all.iter().collect();
    let taken = rounds::take(&request(&study, &configs, &stop), &mut Pretended::new(&|_| false), &mut |_| {});
    let taken = taken.unwrap();
    assert_eq!((taken.moved, taken.set.next_visit()), (None, 2));
    assert!(taken.set.samples.iter().all(|sample| sample.visit == 1));
    // As it was then, by what the set says.
    let mut set = taken.set;
    set.sentinels.iter_mut().for_each(|sentinel| sentinel.seconds_per_step = 0.8);
    set.write(&study).unwrap();
    // More of the same, as other shapes would be.
    let request = Request { rounds: ROUNDS + 2, ..request(&study, &configs, &stop) };
    let later = rounds::take(&request, &mut Pretended::new(&|_| false), &mut |_| {}).unwrap();
    assert!((later.moved.unwrap() - 0.25).abs() < 1e-12, "{:?}", later.moved);
    assert!(later.set.drift().unwrap().is_much());
    // Nothing is added: nothing is said again.
    let again = rounds::take(&request, &mut Pretended::new(&|_| false), &mut |_| {}).unwrap();
    assert_eq!((again.taken, again.moved), (0, None));
}

#[test]
fn a_training_that_took_much_longer_than_its_confirmed_time_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let space = SPACE.replace("size = 40 }]", "size = 40 }, { policy = 'fixed', size = 50 }]");
    let study = declare_space(folder.path(), &space, "the data");
    let mut view = StudyView::read(&study).unwrap();
    let (all, stop) = (configs(&study), AtomicBool::new(false));
    let configs: Vec<&TrialConfig> = all.iter().collect();
    let set = rounds::take(&request(&study, &configs, &stop), &mut Pretended::new(&|_| false), &mut |_| {});
    view.times = Some(set.unwrap().set);
    // Each configuration's trainings took so many times its confirmed time, beside so many others.
    let mut told = |ratios: [f64; 3], co_runners: usize| -> Vec<(String, f64)> {
        for (candidate, ratio) in ratios.into_iter().enumerate() {
            let TrialConfig { train, .. } = &view.trials[candidate].config;
            let seconds = ratio * view.confirmed_seconds(candidate, train.epochs).unwrap();
            let rows = (1..=train.epochs).map(|epoch| EpochRow {
                train_seconds_screen: seconds * epoch as f64 / train.epochs as f64,
                ..crate::study::row(epoch, candidate)
            });
            view.epochs[candidate] = rows.collect();
            view.records[candidate] = Some(TrialRecord {
                status: Status::Done,
                threads: Some(1),
                processor: Some("one".into()),
                git_revision: Some("build".into()),
                co_runners: Some(co_runners),
                ..TrialRecord::pending(view.keys[candidate].clone(), 0, &view.trials[candidate].config)
            });
        }
        let label = |at: usize| view.expansion.candidates[at].label.clone();
        let labels: Vec<String> = (0..3).map(label).collect();
        let of = |departure: Departure| {
            let at = labels.iter().position(|label| *label == departure.configuration).unwrap();
            (at.to_string(), (departure.factor * 100.0).round() / 100.0)
        };
        departures(&view).into_iter().map(of).collect()
    };
    assert_eq!(told([1.1, 0.9, 1.3], 0), []);
    assert_eq!(told([1.1, 3.1, 0.5], 0), [("1".into(), 3.1), ("2".into(), 0.5)]);
    // Beside others all take longer: what counts is which takes longer than the others do.
    assert_eq!(told([2.0, 2.2, 1.8], 3), []);
    assert_eq!(told([1.25, 3.1, 1.2], 3), [("1".into(), 2.48)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_training_costs_what_its_steps_do(
        size in 1_usize..70,
        phases in proptest::collection::vec((1_usize..4, 1_usize..70), 0..3),
        samples in 100_usize..200,
        epochs in 1_usize..6,
        stop in 1_usize..6,
        holes in proptest::collection::vec((0_usize..6, 0_usize..9), 0..4),
    ) {
        let mut text = format!("data = {{ train_samples = {samples}, validation_fraction = 0.2 }}\nmodel = {{ preset = 'tiny' }}\n\
                                train = {{ epochs = {epochs} }}\n[schedule.batch]\n");
        if phases.is_empty() {
            text += &format!("policy = 'fixed'\nsize = {size}\n");
        } else {
            let phases: String = phases.iter().map(|(epochs, size)| format!("{{ epochs = {epochs}, size = {size} }}, ")).collect();
            text += &format!("policy = 'adabatch'\nphases = [{phases}{{ size = {size} }}]\n");
        }
        let config = TrialConfig::resolve(text.parse().unwrap()).unwrap();
        let stop = stop.min(epochs);
        // Step by step, as the training loop takes them.
        let train = config.data.counts().train;
        let steps: Vec<usize> = (0..stop)
            .flat_map(|epoch| config.schedule.epoch_steps(epoch, epochs, train).map(|step| step.samples.len()).collect::<Vec<_>>())
            .collect();
        let shapes = shapes(&[&config]);
        let mut set = TimeSet::new("default", "host".into(), fingerprint());
        let ids: BTreeMap<usize, &String> = shapes.iter().map(|(id, (shape, _))| (shape.samples, id)).collect();
        let order: Vec<usize> = ids.keys().copied().collect();
        let is_hole = |size: usize, round: usize| {
            holes.iter().any(|(at, of)| order[at % order.len()] == size && *of == round)
        };
        for round in 0..9 {
            for (size, id) in &ids {
                let tainted = is_hole(*size, round).then(|| "others".to_string());
                set.samples.push(Sample { tainted, ..sample(id, *size, round) });
            }
        }
        let whole = (0..9).filter(|round| steps.iter().all(|size| !is_hole(*size, *round)));
        let wanted: BTreeMap<usize, f64> =
            whole.map(|round| (round, steps.iter().map(|size| seconds(*size, round)).sum())).collect();
        match set.rounds(&config, stop) {
            None => prop_assert!(wanted.len() < ENOUGH_ROUNDS),
            Some(found) => {
                prop_assert!(found.keys().eq(wanted.keys()), "{:?} {:?}", found, wanted);
                let pairs = || found.values().zip(wanted.values());
                prop_assert!(pairs().all(|(a, b)| (a - b).abs() <= 1e-9 * b), "{:?} {:?}", found, wanted);
            }
        }
    }
}
