//! The dispatcher, with a worker that does what the test says instead of training.

use std::{
    collections::{BTreeSet, HashMap},
    rc::Rc,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use fastrcaps::{
    base::{
        device::{Gpu, Place},
        source::Document,
    },
    learn::{
        config::TrialConfig,
        folder::TrialFolder,
        record::{EpochRow, Fault, Status, TrialRecord},
    },
    search::{
        beginnings::Beginnings,
        dispatch::{Dispatcher, Ending, Event, Limits, MaxFailures, Past},
        journal::Journal,
        space::{Space, Trial},
        strategy::{Deadline, Grid, Order, Predicted, Searcher},
        study::Study,
        worker::{Admission, Admissions, End, GpuMemory, Memory, Report, Slot, Slots, Work, Worker},
    },
};

use crate::facts::Facts;

/// What a pretended trial does.
#[derive(Clone, Copy)]
enum Act {
    Finish,
    Diverge,
    Panic,
    Kill,
    ExitSilently,
    WriteGarbage,
    WriteAnothersRecord,
    FailWithReason,
    CannotStart,
    CannotAllocate,
    /// As where the GPU has no memory left.
    NoGpuMemory,
    NoRoom,
    /// As where a system runs out of processes.
    NoProcess,
    /// Says that it was done, but not all of its epochs.
    LoseAnEpoch,
    /// Runs until it is asked to stop.
    Train,
    /// Runs until it is killed.
    Hang,
}

/// A worker that pretends, also that time passes.
struct Pretender {
    began: (Instant, SystemTime),
    passed: Duration,
    slots: Vec<Slot>,
    admissions: Admissions,
    /// By epochs; the first attempt of a trial does the first, and so on; the last one stays.
    acts: HashMap<usize, Vec<Act>>,
    started: Vec<usize>,
    most_at_once: usize,
    running: Vec<Option<Pretended>>,
    /// Looks that each trial waits in a queue before it begins, where there is one.
    queue: Option<usize>,
}

struct Pretended {
    act: Act,
    end: End,
    looks_left: usize,
    looks_in_queue: usize,
}

impl Pretender {
    fn new(slots: Vec<Slot>, admissions: Admissions, acts: HashMap<usize, Vec<Act>>) -> Pretender {
        let running = slots.iter().map(|_| None).collect();
        let began = (Instant::now(), SystemTime::now());
        let (passed, started) = (Duration::ZERO, Vec::new());
        Pretender { began, passed, slots, admissions, acts, started, most_at_once: 0, running, queue: None }
    }

    /// Does what `act` leaves in the folder of a trial that pauses after `epochs`; how it ends.
    fn act(act: Act, folder: &TrialFolder, epochs: usize) -> anyhow::Result<End> {
        let record = folder.read_record()?;
        let write = |record: TrialRecord| {
            folder.write_record(&record).map(|()| End::Exited("exit code 0 and no result".into()))
        };
        let failed = |fault, error: &str| TrialRecord {
            status: Status::Failed,
            fault: Some(fault),
            error: Some(error.into()),
            ..record.clone()
        };
        match act {
            Act::CannotStart => anyhow::bail!("no-such-program"),
            Act::NoRoom => Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into()),
            Act::NoProcess => Err(std::io::Error::from(std::io::ErrorKind::WouldBlock).into()),
            Act::LoseAnEpoch => {
                folder.append_epoch(&row(1))?;
                write(TrialRecord { status: Status::Done, epochs, ..record })
            }
            Act::CannotAllocate => Ok(End::Broken(Fault::Memory, "memory allocation of 377487360 bytes failed".into())),
            Act::NoGpuMemory => write(failed(Fault::Memory, "CUDA_ERROR_OUT_OF_MEMORY")),
            Act::Train | Act::Hang => Ok(End::Exited("pretended".into())),
            Act::Finish => {
                for epoch in 1..=epochs {
                    folder.append_epoch(&row(epoch))?;
                }
                write(TrialRecord { status: Status::Done, epochs, validation_accuracy: Some(0.5), ..record })
            }
            Act::Diverge => {
                write(TrialRecord { status: Status::Diverged, fault: Some(Fault::Configuration), ..record })
            }
            Act::Panic => Ok(End::Broken(Fault::Configuration, "panicked: index out of bounds".into())),
            Act::Kill => Ok(End::Broken(Fault::Machine, "killed by signal 9".into())),
            Act::ExitSilently => Ok(End::Exited("exit code 0 and no result".into())),
            Act::WriteGarbage => {
                std::fs::write(folder.path.join("trial.json"), "{\"key\": 3")?;
                Ok(End::Exited("exit code 0".into()))
            }
            Act::WriteAnothersRecord => {
                write(TrialRecord { key: "key-of-another".into(), status: Status::Done, ..record })
            }
            Act::FailWithReason => write(failed(Fault::Configuration, "no data")),
        }
    }
}

impl Worker for Pretender {
    fn slots(&self) -> &[Slot] {
        &self.slots
    }

    fn admits(&mut self, config: &TrialConfig, slot: usize) -> Admission {
        self.admissions.ask(config, self.slots[slot].place)
    }

    fn start(&mut self, work: &Work, slot: usize) -> anyhow::Result<()> {
        let number = self.started.len();
        let epochs = work.config.train.epochs;
        self.started.push(epochs);
        let acts = self.acts.entry(epochs).or_insert_with(|| vec![Act::Finish]);
        let act = if acts.len() > 1 { acts.remove(0) } else { acts[0] };
        let end = Pretender::act(act, work.folder, epochs)?;
        self.admissions.started(slot, work.config, self.slots[slot].place);
        let looks_left = if matches!(act, Act::Train | Act::Hang) { usize::MAX } else { number % 3 };
        self.running[slot] = Some(Pretended { act, end, looks_left, looks_in_queue: self.queue.unwrap_or(0) });
        self.most_at_once = self.most_at_once.max(self.running.iter().flatten().count());
        Ok(())
    }

    fn reports(&mut self) -> Vec<(usize, Report)> {
        let mut reports = Vec::new();
        for slot in 0..self.slots.len() {
            match self.running[slot].as_mut() {
                Some(running) if running.looks_in_queue > 0 => {
                    running.looks_in_queue -= 1;
                    reports.extend((running.looks_in_queue == 0).then_some((slot, Report::Began)));
                }
                Some(running) if running.looks_left > 0 => running.looks_left -= 1,
                Some(running) => {
                    reports.push((slot, Report::Ended(running.end.clone())));
                    self.running[slot] = None;
                    self.admissions.ended(slot, None);
                }
                None => {}
            }
        }
        reports
    }

    fn ask_to_stop(&mut self, slot: usize) {
        if let Some(running) = self.running[slot].as_mut().filter(|running| matches!(running.act, Act::Train)) {
            (running.end, running.looks_left) = (End::Stopped, 0);
        }
    }

    fn kill(&mut self, slot: usize) {
        if let Some(running) = self.running[slot].as_mut() {
            (running.end, running.looks_left) = (End::Killed, 0);
        }
    }

    fn wait(&mut self) {
        self.passed += Duration::from_millis(10);
    }

    fn now(&self) -> Instant {
        self.began.0 + self.passed
    }

    fn date(&self) -> SystemTime {
        self.began.1 + self.passed
    }

    fn is_elsewhere(&self) -> bool {
        self.queue.is_some()
    }

    fn adopt(&mut self, _: &TrialFolder) -> anyhow::Result<Option<usize>> {
        Ok(None)
    }
}

fn row(epoch: usize) -> EpochRow {
    EpochRow {
        epoch,
        learning_rate: 1e-3,
        batch_size: 1,
        train_loss: 0.5,
        train_accuracy: 0.5,
        validation_loss: 0.5,
        validation_accuracy: 0.5,
        train_seconds_screen: 1.0,
        samples: 1,
        steps: 1,
    }
}

const SPACE: &str = "[axes]\n\"train.epochs\" = [1, 2, 3, 4, 5]";

/// Five trials, told apart by their epochs: 1 to 5.
fn trials() -> Vec<Trial> {
    let space = Space::from_document(Document::parse("space", SPACE.into()).unwrap(), "space", &[]).unwrap();
    space.expand().unwrap().trials(1)
}

/// A sweep to be tried.
struct Case<'a> {
    acts: &'a [(usize, &'a [Act])],
    slots: &'a str,
    limit: Option<usize>,
    past: Vec<Past>,
    limits: Limits,
    admissions: Admissions,
    queue: Option<usize>,
    /// Grid order where absent.
    searcher: Option<&'a dyn Searcher>,
    /// Called with every event; may ask the sweep to stop.
    watch: &'a mut dyn FnMut(&Event, &AtomicBool),
}

/// Limits with which little time passes.
fn hasty() -> Limits {
    Limits { backoff: Duration::ZERO, grace: Duration::from_millis(200), ..Limits::default() }
}

struct Outcome {
    history: Vec<Status>,
    ending: Ending,
    records: Vec<TrialRecord>,
    started: Vec<usize>,
    most_at_once: usize,
    ended_events: usize,
    retried: usize,
}

fn run(case: Case) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let study = Study::new(folder.path());
    let trials = trials();
    let keys: Vec<String> = trials.iter().map(|trial| trial.config.key("")).collect();
    let mut journal = Journal::open(&study.journal()).unwrap();
    let slots = case.slots.parse::<Slots>().unwrap().place(&[]);
    let acts = case.acts.iter().map(|(epochs, acts)| (*epochs, acts.to_vec())).collect();
    let mut worker = Pretender { queue: case.queue, ..Pretender::new(slots, case.admissions, acts) };
    let (mut ended_events, mut retried) = (0, 0);
    let stop = AtomicBool::new(false);
    let grid = Grid::new(trials.len(), Order::Grid).limited(case.limit);
    let swept = Dispatcher {
        study: &study,
        trials: &trials,
        keys: &keys,
        beginnings: &Beginnings::default(),
        journal: &mut journal,
        worker: &mut worker,
        limits: case.limits,
        stop: &stop,
    }
    .run(case.searcher.unwrap_or(&grid), case.past, &mut |event| {
        (case.watch)(event, &stop);
        match event {
            Event::Ended { record, .. } => {
                ended_events += 1;
                let journal = Journal::read(&study.journal())?;
                assert!(journal.records()?.contains(record), "an end is told before it is in the journal");
            }
            Event::Retried { .. } => retried += 1,
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    let records = journal.records().unwrap();
    let (history, ending) = (swept.progress.iter().map(|of| of.status).collect(), swept.ending);
    Outcome {
        history,
        ending,
        records,
        started: worker.started,
        most_at_once: worker.most_at_once,
        ended_events,
        retried,
    }
}

fn case<'a>(acts: &'a [(usize, &'a [Act])], slots: &'a str, watch: &'a mut dyn FnMut(&Event, &AtomicBool)) -> Case<'a> {
    let admissions = Admissions::default();
    let past = vec![Past::NONE; 5];
    Case { acts, slots, limit: None, past, limits: hasty(), admissions, queue: None, searcher: None, watch }
}

fn sweep(acts: &[(usize, &[Act])], slots: &str, limit: Option<usize>, history: Option<Vec<Status>>) -> Outcome {
    let past = history.unwrap_or(vec![Status::Pending; 5]);
    let past = past.into_iter().map(|status| Past { status, ..Past::NONE }).collect();
    run(Case { limit, past, ..case(acts, slots, &mut |_, _| {}) })
}

#[test]
fn every_trial_is_trained_once_in_order() {
    let outcome = sweep(&[], "1x1", None, None);
    assert_eq!(outcome.started, [1, 2, 3, 4, 5]);
    assert_eq!(outcome.history, [Status::Done; 5]);
    assert_eq!((outcome.records.len(), outcome.ended_events, outcome.most_at_once), (5, 5, 1));
    assert_eq!(outcome.records.iter().map(|record| record.epochs).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn no_more_trials_run_at_once_than_there_are_slots() {
    assert_eq!(sweep(&[], "3x1", None, None).most_at_once, 3);
    assert_eq!(sweep(&[], "9x1", None, None).most_at_once, 5);
}

#[test]
fn a_limit_trains_the_first_trials_only() {
    let outcome = sweep(&[], "2x1", Some(2), None);
    assert_eq!(outcome.started, [1, 2]);
    assert_eq!(outcome.history[2..], [Status::Pending; 3]);
}

#[test]
fn trials_that_ended_before_are_not_trained_again() {
    let history = vec![Status::Done, Status::Pending, Status::Failed, Status::Diverged, Status::Pending];
    assert_eq!(sweep(&[], "1x1", None, Some(history)).started, [2, 5]);
}

#[test]
fn whatever_becomes_of_a_trial_is_a_row_with_its_reason_and_the_rest_goes_on() {
    // What the worker said of it, or what of its folder is wrong.
    let rows: [(Act, Status, Fault, usize, &[&str]); 9] = [
        (Act::Panic, Status::Failed, Fault::Configuration, 1, &["panicked", "index"]),
        (Act::Kill, Status::Failed, Fault::Machine, 3, &["signal 9"]),
        (Act::ExitSilently, Status::Failed, Fault::Machine, 3, &["exit code 0"]),
        (Act::WriteGarbage, Status::Failed, Fault::Machine, 3, &["exit code 0", "trial.json"]),
        (Act::WriteAnothersRecord, Status::Failed, Fault::Machine, 3, &["key-of-another"]),
        (Act::FailWithReason, Status::Failed, Fault::Configuration, 1, &["no data"]),
        (Act::CannotStart, Status::Failed, Fault::Machine, 3, &["no-such-program"]),
        (Act::CannotAllocate, Status::Failed, Fault::Memory, 2, &["377487360 bytes"]),
        (Act::Diverge, Status::Diverged, Fault::Configuration, 1, &[]),
    ];
    for (act, status, fault, attempts, reason) in rows {
        let outcome = sweep(&[(2, &[act])], "2x1", None, None);
        let mut expected = [Status::Done; 5];
        expected[1] = status;
        assert_eq!(outcome.history, expected, "{reason:?}");
        let record = outcome.records.iter().find(|record| record.status == status).unwrap();
        let error = record.error.clone().unwrap_or_default();
        error.names(reason);
        assert_eq!((record.fault, record.attempts), (Some(fault), attempts), "{error}");
        assert_eq!((outcome.retried, outcome.ended_events), (attempts - 1, 5), "{error}");
    }
}

#[test]
fn what_failed_by_the_machines_fault_is_tried_again_and_may_succeed() {
    for act in [Act::Kill, Act::WriteGarbage, Act::CannotStart, Act::CannotAllocate] {
        let outcome = sweep(&[(2, &[act, Act::Finish])], "2x1", None, None);
        assert_eq!(outcome.history, [Status::Done; 5]);
        let record = outcome.records.iter().find(|record| record.epochs == 2).unwrap();
        assert_eq!((record.attempts, &record.error, record.fault), (2, &None, None));
    }
}

#[test]
fn what_ran_out_of_memory_is_tried_again_with_nothing_beside_it() {
    let mut running = 0;
    let mut beside = Vec::new();
    let mut watch = |event: &Event, _: &AtomicBool| match event {
        Event::Started { trial, .. } => {
            running += 1;
            beside.push((*trial, running));
        }
        Event::Ended { .. } | Event::Retried { .. } => running -= 1,
        _ => {}
    };
    let outcome = run(case(&[(1, &[Act::CannotAllocate, Act::Finish])], "3x1", &mut watch));
    assert_eq!(outcome.history, [Status::Done; 5]);
    assert_eq!(beside.last(), Some(&(0, 1)), "{beside:?}");
}

#[test]
fn a_trial_without_memory_elsewhere_gets_more_there_once_and_keeps_nobody_waiting() {
    let limits = || Limits { retries: 0, ..hasty() };
    let acts: &[(usize, &[Act])] = &[(1, &[Act::CannotAllocate, Act::Finish]), (5, &[Act::Train])];
    let (mut retried, mut trains) = (false, false);
    // The fifth trains until the first, which runs beside it, has been tried again.
    let mut watch = |event: &Event, stop: &AtomicBool| match event {
        Event::Started { trial: 4, .. } => trains = true,
        Event::Retried { trial: 0, .. } => retried = true,
        Event::Ended { trial: 0, .. } => stop.store(true, Ordering::Relaxed),
        _ => {}
    };
    let outcome = run(Case { limits: limits(), queue: Some(1), ..case(acts, "5x1", &mut watch) });
    assert!(retried && trains);
    assert_eq!((outcome.history[0], outcome.history[4]), (Status::Done, Status::Pending));
    let never = &[(1, &[Act::CannotAllocate][..])];
    let outcome = run(Case { limits: limits(), queue: Some(1), ..case(never, "5x1", &mut |_, _| {}) });
    assert_eq!((outcome.history[0], outcome.retried), (Status::Failed, 1));
}

#[test]
fn a_sweep_asked_to_stop_starts_nothing_more_and_what_ran_is_pending() {
    let mut watch = |event: &Event, stop: &AtomicBool| {
        if let Event::Ended { .. } = event {
            stop.store(true, Ordering::Relaxed);
        }
    };
    // The third does not listen, and is ended when its time to do so is over.
    let outcome = run(case(&[(2, &[Act::Train]), (3, &[Act::Hang])], "3x1", &mut watch));
    assert_eq!(outcome.ending, Ending::Asked);
    assert_eq!(outcome.history[0], Status::Done);
    assert_eq!(outcome.history[1..3], [Status::Pending; 2]);
    for record in outcome.records.iter().filter(|record| record.status != Status::Done) {
        assert_eq!((record.status, record.attempts, &record.error), (Status::Pending, 1, &None));
    }
}

#[test]
fn waiting_in_a_queue_is_no_time_of_a_trial_and_where_it_ran_is_its_own_to_tell() {
    let limits = Limits { timeout: Some(Duration::from_millis(300)), ..hasty() };
    let outcome = run(Case { limits, queue: Some(500), ..case(&[], "5x1", &mut |_, _| {}) });
    assert_eq!(outcome.history, [Status::Done; 5]);
    assert!(outcome.records.iter().all(|record| record.host.is_none() && record.processor.is_none()));
}

#[test]
fn a_trial_that_takes_too_long_is_ended_and_not_tried_again() {
    let limits = Limits { timeout: Some(Duration::from_millis(300)), ..hasty() };
    let outcome = run(Case { limits, ..case(&[(3, &[Act::Hang])], "2x1", &mut |_, _| {}) });
    assert_eq!(outcome.ending, Ending::Finished);
    let record = outcome.records.iter().find(|record| record.status == Status::Failed).unwrap();
    assert_eq!((record.fault, record.attempts), (Some(Fault::Timeout), 1));
    record.error.as_ref().unwrap().names(["0.0050 minutes"]);
}

#[test]
fn too_many_failures_end_the_sweep() {
    let acts: Vec<(usize, &[Act])> = (1..=5).map(|epochs| (epochs, &[Act::Panic][..])).collect();
    let limits = Limits { failures: Some(MaxFailures::Count(2)), ..hasty() };
    let outcome = run(Case { limits, ..case(&acts, "1x1", &mut |_, _| {}) });
    assert_eq!((outcome.ending, outcome.started.len()), (Ending::Failures, 2));
}

#[test]
fn after_the_deadline_nothing_runs_and_what_ran_is_pending() {
    let limits = Limits { deadline: Some(SystemTime::now() + Duration::from_millis(500)), ..hasty() };
    let outcome = run(Case { limits, ..case(&[(2, &[Act::Train])], "1x1", &mut |_, _| {}) });
    assert_eq!(outcome.ending, Ending::Deadline);
    assert_eq!(outcome.history[..2], [Status::Done, Status::Pending]);
    assert_eq!(outcome.started, [1, 2]);
}

#[test]
fn trials_that_would_not_fit_in_memory_together_wait_for_each_other() {
    let memory = |bytes| Admissions::new(Some(Memory::new(bytes, Rc::new(|_| 100), Rc::new(|_| 0))), None);
    let most = |bytes| run(Case { admissions: memory(bytes), ..case(&[], "5x1", &mut |_, _| {}) }).most_at_once;
    assert_eq!(most(250), 2);
    assert_eq!(most(1000), 5);
    // What is too large for all of it has it for itself.
    assert_eq!(most(50), 1);
}

/// A GPU of 10 GB, of which 8 are free, and trials of which the second is expected to take 11, the others 3.
fn on_a_gpu(look: fn(&Gpu) -> Option<u64>) -> Admissions {
    let gpu = Gpu {
        name: "one".into(),
        uuid: "GPU-1".into(),
        capability: [8, 0],
        memory_bytes: 10_000_000_000,
        free_bytes: 8_000_000_000,
        driver: None,
    };
    let expected = |config: &TrialConfig| Some(if config.train.epochs == 2 { 11 } else { 3 } * 1_000_000_000);
    let memory = GpuMemory::new([(Place::Cuda(0), gpu)].into(), Rc::new(expected), look);
    Admissions::new(None, Some(memory.looking_every(Duration::ZERO)))
}

#[test]
fn trials_share_a_gpu_while_they_fit_and_what_never_will_is_a_row_at_once() {
    let outcome = run(Case { admissions: on_a_gpu(|_| None), ..case(&[], "cuda:0x5", &mut |_, _| {}) });
    assert_eq!((outcome.most_at_once, &outcome.started[..]), (2, &[1, 3, 4, 5][..]));
    assert_eq!(outcome.history[1], Status::Failed);
    let record = outcome.records.iter().find(|record| record.status == Status::Failed).unwrap();
    assert_eq!((record.fault, record.attempts, record.device.as_deref()), (Some(Fault::Memory), 0, Some("cuda:0")));
    record.error.as_ref().unwrap().names(["11.00 GB", "one", "10.00 GB"]);
}

#[test]
fn what_a_gpu_has_no_memory_for_goes_to_cpu_cores_if_there_is_a_slot() {
    let mut places = Vec::new();
    let mut watch = |event: &Event, _: &AtomicBool| {
        if let Event::Started { trial, place, .. } = event {
            places.push((*trial, *place));
        }
    };
    let outcome = run(Case { admissions: on_a_gpu(|_| None), ..case(&[], "cuda:0,1x1", &mut watch) });
    assert_eq!(outcome.history, [Status::Done; 5]);
    assert_eq!(places[..2], [(0, Place::Cuda(0)), (1, Place::Cpu)]);
    let devices: BTreeSet<_> = outcome.records.iter().map(|record| record.device.clone().unwrap()).collect();
    assert_eq!(devices, ["cpu".to_string(), "cuda:0".to_string()].into());
}

#[test]
fn what_an_earlier_engine_left_running_is_adopted_and_not_started_twice() {
    let folder = tempfile::tempdir().unwrap();
    let study = Study::new(folder.path());
    let trials = trials();
    let keys: Vec<String> = trials.iter().map(|trial| trial.config.key("")).collect();
    let mut journal = Journal::open(&study.journal()).unwrap();
    let slots = "2x1".parse::<Slots>().unwrap().place(&[]);
    let mut worker = Pretender::new(slots, Admissions::default(), HashMap::new());
    // The second trial, of 2 epochs, is about to end in the second slot.
    let record = TrialRecord { attempts: 1, ..TrialRecord::pending(keys[1].clone(), 0, &trials[1].config) };
    study.trial(&keys[1]).prepare(&trials[1].config, &record).unwrap();
    let end = Pretender::act(Act::Finish, &study.trial(&keys[1]), 2).unwrap();
    worker.running[1] = Some(Pretended { act: Act::Finish, end, looks_left: 3, looks_in_queue: 0 });
    let mut past = vec![Past::NONE; 5];
    past[1] = Past { status: Status::Running, attempts: 1, running_in: Some(1), ..Past::NONE };
    let swept = Dispatcher {
        study: &study,
        trials: &trials,
        keys: &keys,
        beginnings: &Beginnings::default(),
        journal: &mut journal,
        worker: &mut worker,
        limits: hasty(),
        stop: &AtomicBool::new(false),
    }
    .run(&Grid::new(5, Order::Grid), past, &mut |_| Ok(()))
    .unwrap();
    assert!(swept.progress.iter().all(|of| of.status == Status::Done));
    assert_eq!(worker.started, [1, 3, 4, 5]);
    let record = journal.records().unwrap().into_iter().find(|record| record.key == keys[1]).unwrap();
    assert_eq!((record.status, record.attempts, record.epochs), (Status::Done, 1, 2));
}

#[test]
fn slots_on_one_device_that_are_kept_waiting_keep_no_other_device_waiting() {
    let mut running: Vec<Place> = Vec::new();
    let mut most_on_gpu = 0;
    let mut watch = |event: &Event, _: &AtomicBool| match event {
        Event::Started { place, .. } => {
            running.push(*place);
            most_on_gpu = most_on_gpu.max(running.iter().filter(|place| !place.is_cpu()).count());
        }
        Event::Ended { record, .. } => {
            let was_on_gpu = record.device.as_deref() != Some("cpu");
            let ended = running.iter().position(|place| place.is_cpu() != was_on_gpu).unwrap();
            running.remove(ended);
        }
        _ => {}
    };
    // Memory for one trial on CPU cores; those on GPUs take none of it.
    let admissions = Admissions::new(Some(Memory::new(150, Rc::new(|_| 100), Rc::new(|_| 0))), None);
    let outcome = run(Case { admissions, ..case(&[], "2x1,cuda:0x2", &mut watch) });
    assert_eq!((outcome.history, most_on_gpu), (vec![Status::Done; 5], 2));
}

#[test]
fn while_others_have_the_gpus_memory_the_sweep_waits_and_says_so() {
    static FREE: AtomicU64 = AtomicU64::new(1_000_000_000);
    let mut said = Vec::new();
    let mut watch = |event: &Event, _: &AtomicBool| match event {
        Event::Paused { reason } => {
            said.push(reason.to_string());
            FREE.store(9_000_000_000, Ordering::Relaxed);
        }
        Event::Resumed => said.push("resumed".into()),
        _ => {}
    };
    let admissions = on_a_gpu(|_| Some(FREE.load(Ordering::Relaxed)));
    let outcome = run(Case { admissions, limit: Some(1), ..case(&[], "cuda:0x2", &mut watch) });
    assert_eq!(outcome.history[0], Status::Done);
    let [paused, resumed] = &said[..] else { panic!("{said:?}") };
    paused.names(["cuda:0 (one)", "1.00 GB", "3.00 GB"]);
    assert_eq!(resumed, "resumed");
}

#[test]
fn memory_that_a_gpu_lacks_is_the_others_fault_beside_them_and_the_configurations_alone() {
    let fault = |slots| {
        // Beside another that runs until the failure.
        let outcome = sweep(&[(1, &[Act::NoGpuMemory])], slots, Some(2), None);
        let record = outcome.records.into_iter().find(|record| record.status == Status::Failed).unwrap();
        (record.fault, record.attempts, outcome.retried)
    };
    assert_eq!(fault("cuda:0"), (Some(Fault::Configuration), 1, 0));
    // Tried again with nothing beside it, it is known whose fault it is.
    assert_eq!(fault("cuda:0x2"), (Some(Fault::Configuration), 2, 1));
    assert_eq!(fault("cuda:0,1x1"), (Some(Fault::Configuration), 1, 0));
}

#[test]
fn a_full_disk_pauses_the_sweep_until_there_is_room() {
    let mut said = Vec::new();
    let mut watch = |event: &Event, _: &AtomicBool| match event {
        Event::Paused { reason } => said.push(format!("paused: {reason}")),
        Event::Resumed => said.push("resumed".into()),
        _ => {}
    };
    let outcome = run(case(&[(2, &[Act::NoRoom, Act::Finish])], "1x1", &mut watch));
    assert_eq!(outcome.history, [Status::Done; 5]);
    // It was never begun: no attempt, and no failure.
    assert!(outcome.records.iter().all(|record| record.attempts == 1));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("paused: ") && said[1] == "resumed", "{said:?}");
}

#[test]
fn while_no_process_can_be_started_the_sweep_waits_and_blames_no_trial() {
    let mut said = Vec::new();
    let mut watch = |event: &Event, _: &AtomicBool| match event {
        Event::Paused { reason } => said.push(format!("paused: {reason}")),
        Event::Resumed => said.push("resumed".into()),
        _ => {}
    };
    let acts: &[(usize, &[Act])] = &[(1, &[Act::NoProcess, Act::NoProcess, Act::Finish])];
    let outcome = run(case(acts, "2x1", &mut watch));
    assert_eq!((outcome.history, outcome.retried), (vec![Status::Done; 5], 0));
    assert!(outcome.records.iter().all(|record| record.attempts == 1));
    assert_eq!(said.len(), 2, "{said:?}");
}

#[test]
fn a_record_that_does_not_fit_its_epochs_is_the_machines_fault_and_ends_no_sweep() {
    let outcome = sweep(&[(3, &[Act::LoseAnEpoch, Act::Finish])], "2x1", None, None);
    assert_eq!((outcome.history, outcome.retried), (vec![Status::Done; 5], 1));
}

#[test]
fn what_ran_out_of_memory_is_not_tried_alone_where_there_is_no_time() {
    let limits = Limits { deadline: Some(SystemTime::now() + Duration::from_secs(100)), ..hasty() };
    let trials = trials();
    let space = Space::from_document(Document::parse("space", SPACE.into()).unwrap(), "space", &[]).unwrap();
    let expansion = space.expand().unwrap();
    // The first takes longer than there is time for, once its pace is known.
    let predicted = vec![Predicted::new(Place::Cpu, vec![1e6, 1e-9, 1e-9, 1e-9, 1e-9])];
    let searcher = Deadline::new(&trials, &expansion.candidates, None, predicted, None);
    let acts: &[(usize, &[Act])] = &[(2, &[Act::CannotAllocate, Act::Finish])];
    let outcome = run(Case { limits, searcher: Some(&searcher), ..case(acts, "1x1", &mut |_, _| {}) });
    assert_eq!(outcome.ending, Ending::Deadline);
    assert_eq!(outcome.history[0], Status::Pending);
    assert_eq!(outcome.started.last(), Some(&2), "{:?}", outcome.started);
}

#[test]
fn a_share_of_failures_counts_once_enough_trials_ended() {
    let most = MaxFailures::Share(0.25);
    assert!(!most.reached(9, 9) && !most.reached(2, 10) && most.reached(3, 10));
    assert!(MaxFailures::Count(1).reached(1, 1) && !MaxFailures::Count(1).reached(0, 9));
}

#[test]
fn a_random_order_is_the_same_permutation_every_time() {
    let order = Grid::new(50, Order::Random);
    assert_eq!(order.trials(), Grid::new(50, Order::Random).trials());
    let mut sorted = order.trials().to_vec();
    assert_ne!(sorted, (0..50).collect::<Vec<_>>());
    sorted.sort();
    assert_eq!(sorted, (0..50).collect::<Vec<_>>());
}
