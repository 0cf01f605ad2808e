//! A whole exploration of a space: expand, adopt what is there, train, confirm times, train further seeds, report.
//!
//! [`Exploration`] is what `fastrcaps explore` does, without a command line: events out, a flag to stop in.

mod backend;
mod declared;
mod events;
mod past;
mod prepare;
mod proposing;
mod replicates;
mod resources;
mod search;
mod sweep;

pub use backend::Backend;
pub use events::{Event, Observer};
pub use replicates::Replicates;
pub use resources::memory;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
    rc::Rc,
    sync::atomic::AtomicBool,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};

use crate::{
    base::{
        device::{Gpu, Place},
        files, machine,
    },
    engine::{
        confirming::{AfterSweep, finished},
        upkeep,
    },
    learn::{config::TrialConfig, data::DataDirs, record::Status},
    present::{page, report::view::StudyView},
    search::{
        dispatch::{Dispatcher, Ending, Limits, Past},
        journal::Journal,
        space::{Candidate, Expansion, Space, Trial},
        strategy::{Audit, Grid, Ground, STRATEGIES, Settings, Strategy},
        study::{self, Lock, Study},
        worker::{Slots, Tasks},
    },
    timing::{confirm, rounds::EndReason},
};
use declared::fingerprints_of;
use prepare::Prepared;
use search::{Choice, Chosen};
use sweep::Sweeper;

/// The most that [`Replicates::Auto`] trains of a configuration, where nobody says otherwise.
const MOST_REPLICATES: usize = 10;

/// An exploration, as it is wanted.
#[derive(Clone, Debug)]
pub struct Exploration {
    pub space: Space,
    pub study: Study,
    /// The program that knows `run-trial`, `time-steps` and `probe-device`: fastrcaps.
    pub program: PathBuf,
    /// Where data sets lie.
    pub data_dirs: DataDirs,
    /// What trials are told beside what is theirs: where data lies, how often they write checkpoints.
    pub trial_arguments: Vec<OsString>,
    /// What processes that time steps are told beside what is theirs.
    pub timing_arguments: Vec<OsString>,
    pub slots: Slots,
    /// Where these are.
    pub backend: Backend,
    /// How trials are chosen where there is no deadline; with one it is by what tells most in least time.
    pub strategy: &'static Strategy,
    /// What is wanted of a strategy that audits what it pauses.
    pub settings: Settings,
    /// A file of step times that a strategy decides by, where the study has none yet; absent: they are taken.
    pub costs: Option<PathBuf>,
    /// Trains the first trials of the order and no others.
    pub limit: Option<usize>,
    /// Absent: those of the space, or as many as were asked for earlier.
    pub replicates: Option<Replicates>,
    /// The most that [`Replicates::Auto`] trains of a configuration.
    pub max_replicates: Option<usize>,
    /// Trains again what failed in an earlier run.
    pub retry_failed: bool,
    pub limits: Limits,
    /// Bytes that all trials together may take; absent: nine tenths of what is available.
    pub memory: Option<u64>,
    /// How times are confirmed after the sweep, if they are.
    pub confirm: Option<Confirm>,
}

/// How times are confirmed after a sweep.
#[derive(Clone, Copy, Debug)]
pub struct Confirm {
    /// Of timing every kind of step.
    pub rounds: usize,
    /// How long to wait for others to leave the machine alone; absent: as long as the sweep took.
    pub patience: Option<Duration>,
}

/// What came of an exploration.
pub struct Explored {
    /// The study as it stands.
    pub view: StudyView,
    pub ending: Ending,
    pub took: Duration,
    /// What the strategy's audit found, where it makes one and came to its end.
    pub audit: Option<Audit>,
    /// The page that was written at the end, or why there is none: that is no failure of the sweep.
    pub page: Result<PathBuf>,
}

/// What would be trained.
pub struct Preview {
    pub expansion: Expansion,
    pub trials: Vec<Trial>,
    /// Trials that would be trained, in order, and how many of the order have ended already.
    pub wanted: Vec<usize>,
    pub kept: usize,
}

/// What an exploration is of.
struct Scope {
    expansion: Expansion,
    /// How often each configuration is trained at first, and at most.
    first: usize,
    most: usize,
    is_auto: bool,
    deadline: Option<SystemTime>,
    /// The configurations that were proposed, and what others may be, where the space is not listed.
    proposed: Option<Vec<Vec<String>>>,
    ground: Option<Rc<dyn Ground>>,
}

impl Exploration {
    /// One with the defaults of the command line: a slot on every core, every trial to its end, times confirmed.
    pub fn new(space: Space, study: Study, program: PathBuf, data_dirs: DataDirs) -> Exploration {
        Exploration {
            space,
            study,
            program,
            data_dirs,
            trial_arguments: Vec::new(),
            timing_arguments: Vec::new(),
            slots: Slots::one_per_core(machine::usable_cores()),
            backend: Backend::Local,
            strategy: STRATEGIES[0],
            settings: Settings::default(),
            costs: None,
            limit: None,
            replicates: None,
            max_replicates: None,
            retry_failed: false,
            limits: Limits::default(),
            memory: None,
            confirm: Some(Confirm { rounds: crate::timing::rounds::ROUNDS, patience: None }),
        }
    }

    /// What would be trained, with regard to what the study holds already. Where there is a deadline, steps are timed.
    ///
    /// Errors: as those of [`Exploration::run`] before anything is begun.
    pub fn preview(&self, observer: &mut Observer) -> Result<Preview> {
        let scope = self.scope()?;
        if scope.deadline.is_some() {
            self.look_at_gpus(&AtomicBool::new(false), observer)?;
        }
        let (trials, tasks) = (scope.expansion.trials(scope.first), self.tasks());
        let choice = Choice { trials: &trials, asked: trials.len(), begun: &[], ..self.choice(&scope, tasks.as_ref()) };
        let chosen = choice.make(None, observer)?;
        let declared = self.declared(&scope, fingerprints_of(&self.study, &trials))?;
        self.study.before(&declared)?;
        let records = StudyView::read(&self.study).map(|view| view.records).unwrap_or_default();
        let is_over = |status: Status| status.is_final() && !(self.retry_failed && status == Status::Failed);
        let over = records.iter().flatten().filter(|record| is_over(record.status));
        let over: BTreeSet<&str> = over.map(|record| record.key.as_str()).collect();
        let keys = study::trial_keys(&trials, &declared.data)?;
        let order = &chosen.order;
        let wanted: Vec<usize> = order.iter().copied().filter(|index| !over.contains(keys[*index].as_str())).collect();
        let kept = order.len() - wanted.len();
        Ok(Preview { expansion: scope.expansion, trials, wanted, kept })
    }

    /// Explores, until all that was wanted has ended, `stop` is set, or a limit is reached. What was finished before stays, and
    /// what was interrupted goes on. Tells `observer` what happens.
    ///
    /// Errors: a space, slots, replicates or data that cannot be used, a study of something else or that somebody else holds;
    /// a journal that refuses what it is given. A trial that fails is none, and times that cannot be confirmed are none.
    pub fn run(&self, stop: &AtomicBool, observer: &mut Observer) -> Result<Explored> {
        let mut scope = self.scope()?;
        // Jobs that are there already may have all GPUs, and have shown what these are.
        let gpus = if self.may_lack_gpus() { BTreeMap::new() } else { self.look_at_gpus(stop, observer)? };
        let (lock, mut plan, mut before) = self.begin(&scope, observer)?;
        if !self.backend.is_local()
            && let Some(kind) = files::network_file_system(&self.study.folder)
        {
            observer(&Event::JournalOnNetwork { kind });
        }
        let mut journal = Journal::open(&self.study.journal())?;
        let began = Instant::now();
        let mut limits = self.limits.clone();
        let mut has_trained = false;
        // Once; again where the strategy has put more on the study's list.
        loop {
            let mut worker = self.worker(&plan, &gpus)?;
            let of = Prepared { is_first: !has_trained, gpus: &gpus, before: before.take() };
            let (chosen, past, wanted) = self.prepare(&scope, &plan, of, (&mut journal, worker.as_mut()), observer)?;
            has_trained |= !wanted.is_empty();
            let leaving = |deadline| match &self.confirm {
                Some(confirm) => confirm::end_of_sweep(deadline, &configs_of(&scope.expansion), confirm.rounds),
                None => deadline,
            };
            let beginnings = plan.beginnings();
            let dispatcher = Dispatcher {
                study: &self.study,
                trials: &plan.trials,
                keys: &plan.keys,
                beginnings: &beginnings,
                journal: &mut journal,
                worker: worker.as_mut(),
                limits: Limits { deadline: scope.deadline.map(leaving), ..limits },
                stop,
            };
            let mut sweeper = Sweeper { dispatcher, slots: &self.slots };
            let (view, ending) = sweeper.sweep(chosen.searcher.as_ref(), &wanted, past, observer)?;
            let further = chosen.searcher.further();
            let wants_more = ending == Ending::Finished && !further.is_empty();
            let ending = sweeper.dispatcher.asked_to_end().filter(|_| wants_more).unwrap_or(ending);
            if ending == Ending::Finished && !further.is_empty() {
                let longer = self.list_further(&lock, &further)?;
                limits = sweeper.dispatcher.limits.clone();
                let all = longer.expansion.candidates.len();
                observer(&Event::Proposed { configurations: all - plan.expansion.candidates.len(), all });
                scope.expansion = longer.expansion.clone();
                plan = longer;
                continue;
            }
            let audit = chosen.searcher.audit();
            upkeep::keep_audit(&self.study, audit.as_ref())?;
            let swept = Swept { began, has_trained, ending, gpus: &gpus, lock: &lock, stop };
            let (view, ending) = self.confirm(&scope, swept, view, observer);
            // Nothing more is timed after what follows.
            sweeper.dispatcher.limits.deadline = scope.deadline;
            let (view, ending) = self.train_further(&scope, &mut sweeper, view, ending, observer)?;
            observer(&Event::Over { view: &view, ending });
            let page = page::write(&self.study);
            return Ok(Explored { view, ending, took: began.elapsed(), audit, page });
        }
    }

    fn scope(&self) -> Result<Scope> {
        let proposed = self.proposed()?;
        let (expansion, ground) = match &proposed {
            None => (self.space.expand()?, None),
            Some(proposed) => (self.space.listed(proposed)?.1, Some(self.ground()?)),
        };
        self.check_slots(&expansion.candidates)?;
        self.study.check_explorable()?;
        let asked = past::asked_before(&self.study);
        let replicates = self.replicates.unwrap_or(Replicates::Count(self.space.replicates.max(asked)));
        replicates.check(self.max_replicates.is_some(), self.limit.is_some())?;
        let most = self.max_replicates.unwrap_or(MOST_REPLICATES);
        let (first, most) = replicates.range(&self.space, expansion.candidates.len(), asked, most)?;
        let is_auto = replicates == Replicates::Auto;
        Ok(Scope { expansion, first, most, is_auto, deadline: self.limits.deadline, proposed, ground })
    }

    /// Refuses configurations that a slot cannot train, with the value at fault.
    fn check_slots(&self, candidates: &[Candidate]) -> Result<()> {
        let (has_cpu, has_gpu) = (self.slots.has_cpu(), self.slots.gpus().next().is_some());
        for candidate in candidates {
            let on_cpu = if has_cpu { candidate.config.check_for_cpu() } else { Ok(()) };
            let check = on_cpu.and_then(|()| if has_gpu { candidate.config.check_for_gpu() } else { Ok(()) });
            check.with_context(|| format!("slots {} cannot train {:?}", self.slots, candidate.label))?;
        }
        Ok(())
    }

    /// Choices without trials.
    fn choice<'a>(&'a self, scope: &'a Scope, tasks: &'a dyn Tasks) -> Choice<'a> {
        Choice {
            expansion: &scope.expansion,
            trials: &[],
            asked: 0,
            begun: &[],
            strategy: self.strategy,
            settings: self.settings,
            costs: self.costs.as_deref(),
            limit: self.limit,
            deadline: scope.deadline,
            places: self.slots.places().collect(),
            tasks,
            ground: scope.ground.as_ref(),
        }
    }

    fn choose(&self, scope: &Scope, plan: &study::Plan, past: &[Past], observer: &mut Observer) -> Result<Chosen> {
        let would_be: Vec<Past> = past.iter().map(|past| past::retried(past, self.retry_failed)).collect();
        let asked = scope.first * scope.expansion.candidates.len();
        // Further ones that an earlier exploration began: nobody would end them otherwise.
        let is_begun = |index: &usize| {
            matches!(would_be[*index].status, Status::Pending | Status::Paused) && would_be[*index].attempts > 0
        };
        let further = (asked..plan.trials.len()).filter(|index| self.limit.is_none() && is_begun(index));
        let begun: Vec<usize> = further.collect();
        let tasks = self.tasks();
        let choice = Choice { trials: &plan.trials, asked, begun: &begun, ..self.choice(scope, tasks.as_ref()) };
        choice.make(Some((&self.study, &plan.keys, &would_be)), observer)
    }

    /// Confirms the times of a sweep that came to its end or whose time was over, before it is asked who is on the front:
    /// further seeds have steps of the same kinds. What cannot be confirmed is told, and is no failure of the sweep.
    fn confirm(&self, scope: &Scope, swept: Swept, view: StudyView, observer: &mut Observer) -> (StudyView, Ending) {
        let has_ended = matches!(swept.ending, Ending::Finished | Ending::Deadline);
        let Some(confirm) = self.confirm.filter(|_| has_ended && !finished(&view).is_empty()) else {
            return (view, swept.ending);
        };
        // Those that were not looked at as jobs had them.
        let looked =
            if swept.gpus.is_empty() { self.look_at_gpus(swept.stop, observer) } else { Ok(swept.gpus.clone()) };
        let gpus = match looked {
            Ok(gpus) => gpus,
            Err(error) => {
                observer(&Event::NotConfirmed(&error));
                return (view, swept.ending);
            }
        };
        let tasks = self.tasks();
        let after = AfterSweep {
            study: &self.study,
            lock: swept.lock,
            slots: &self.slots,
            gpus: &gpus,
            took: swept.began.elapsed(),
            has_trained: swept.has_trained,
            rounds: confirm.rounds,
            patience: confirm.patience,
            deadline: scope.deadline,
            stop: swept.stop,
            tasks: tasks.as_ref(),
            arguments: self.timing_arguments.clone(),
        };
        let (view, confirmed) = after.confirm(view, &mut |event| observer(&Event::Confirming(event)));
        let ending = match confirmed {
            Ok(confirmed) => {
                observer(&Event::Confirmed { confirmed: &confirmed, view: &view });
                if confirmed.ending == EndReason::Asked { Ending::Asked } else { swept.ending }
            }
            Err(error) => {
                observer(&Event::NotConfirmed(&error));
                swept.ending
            }
        };
        (view, ending)
    }

    /// Trains another seed of every configuration of which it is open whether it is on the front, as often as there are such.
    fn train_further(
        &self,
        scope: &Scope,
        sweeper: &mut Sweeper,
        mut view: StudyView,
        mut ending: Ending,
        observer: &mut Observer,
    ) -> Result<(StudyView, Ending)> {
        while scope.is_auto && ending == Ending::Finished {
            let wanted = replicates::further(&view, scope.most, scope.deadline);
            if wanted.is_empty() {
                break;
            }
            observer(&Event::Open { configurations: wanted.len() });
            let past = past::of_view(&self.study, &view, self.strategy.reopens);
            (view, ending) = sweeper.sweep(&Grid::over(wanted.clone()), &wanted, past, observer)?;
        }
        Ok((view, ending))
    }
}

/// A sweep that has ended.
struct Swept<'a> {
    began: Instant,
    /// Whether it had anything to train.
    has_trained: bool,
    ending: Ending,
    gpus: &'a BTreeMap<Place, Gpu>,
    lock: &'a Lock,
    stop: &'a AtomicBool,
}

fn configs_of(expansion: &Expansion) -> Vec<&TrialConfig> {
    expansion.candidates.iter().map(|candidate| &candidate.config).collect()
}
