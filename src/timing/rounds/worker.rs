//! The side of the process that times steps.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use candle_core::Device;

use super::{Job, Line, Origin, Task, disturbance::disturbance};
use crate::{
    base::{
        machine::{
            self,
            load::{self, Mark},
        },
        words::by_count,
    },
    learn::{
        config::TrialConfig,
        data::{self, DataConfig, DataDirs, Dataset, DatasetName, sets::glyphs},
        kernels::open::describe,
        model::scope::Scope,
    },
    timing::{
        sample::{self, Length},
        sets::{Fingerprint, Sample, Sentinel},
        stand_in::stand_in,
    },
};

/// What others took is known for spans of at least this length, as the system counts in hundredths of a second: short samples
/// share one, and its verdict.
const SPAN: Duration = Duration::from_millis(300);

/// The sentinel: a network of half a millisecond or so a step, on images that are drawn.
const SENTINEL: &str = "[model]\npreset = 'tiny'\n";
const SENTINEL_SAMPLES: usize = 32;
const SENTINEL_SECONDS: f64 = 0.03;

/// Does a job on `device`, and tells what comes of it.
pub fn work(job: &Job, dirs: &DataDirs, device: &Device, told: &mut dyn FnMut(Line) -> Result<()>) -> Result<()> {
    if job.tells_origin {
        let here = || Fingerprint::this(rayon::current_num_threads());
        let fingerprint = describe(device)?.as_ref().map_or_else(here, Fingerprint::of_gpu);
        told(Line::Origin(Origin { host: machine::host(), fingerprint }))?;
        if job.tasks.is_empty() {
            return Ok(());
        }
    }
    let data = load(job, dirs)?;
    let sentinel = SentinelStep::new(device)?;
    let gpu = describe(device)?.map(|gpu| gpu.uuid);
    let mut span = Span::begin();
    // At the beginning, in the middle, and at the end.
    let middle = job.tasks.len() / 2;
    for (at, task) in job.tasks.iter().enumerate() {
        if at == 0 || at == middle {
            span.sentinels.push(sentinel.time(job.round)?);
        }
        span.samples.push(time(task, job, &data[&without_shift(&task.config.data)?], device)?);
        if span.mark.elapsed() >= SPAN {
            span.close(gpu.as_deref(), told)?;
            span = Span::begin();
        }
    }
    // Until the last span, too, is long enough to be judged.
    while span.sentinels.is_empty() || span.mark.elapsed() < SPAN {
        span.sentinels.push(sentinel.time(job.round)?);
    }
    span.close(gpu.as_deref(), told)
}

/// Every selection of data that is needed, by its config.
fn load(job: &Job, dirs: &DataDirs) -> Result<BTreeMap<String, Dataset>> {
    let mut known = BTreeMap::new();
    for task in &job.tasks {
        let Entry::Vacant(place) = known.entry(without_shift(&task.config.data)?) else { continue };
        let data = data::load(&task.config.data, dirs)?;
        if data.fingerprint != task.data {
            bail!(
                "the data changed since the study began: it was {}, and is {} now; bring it back, or see `fastrcaps data \
                 verify`",
                task.data,
                data.fingerprint
            );
        }
        place.insert(data);
    }
    Ok(known)
}

/// The images do not depend on how far they are shifted.
fn without_shift(config: &DataConfig) -> Result<String> {
    Ok(serde_json::to_string(&DataConfig { shift: 0, ..config.clone() })?)
}

fn time(task: &Task, job: &Job, data: &Dataset, device: &Device) -> Result<Sample> {
    let at = machine::rfc3339(SystemTime::now());
    let length = Length::of(job.sample_seconds);
    let (steps, seconds_per_step) = sample::take(&task.config, data, device, task.samples, task.scope, length)
        .with_context(|| format!("cannot time a step of {} samples", task.samples))?;
    let (foreign_cores, load, tainted) = (None, load::average(), None);
    Ok(Sample {
        shape: task.shape.clone(),
        round: job.round,
        visit: 0,
        at,
        steps,
        seconds_per_step,
        foreign_cores,
        load,
        tainted,
    })
}

struct SentinelStep<'a> {
    config: TrialConfig,
    data: Dataset,
    device: &'a Device,
}

impl SentinelStep<'_> {
    fn new(device: &Device) -> Result<SentinelStep<'_>> {
        let config = TrialConfig::resolve(SENTINEL.parse()?)?;
        Ok(SentinelStep { config, data: stand_in(DatasetName::of(&glyphs::SET)), device })
    }

    fn time(&self, round: usize) -> Result<Sentinel> {
        let at = machine::rfc3339(SystemTime::now());
        let length = Length::of(SENTINEL_SECONDS);
        let (_, seconds_per_step) =
            sample::take(&self.config, &self.data, self.device, SENTINEL_SAMPLES, Scope::default(), length)?;
        Ok(Sentinel { round, visit: 0, at, seconds_per_step })
    }
}

/// What is judged together.
struct Span {
    mark: Mark,
    samples: Vec<Sample>,
    sentinels: Vec<Sentinel>,
}

impl Span {
    fn begin() -> Span {
        Span { mark: Mark::now(), samples: Vec::new(), sentinels: Vec::new() }
    }

    /// Tells what was taken, with what others took meanwhile. Sentinels that were disturbed say nothing of the machine.
    fn close(self, gpu: Option<&str>, told: &mut dyn FnMut(Line) -> Result<()>) -> Result<()> {
        let others = self.mark.others();
        let tainted = others.as_ref().and_then(|others| disturbance(others, rayon::current_num_threads()));
        let tainted = tainted.or_else(|| on_gpu(gpu?));
        for sample in self.samples {
            let foreign_cores = others.map(|others| others.cores());
            told(Line::Sample(Sample { foreign_cores, tainted: tainted.clone(), ..sample }))?;
        }
        let clean = self.sentinels.into_iter().filter(|_| tainted.is_none());
        clean.into_iter().try_for_each(|sentinel| told(Line::Sentinel(sentinel)))
    }
}

/// Who else computes on the GPU at this moment, in words; nobody where the driver does not say.
fn on_gpu(uuid: &str) -> Option<String> {
    let others = machine::gpu::now(uuid)?.processes?.saturating_sub(1);
    (others > 0).then(|| format!("{others} {} of others computed on the GPU", by_count(others, "process", "processes")))
}
