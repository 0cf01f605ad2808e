//! A training on a CUDA GPU: steps are enqueued and run there one after another, while the host waits for none of them.
//!
//! The order of an epoch, the factors of its steps and a cursor lie on the device, so that every step of one size and scope is the
//! same sequence of launches: it is captured once, as a CUDA graph, and replayed. Losses wait on the device until
//! [`OnDevice::settle`] fetches them. Time is taken by events on the device, from the first step that is waited for to the last;
//! what a size of batches needs once (loading kernels, capturing) is done before.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{
    Device,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaEvent, CudaGraph, sys},
    },
};

use super::{
    evaluate,
    laps::{Laps, Part},
    outcome::StepOutcome,
    update::Update,
};
pub use crate::learn::model::device_pass::Most;
use crate::learn::{
    data::{Dataset, Images},
    kernels::{
        Optimizer,
        cuda::{
            Buffer, Gpu,
            adam::{FACTORS, step_factors},
            batch::{Resident, Source},
        },
        optimizer::{Constants, Rule},
    },
    model::{
        config::{ModelConfig, Precision},
        device_pass::{AdamStep, DevicePass, Enqueued, Step},
        parameters::Parameters,
        scope::Scope,
    },
};

/// Steps between two marks on the device, and how many marks the host may be ahead: enough that the device never waits for
/// work, few enough that a training which is to stop does so soon.
const MARK_EVERY: usize = 16;
const MARKS: usize = 4;

/// What a plan is made of: consecutive steps of an epoch.
pub struct Plan<'a> {
    pub data: &'a Dataset,
    pub epoch: usize,
    /// Training samples in the order in which the steps see them.
    pub order: &'a [u32],
    /// Samples of each step, and how it is taken.
    pub steps: Vec<(usize, Update)>,
}

/// Steps whose data lie on the device.
struct Planned {
    /// The images, as an index of residents.
    images: usize,
    order: Vec<u32>,
    epoch: usize,
    steps: Vec<(usize, Update)>,
    /// The step that is enqueued next, and its first sample in the order.
    next: usize,
    first: usize,
    /// Steps before `next` whose outcome was fetched.
    settled: usize,
}

/// What steps read and write on the device beside the network.
struct Room {
    order: Buffer<u32>,
    factors: Buffer<f32>,
    metrics: Buffer<f64>,
    cursor: Buffer<i32>,
    shift: Buffer<u64>,
}

pub struct OnDevice {
    gpu: Arc<Gpu>,
    pass: DevicePass,
    network: Network,
    constants: Constants,
    weight_decay: f64,
    seed: u64,
    largest_shift: usize,
    /// Sets of images that are on the device, by where they stand in this process.
    residents: Vec<((usize, usize), Resident)>,
    room: Room,
    plan: Planned,
    /// Steps by their images, as an index of residents, their number of samples, and what they compute and train.
    graphs: BTreeMap<(usize, usize, Scope), CudaGraph>,
    /// Outcomes of plans that others have replaced.
    outcomes: Vec<StepOutcome>,
    /// Recorded before the first step that is waited for.
    begun: Option<CudaEvent>,
    marks: VecDeque<CudaEvent>,
    /// Whether weights and moments have moved since they were last on the host.
    is_ahead: bool,
}

/// What a pass is made from.
struct Network {
    model: ModelConfig,
    precision: Precision,
    device: Device,
    /// Routing iterations of a step, at most.
    iterations: usize,
}

impl Room {
    fn new(gpu: &Gpu, samples: usize, steps: usize) -> Result<Room> {
        Ok(Room {
            order: gpu.zeros(samples)?,
            factors: gpu.zeros(FACTORS * steps)?,
            metrics: gpu.zeros(2 * steps)?,
            cursor: gpu.zeros(2)?,
            shift: gpu.zeros(2)?,
        })
    }
}

impl OnDevice {
    /// The network of `parameters` in training on `device`, in steps of up to `most`; those of more samples are taken, too, with a
    /// time in which two passes are in memory.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        model: &ModelConfig,
        precision: Precision,
        data: &Dataset,
        parameters: &Parameters,
        optimizer: &Optimizer,
        device: &Device,
        seed: u64,
        largest_shift: usize,
        most: Most,
    ) -> Result<OnDevice> {
        let Rule::Adam { constants, weight_decay } = optimizer.rule() else {
            bail!("no steps by {:?} on a GPU", optimizer.rule())
        };
        let gpu = Gpu::of(device)?;
        let Most { samples, iterations } = most;
        let network = Network { model: model.clone(), precision, device: device.clone(), iterations };
        let mut pass = network.pass(data, parameters, samples.max(evaluate::BATCH))?;
        pass.push(parameters, &optimizer.view().1)?;
        Ok(OnDevice {
            room: Room::new(&gpu, 1, 1)?,
            gpu,
            pass,
            network,
            constants,
            weight_decay,
            seed,
            largest_shift,
            residents: Vec::new(),
            plan: Planned { images: 0, order: vec![], epoch: 0, steps: vec![], next: 0, first: 0, settled: 0 },
            graphs: BTreeMap::new(),
            outcomes: Vec::new(),
            begun: None,
            marks: VecDeque::new(),
            is_ahead: false,
        })
    }

    /// Puts the steps of `plan`, which follow those taken so far, on the device.
    pub fn prepare(&mut self, plan: Plan, parameters: &Parameters, optimizer: &Optimizer) -> Result<()> {
        self.fetch()?;
        let Plan { data, epoch, order, steps } = plan;
        // What steps read by the cursor.
        let samples: usize = steps.iter().map(|step| step.0).sum();
        ensure!(samples <= order.len(), "steps of {samples} samples, in an order of {}", order.len());
        let images = data.train.len();
        ensure!(
            order.iter().all(|index| (*index as usize) < images),
            "an order of images beyond the {images} there are"
        );
        self.make_room(order.len(), steps.len(), data, &steps, parameters, optimizer)?;
        let factors = steps.iter().zip(optimizer.steps() + 1..).flat_map(|((_, update), t)| {
            let rate = update.learning_rate;
            step_factors(self.constants.factors(t, rate).decaying(rate, self.weight_decay))
        });
        let factors: Vec<f32> = factors.collect();
        let Room { order: on_device, factors: factors_on_device, shift, .. } = &mut self.room;
        on_device.fill_from(&self.gpu, order)?;
        factors_on_device.fill_from(&self.gpu, &factors)?;
        shift.fill_from(&self.gpu, &[self.seed, epoch as u64])?;
        let images = self.resident(&data.train)?;
        let kinds: Vec<(usize, Scope)> = steps.iter().map(|(samples, update)| (*samples, update.scope)).collect();
        self.plan = Planned { images, order: order.to_vec(), epoch, steps, next: 0, first: 0, settled: 0 };
        for (size, scope) in kinds {
            self.capture(images, size, scope)?;
        }
        self.room.cursor.fill_from(&self.gpu, &[0, 0])?;
        Ok(())
    }

    /// Enqueues a step on the training samples `indices`: the next of the plan, or else one of a plan of its own.
    pub fn enqueue(
        &mut self,
        data: &Dataset,
        indices: &[u32],
        epoch: usize,
        update: Update,
        parameters: &Parameters,
        optimizer: &mut Optimizer,
    ) -> Result<()> {
        self.plan_for(data, indices, epoch, update, parameters, optimizer)?;
        if self.begun.is_none() {
            self.begun = Some(self.event()?);
        }
        self.graphs[&(self.plan.images, indices.len(), update.scope)].launch().w()?;
        self.advance(optimizer, update);
        if self.plan.next.is_multiple_of(MARK_EVERY) {
            self.marks.push_back(self.gpu.stream().record_event(Some(WAITED_FOR)).w()?);
            if self.marks.len() > MARKS
                && let Some(mark) = self.marks.pop_front()
            {
                mark.synchronize().w()?;
            }
        }
        Ok(())
    }

    /// Takes a step on its own, with the time of its parts.
    #[allow(clippy::too_many_arguments)]
    pub fn step_in_parts(
        &mut self,
        data: &Dataset,
        indices: &[u32],
        epoch: usize,
        update: Update,
        laps: &mut Laps,
        parameters: &Parameters,
        optimizer: &mut Optimizer,
    ) -> Result<StepOutcome> {
        self.plan_for(data, indices, epoch, update, parameters, optimizer)?;
        self.fetch()?;
        // Parts are to be enqueued faster than they are done: else the device's waits for the host would be their times.
        self.gpu.occupy()?;
        let begun = self.event()?;
        let mut ends = Vec::new();
        let source = self.source(&self.residents[self.plan.images].1);
        let step = Step { source, metrics: &self.room.metrics, scope: update.scope };
        let adam = AdamStep { constants: self.constants, factors: &self.room.factors };
        let mut enqueued = |part| {
            ends.push((part, self.gpu.stream().record_event(Some(TIMED)).w()?));
            Ok(())
        };
        // SAFETY: this is the next step of the plan, and there the cursor stands: order, factors and metrics are of all steps of it.
        unsafe { self.pass.step(indices.len(), step, Some(adam), &mut enqueued)? };
        self.gpu.synchronize()?;
        laps.begin();
        let mut before = &begun;
        for (part, end) in &ends {
            laps.add(part_of(*part), seconds_between(before, end)?);
            before = end;
        }
        let duration = seconds_between(&begun, before)?;
        self.advance(optimizer, update);
        self.fetch()?;
        let outcome = self.outcomes.pop().context("a step without an outcome")?;
        Ok(StepOutcome { duration, ..outcome })
    }

    /// Waits for all steps that were enqueued; gives what they did, since the last call.
    pub fn settle(&mut self) -> Result<Vec<StepOutcome>> {
        self.fetch()?;
        Ok(std::mem::take(&mut self.outcomes))
    }

    /// Losses and right samples of `images` by the present weights.
    pub fn evaluate(&mut self, images: &Images) -> Result<(f64, usize)> {
        self.fetch()?;
        let resident = self.resident(images)?;
        let batches: Vec<usize> = evaluate::batches(images.len()).map(|(_, count)| count).collect();
        let cursor = self.gpu.zeros(2)?;
        let metrics = self.gpu.zeros(2 * batches.len())?;
        let source = Source {
            images: &self.residents[resident].1,
            order: None,
            cursor: &cursor,
            shift: &self.room.shift,
            largest_shift: 0,
        };
        for &count in &batches {
            // SAFETY: the cursor begins at 0 and moves by each batch; together they are the images, and each has its metrics.
            unsafe { self.pass.evaluate(count, Step { source, metrics: &metrics, scope: Scope::default() })? };
        }
        let metrics = metrics.download(&self.gpu)?;
        let each = metrics.chunks_exact(2).zip(&batches);
        Ok(each.fold((0., 0), |(loss, correct), (metrics, &count)| {
            (loss + metrics[0] * count as f64, correct + metrics[1] as usize)
        }))
    }

    /// Brings weights and moments to the host, if they moved there since.
    pub fn pull(&mut self, parameters: &Parameters, optimizer: &Optimizer) -> Result<()> {
        if self.is_ahead {
            self.pass.pull(parameters, Some(&optimizer.view().1))?;
            self.is_ahead = false;
        }
        Ok(())
    }

    /// Takes weights and moments from the host.
    pub fn push(&mut self, parameters: &Parameters, optimizer: &Optimizer) -> Result<()> {
        self.fetch()?;
        self.pass.push(parameters, &optimizer.view().1)?;
        self.is_ahead = false;
        Ok(())
    }

    /// Makes sure that the next step of the plan is this one.
    fn plan_for(
        &mut self,
        data: &Dataset,
        indices: &[u32],
        epoch: usize,
        update: Update,
        parameters: &Parameters,
        optimizer: &Optimizer,
    ) -> Result<()> {
        let images = self.resident(&data.train)?;
        let plan = &self.plan;
        let is_next = plan.images == images
            && plan.epoch == epoch
            && plan.steps.get(plan.next) == Some(&(indices.len(), update))
            && plan.order.get(plan.first..plan.first + indices.len()) == Some(indices);
        if is_next {
            return Ok(());
        }
        let steps = vec![(indices.len(), update)];
        self.prepare(Plan { data, epoch, order: indices, steps }, parameters, optimizer)
    }

    /// A step of the plan was enqueued.
    fn advance(&mut self, optimizer: &mut Optimizer, update: Update) {
        optimizer.begin(update.learning_rate);
        self.plan.first += self.plan.steps[self.plan.next].0;
        self.plan.next += 1;
        self.is_ahead = true;
    }

    /// Fetches the outcomes of the steps of the plan that were enqueued since the last time.
    fn fetch(&mut self) -> Result<()> {
        let count = self.plan.next - self.plan.settled;
        if count == 0 {
            return Ok(());
        }
        let end = self.event()?;
        let metrics = self.room.metrics.download(&self.gpu)?;
        let duration = match self.begun.take() {
            Some(begun) => seconds_between(&begun, &end)?,
            None => Duration::ZERO,
        };
        self.marks.clear();
        let metrics = metrics.chunks_exact(2).skip(self.plan.settled).take(count);
        self.outcomes.extend(metrics.map(|metrics| StepOutcome {
            loss: metrics[0],
            correct: metrics[1] as usize,
            duration: duration / count as u32,
        }));
        self.plan.settled = self.plan.next;
        Ok(())
    }

    /// Room for a plan; what was captured with less room is captured anew.
    fn make_room(
        &mut self,
        samples: usize,
        steps: usize,
        data: &Dataset,
        sizes: &[(usize, Update)],
        parameters: &Parameters,
        optimizer: &Optimizer,
    ) -> Result<()> {
        let largest = sizes.iter().map(|step| step.0).max().unwrap_or(0);
        if largest > self.pass.most() {
            self.graphs.clear();
            self.pull(parameters, optimizer)?;
            let mut pass = self.network.pass(data, parameters, largest)?;
            pass.push(parameters, &optimizer.view().1)?;
            self.pass = pass;
        }
        if samples > self.room.order.len() || FACTORS * steps > self.room.factors.len() {
            self.graphs.clear();
            let (known_samples, known_steps) = (self.room.order.len(), self.room.factors.len() / FACTORS);
            self.room = Room::new(&self.gpu, samples.max(known_samples), steps.max(known_steps))?;
        }
        Ok(())
    }

    /// Captures a step of `size` samples within `scope`, unless it was: after a rehearsal that loads all kernels and moves no weights.
    fn capture(&mut self, images: usize, size: usize, scope: Scope) -> Result<()> {
        if self.graphs.contains_key(&(images, size, scope)) {
            return Ok(());
        }
        self.room.cursor.clear(&self.gpu)?;
        let (pass, room) = (&self.pass, &self.room);
        let step = Step { source: self.source(&self.residents[images].1), metrics: &room.metrics, scope };
        let adam = AdamStep { constants: self.constants, factors: &room.factors };
        // SAFETY: the cursor stands at 0, where there are factors and metrics of a step, and no step has more samples than the order.
        unsafe {
            pass.rehearse(adam, &room.cursor)?;
            pass.step(size, step, None, &mut |_| Ok(()))?;
        }
        self.gpu.synchronize()?;
        let stream = self.gpu.stream();
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).w()?;
        // SAFETY: the graph is launched as the next step of a plan alone, which is where the cursor stands. What it was captured with
        // stays as long as it does: `make_room` drops all graphs before it puts another pass or other room in its place, and
        // residents stay.
        let enqueued = unsafe { pass.step(size, step, Some(adam), &mut |_| Ok(())) };
        // A capture that failed has to be ended too.
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        enqueued?;
        let graph = graph.w()?.context("a step without a launch")?;
        graph.upload().w()?;
        self.graphs.insert((images, size, scope), graph);
        Ok(())
    }

    /// Where the images are among the residents, which they are by then.
    fn resident(&mut self, images: &Images) -> Result<usize> {
        let key = (images.pixels.as_ptr() as usize, images.pixels.len());
        if let Some(index) = self.residents.iter().position(|(known, _)| *known == key) {
            return Ok(index);
        }
        self.residents.push((key, Resident::new(&self.gpu, &images.pixels, &images.labels)?));
        Ok(self.residents.len() - 1)
    }

    fn source<'a>(&'a self, images: &'a Resident) -> Source<'a> {
        let Room { order, cursor, shift, .. } = &self.room;
        Source { images, order: Some(order), cursor, shift, largest_shift: self.largest_shift }
    }

    fn event(&self) -> Result<CudaEvent> {
        Ok(self.gpu.stream().record_event(Some(TIMED)).w()?)
    }
}

/// An event that knows its time.
const TIMED: sys::CUevent_flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
/// One that the host sleeps for, rather than ask again and again on a core that others need.
const WAITED_FOR: sys::CUevent_flags = sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC;

fn seconds_between(begin: &CudaEvent, end: &CudaEvent) -> Result<Duration> {
    Ok(Duration::from_secs_f64(f64::from(begin.elapsed_ms(end).w()?.max(0.)) / 1e3))
}

fn part_of(enqueued: Enqueued) -> Part {
    match enqueued {
        Enqueued::Batch => Part::Batch,
        Enqueued::Stage(stage) => Part::Pass(stage),
        Enqueued::Passes => Part::Graph,
        Enqueued::Optimizer => Part::Optimizer,
    }
}

impl Network {
    fn pass(&self, data: &Dataset, parameters: &Parameters, most: usize) -> Result<DevicePass> {
        let Network { model, precision, device, iterations } = self;
        let most = Most { samples: most, iterations: *iterations };
        Ok(DevicePass::new(model, data.shape, data.classes, parameters, device, *precision, most)?)
    }
}
