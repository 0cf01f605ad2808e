//! The rounds one after the other, until every shape has its samples or there is a reason to end.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use rand::seq::SliceRandom;

use super::{Clock, Confirmed, EndReason, Event, Job, Lacking, Line, Origin, Request, Task};
use crate::{
    base::{
        machine, rng,
        words::{by_count, plural},
    },
    learn::config::TrialConfig,
    search::study,
    timing::{
        sets::{ENOUGH_ROUNDS, MUCH_DRIFT, Sample, Sentinel, TimeSet},
        shape::{Shape, shapes},
    },
};

/// The set is written after every round, and within a round that takes longer than this.
const UNWRITTEN: Duration = Duration::from_secs(60);
/// Share of the patience that is spent on waiting before one round: others may leave gaps that are long enough for some
/// samples, though never for all.
const WAIT_SHARE: u32 = 10;

/// Takes what the set lacks.
///
/// Errors: too few rounds; a set of that name from another machine, build or way of use, or a damaged one; a process that
/// failed. What was taken is kept whatever happens, but for the last round or minute.
pub fn take(request: &Request, clock: &mut dyn Clock, observer: &mut dyn FnMut(&Event)) -> Result<Confirmed> {
    if request.rounds < ENOUGH_ROUNDS {
        let (rounds, are) = (plural(request.rounds, "round"), by_count(request.rounds, "is", "are"));
        bail!("{rounds} {are} too few: an interval of 95 % needs at least {ENOUGH_ROUNDS}");
    }
    let shapes = shapes(request.configs);
    let here = || Origin { host: machine::host(), fingerprint: request.fingerprint.clone() };
    let mut set = open(request, clock.origin()?.unwrap_or_else(here))?;
    set.shapes.extend(shapes.iter().map(|(id, (shape, _))| (id.clone(), shape.clone())));
    let data = request.study.read()?.data;
    let visit = set.next_visit();
    let mut run = Run {
        request,
        shapes: &shapes,
        data: &data,
        observer,
        set,
        visit,
        goal: 0,
        missing: 0,
        taken: 0,
        tainted: 0,
        busy: None,
        was_disturbed: true,
        spent: Duration::ZERO,
        began: Instant::now(),
        written: Instant::now(),
    };
    let ending = run.run(clock);
    // Whatever ended it: what was taken stands in the file. An error of its own is the worse news.
    let written = if run.taken > 0 { run.set.write(request.study) } else { Ok(()) };
    let ending = ending?;
    written?;
    Ok(run.over(ending))
}

/// The set that there is, or a new one; an error where the two cannot be one.
fn open(request: &Request, origin: Origin) -> Result<TimeSet> {
    let fresh = TimeSet::new(request.name, origin.host, origin.fingerprint);
    // Also where it is begun anew: a name that no file can have is found out about here.
    let there = match TimeSet::read(request.study, request.name) {
        Err(_) if request.anew && TimeSet::names(request.study)?.contains(&fresh.name) => None,
        read => read?,
    };
    let Some(there) = there.filter(|_| !request.anew) else { return Ok(fresh) };
    let differing = there.differences(&fresh);
    if !differing.is_empty() {
        let device = if fresh.fingerprint.is_of_gpu() { " --device cuda:N" } else { "" };
        bail!(
            "the times {:?} of {} were taken otherwise, and no figure is made of both ({}): take these under another name \
             with `fastrcaps time {1}{device} --as OTHER`, or begin again with `fastrcaps time {1}{device} --anew`",
            request.name,
            request.study.folder.display(),
            differing.join("; ")
        );
    }
    Ok(there)
}

struct Run<'a> {
    request: &'a Request<'a>,
    shapes: &'a BTreeMap<String, (Shape, &'a TrialConfig)>,
    /// Fingerprints of the study's data.
    data: &'a BTreeMap<String, String>,
    observer: &'a mut dyn FnMut(&Event),
    set: TimeSet,
    visit: usize,
    /// Clean samples that this run wants, and those of them that are not there yet.
    goal: usize,
    missing: usize,
    taken: usize,
    tainted: usize,
    busy: Option<String>,
    /// Whether the last round was disturbed: after one that was not, the machine is idle.
    was_disturbed: bool,
    /// Of the patience.
    spent: Duration,
    began: Instant,
    written: Instant,
}

impl Run<'_> {
    fn run(&mut self, clock: &mut dyn Clock) -> Result<EndReason> {
        for pass in 0.. {
            let missing = self.missing();
            let samples = missing.values().map(Vec::len).sum();
            if pass == 0 {
                (self.goal, self.missing) = (samples, samples);
                (self.observer)(&Event::Begun { shapes: self.shapes.len(), samples });
            }
            if missing.is_empty() {
                break;
            }
            for (round, shapes) in missing {
                if let Some(ending) = self.wait(clock, pass)? {
                    return Ok(ending);
                }
                (self.observer)(&Event::Round { round, samples: shapes.len(), again: pass > 0 });
                let job = self.job(round, pass, shapes)?;
                if let Some(ending) = self.take(clock, &job, pass)? {
                    return Ok(ending);
                }
            }
        }
        Ok(EndReason::Finished)
    }

    /// What is still to be taken, by round.
    fn missing(&self) -> BTreeMap<usize, Vec<String>> {
        let mut missing: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for shape in self.shapes.keys() {
            for round in self.set.missing(shape, self.request.rounds) {
                missing.entry(round).or_default().push(shape.clone());
            }
        }
        missing
    }

    /// The job of a round, in an order that chance gives: what changes while it lasts is not always beside the same shapes.
    fn job(&self, round: usize, pass: u64, mut shapes: Vec<String>) -> Result<Job> {
        shapes.shuffle(&mut rng::stream(pass, "times", round as u64));
        let task = |id: String| {
            let (shape, config) = &self.shapes[&id];
            let data = study::data_id(&config.data);
            let data = self.data.get(&data).with_context(|| format!("the study knows no data selection {data}"))?;
            let scope = shape.scope_in(config);
            Ok(Task { shape: id, samples: shape.samples, scope, config: (*config).clone(), data: data.clone() })
        };
        let tasks = shapes.into_iter().map(task).collect::<Result<_>>()?;
        Ok(Job { round, sample_seconds: self.request.sample_seconds, tasks, tells_origin: false })
    }

    /// Whether it must end. The first pass is taken however often it is disturbed.
    fn must_end(&self, pass: u64) -> Option<EndReason> {
        let Request { stop, deadline, patience, .. } = self.request;
        match () {
            () if stop.load(Relaxed) => Some(EndReason::Asked),
            () if deadline.is_some_and(|deadline| SystemTime::now() >= deadline) => Some(EndReason::Deadline),
            () if pass > 0 && self.spent >= *patience => Some(EndReason::Patience),
            () => None,
        }
    }

    /// Waits until the machine is idle, for a while.
    fn wait(&mut self, clock: &mut dyn Clock, pass: u64) -> Result<Option<EndReason>> {
        let began = Instant::now();
        let patience = self.request.patience;
        loop {
            if let Some(ending) = self.must_end(pass) {
                return Ok(Some(ending));
            }
            if !self.was_disturbed || self.spent >= patience || began.elapsed() >= patience / WAIT_SHARE {
                return Ok(None);
            }
            let look = Instant::now();
            let Some(why) = clock.busy() else { return Ok(None) };
            self.spent += look.elapsed();
            (self.observer)(&Event::Waiting { why: &why });
            self.busy = Some(why);
        }
    }

    fn take(&mut self, clock: &mut dyn Clock, job: &Job, pass: u64) -> Result<Option<EndReason>> {
        let (mut ending, mut last) = (None, Instant::now());
        self.was_disturbed = false;
        clock.run(job, &mut |line| {
            match line {
                Some(Line::Sample(sample)) => {
                    if sample.tainted.is_some() {
                        self.was_disturbed = true;
                        // Those of one span come together: the first has the time of all.
                        self.spent += last.elapsed();
                    }
                    last = Instant::now();
                    self.count(Sample { visit: self.visit, ..sample })?;
                }
                Some(Line::Sentinel(sentinel)) => self.set.sentinels.push(Sentinel { visit: self.visit, ..sentinel }),
                Some(Line::Origin(origin)) if origin.fingerprint != self.set.fingerprint => bail!(
                    "{} times steps otherwise than the machine on which the set {:?} was begun: let all be timed on one kind of \
                     node (timing_constraint in the profile of a cluster)",
                    origin.host,
                    self.request.name
                ),
                Some(Line::Origin(_)) | None => {}
            }
            ending = self.must_end(pass);
            Ok(if ending.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        self.write()?;
        Ok(ending)
    }

    fn count(&mut self, sample: Sample) -> Result<()> {
        if !self.shapes.contains_key(&sample.shape) {
            bail!("a sample of the shape {} came, for which nobody asked", sample.shape);
        }
        self.taken += 1;
        self.tainted += usize::from(sample.tainted.is_some());
        self.missing = self.missing.saturating_sub(usize::from(sample.tainted.is_none()));
        let clean = self.goal - self.missing;
        let pace = self.began.elapsed().as_secs_f64() / clean as f64;
        let eta_seconds = (clean > 0).then_some(pace * self.missing as f64);
        (self.observer)(&Event::Sample { sample: &sample, clean, samples: self.goal, eta_seconds });
        self.set.samples.push(sample);
        if self.written.elapsed() >= UNWRITTEN { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        self.written = Instant::now();
        self.set.write(self.request.study)
    }

    fn over(self, ending: EndReason) -> Confirmed {
        let lacking = |(id, (shape, _)): (&String, &(Shape, &TrialConfig))| {
            let missing = self.set.missing(id, self.request.rounds).len();
            let last = self.set.samples.iter().rfind(|sample| sample.shape == *id && sample.tainted.is_some());
            let why = last.and_then(|sample| sample.tainted.clone());
            (missing > 0).then(|| Lacking { shape: shape.clone(), clean: self.request.rounds - missing, why })
        };
        let lacking = self.shapes.iter().filter_map(lacking).collect();
        let Run { set, taken, tainted, busy, visit, .. } = self;
        let moved = set.change_of_visit(visit).filter(|change| change.abs() > MUCH_DRIFT);
        Confirmed { set, ending, taken, tainted, lacking, busy, moved }
    }
}
