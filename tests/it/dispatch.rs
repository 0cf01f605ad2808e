//! The dispatcher, with an executor that does what the test says instead of training.

use std::{cell::RefCell, collections::HashMap, path::Path, rc::Rc};

use fastrcaps::{
    dispatch::{Dispatcher, Event},
    executor::{Executor, Exit, Process, Slot, Slots},
    folder::TrialFolder,
    journal::Journal,
    record::{EpochRow, Status, TrialRecord},
    source::Document,
    space::{Space, Trial},
    strategy::{Order, Sweep},
    study::Study,
};

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
}

#[derive(Default)]
struct Pretender {
    acts: HashMap<usize, Act>,
    started: Rc<RefCell<Vec<usize>>>,
    at_once: Rc<RefCell<(usize, usize)>>,
}

struct Pretended {
    exit: Exit,
    polls_left: usize,
    at_once: Rc<RefCell<(usize, usize)>>,
}

impl Process for Pretended {
    fn poll(&mut self) -> anyhow::Result<Option<Exit>> {
        if self.polls_left > 0 {
            self.polls_left -= 1;
            return Ok(None);
        }
        self.at_once.borrow_mut().0 -= 1;
        Ok(Some(self.exit))
    }
}

impl Executor for Pretender {
    fn start(&mut self, folder: &Path, _slot: &Slot) -> anyhow::Result<Box<dyn Process>> {
        let folder = TrialFolder::new(folder);
        let record = folder.read_record()?;
        let number = self.started.borrow().len();
        let config = std::fs::read_to_string(folder.config())?;
        let epochs: usize = toml::from_str::<toml::Table>(&config)?["train"]["epochs"].as_integer().unwrap() as usize;
        self.started.borrow_mut().push(epochs);
        let act = self.acts.get(&epochs).copied().unwrap_or(Act::Finish);
        let log = |text: &str| std::fs::write(folder.log(), text).unwrap();
        let write =
            |status| folder.write_record(&TrialRecord { status, validation_accuracy: Some(0.5), ..record.clone() });
        let exit = match act {
            Act::CannotStart => anyhow::bail!("no such program"),
            Act::Finish => {
                for epoch in 1..=epochs {
                    folder.append_epoch(&row(epoch))?;
                }
                write(Status::Done)?;
                Exit::Code(0)
            }
            Act::Diverge => {
                write(Status::Diverged)?;
                Exit::Code(0)
            }
            Act::Panic => {
                log("started\nthread 'main' panicked at src/x.rs:1:2:\nindex out of bounds\nnote: run with");
                Exit::Code(101)
            }
            Act::Kill => Exit::Signal(9),
            Act::ExitSilently => Exit::Code(0),
            Act::WriteGarbage => {
                std::fs::write(folder.path.join("trial.json"), "{\"key\": 3")?;
                Exit::Code(0)
            }
            Act::WriteAnothersRecord => {
                folder.write_record(&TrialRecord { key: "other".into(), status: Status::Done, ..record })?;
                Exit::Code(0)
            }
            Act::FailWithReason => {
                folder.write_record(&TrialRecord {
                    status: Status::Failed,
                    error: Some("no data".into()),
                    ..record
                })?;
                Exit::Code(1)
            }
        };
        let mut at_once = self.at_once.borrow_mut();
        at_once.0 += 1;
        at_once.1 = at_once.1.max(at_once.0);
        Ok(Box::new(Pretended { exit, polls_left: number % 3, at_once: self.at_once.clone() }))
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
        train_seconds: 1.0,
        samples: 1,
        steps: 1,
    }
}

/// Five trials, told apart by their epochs: 1 to 5.
fn trials() -> Vec<Trial> {
    let text = "[axes]\n\"train.epochs\" = [1, 2, 3, 4, 5]".to_string();
    let space = Space::from_document(Document::parse("space", text).unwrap(), "space", &[]).unwrap();
    space.expand().unwrap().trials(1)
}

struct Outcome {
    history: Vec<Status>,
    records: Vec<TrialRecord>,
    started: Vec<usize>,
    most_at_once: usize,
    ended_events: usize,
}

fn sweep(acts: &[(usize, Act)], slots: &str, limit: Option<usize>, history: Option<Vec<Status>>) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let study = Study::new(folder.path());
    let trials = trials();
    let keys: Vec<String> = trials.iter().map(|trial| trial.config.key("")).collect();
    let mut journal = Journal::open(&study.journal()).unwrap();
    let slots = slots.parse::<Slots>().unwrap().place(&[]);
    let mut executor = Pretender { acts: acts.iter().copied().collect(), ..Pretender::default() };
    let (started, at_once) = (executor.started.clone(), executor.at_once.clone());
    let mut ended_events = 0;
    let history = Dispatcher {
        study: &study,
        trials: &trials,
        keys: &keys,
        slots: &slots,
        journal: &mut journal,
        executor: &mut executor,
    }
    .run(
        &Sweep::new(trials.len(), Order::Grid).limited(limit),
        history.unwrap_or(vec![Status::Pending; trials.len()]),
        &mut |event| {
            if let Event::Ended { record, .. } = event {
                ended_events += 1;
                let journal = Journal::read(&study.journal())?;
                assert!(journal.records()?.contains(record), "an end is told before it is in the journal");
            }
            Ok(())
        },
    )
    .unwrap();
    let records = journal.records().unwrap();
    let most_at_once = at_once.borrow().1;
    Outcome { history, records, started: started.take(), most_at_once, ended_events }
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
    for (act, status, reason) in [
        (Act::Panic, Status::Failed, "panicked: thread 'main' panicked at src/x.rs:1:2: index out of bounds"),
        (Act::Kill, Status::Failed, "killed by signal 9"),
        (Act::ExitSilently, Status::Failed, "exit code 0 and no result"),
        (Act::WriteGarbage, Status::Failed, "is no trial record"),
        (Act::WriteAnothersRecord, Status::Failed, "record of another trial"),
        (Act::FailWithReason, Status::Failed, "no data"),
        (Act::CannotStart, Status::Failed, "no such program"),
        (Act::Diverge, Status::Diverged, ""),
    ] {
        let outcome = sweep(&[(2, act)], "2x1", None, None);
        let mut expected = [Status::Done; 5];
        expected[1] = status;
        assert_eq!(outcome.history, expected, "{reason}");
        let record = outcome.records.iter().find(|record| record.status == status).unwrap();
        let error = record.error.clone().unwrap_or_default();
        assert!(error.contains(reason), "{error} does not say {reason}");
    }
}

#[test]
fn a_random_order_is_the_same_permutation_every_time() {
    let order = Sweep::new(50, Order::Random);
    assert_eq!(order.order(), Sweep::new(50, Order::Random).order());
    let mut sorted = order.order().to_vec();
    assert_ne!(sorted, (0..50).collect::<Vec<_>>());
    sorted.sort();
    assert_eq!(sorted, (0..50).collect::<Vec<_>>());
}
