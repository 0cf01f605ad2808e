//! Where the time of a step goes.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use candle_core::Result;

use crate::learn::{
    kernels::{Optimizer, Weight},
    model::pass::{Gradients, Stage},
};

/// A part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Copying, shifting and scaling the images of the batch.
    Batch,
    Pass(Stage),
    /// Both passes of a network that is trained through candle's graph.
    Graph,
    /// The optimizer, which takes each gradient while its stage goes on.
    Optimizer,
    /// The average of the weights, where there is one.
    Average,
}

impl Part {
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Batch => "batch",
            Part::Pass(Stage::Conv1) => "conv1",
            Part::Pass(Stage::PrimaryCapsules) => "primary-capsules",
            Part::Pass(Stage::ClassCapsules) => "class-capsules",
            Part::Pass(Stage::Decoder) => "decoder",
            Part::Pass(Stage::Loss) => "loss",
            Part::Pass(Stage::DecoderBackward) => "decoder-backward",
            Part::Pass(Stage::ClassCapsulesBackward) => "class-capsules-backward",
            Part::Pass(Stage::PrimaryCapsulesBackward) => "primary-capsules-backward",
            Part::Pass(Stage::Conv1Backward) => "conv1-backward",
            Part::Graph => "graph",
            Part::Optimizer => "optimizer",
            Part::Average => "average",
        }
    }
}

/// A stopwatch for the parts of steps.
#[derive(Debug)]
pub struct Laps {
    since: Instant,
    /// Of a stage that the optimizer has interrupted.
    pending: Duration,
    laps: Vec<(Part, Duration)>,
}

impl Default for Laps {
    fn default() -> Self {
        Laps { since: Instant::now(), pending: Duration::ZERO, laps: Vec::new() }
    }
}

impl Laps {
    /// A step begins.
    pub fn begin(&mut self) {
        self.laps.clear();
        self.pending = Duration::ZERO;
        self.lap();
    }

    /// The parts of the last step in the order in which they first ended, each once, and what they took.
    pub fn parts(&self) -> &[(Part, Duration)] {
        &self.laps
    }

    /// A part took `time`.
    pub(super) fn add(&mut self, part: Part, time: Duration) {
        match self.laps.iter_mut().find(|(known, _)| *known == part) {
            Some((_, sum)) => *sum += time,
            None => self.laps.push((part, time)),
        }
    }

    /// Time since the last call.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.since, now)
    }

    fn interrupt(&mut self) {
        let time = self.lap();
        self.pending += time;
    }

    pub(super) fn end(&mut self, part: Part) {
        let mut time = self.lap();
        if part != Part::Optimizer {
            time += std::mem::take(&mut self.pending);
        }
        self.add(part, time);
    }
}

/// An optimizer whose time is taken, and that of the stages that call it.
pub(super) struct Watched<'a> {
    pub(super) optimizer: &'a mut Optimizer,
    pub(super) laps: &'a mut Laps,
}

impl Gradients<f32> for Watched<'_> {
    fn lend(&mut self, index: usize, task: &mut dyn FnMut(&mut dyn Weight<f32>)) -> Result<()> {
        let laps = &mut *self.laps;
        self.optimizer.lend(index, &mut |weight| {
            task(&mut WatchedWeight { weight, laps });
            laps.interrupt();
        })?;
        // What moves once its gradient is whole.
        self.laps.end(Part::Optimizer);
        Ok(())
    }

    fn ended(&mut self, stage: Stage) {
        self.laps.end(Part::Pass(stage));
    }
}

struct WatchedWeight<'a> {
    weight: &'a mut dyn Weight<f32>,
    laps: &'a mut Laps,
}

impl Weight<f32> for WatchedWeight<'_> {
    fn values(&self) -> &[f32] {
        self.weight.values()
    }

    fn gradient(&mut self, rows: Range<usize>, columns: Range<usize>, block: &[f32]) {
        self.laps.interrupt();
        self.weight.gradient(rows, columns, block);
        self.laps.end(Part::Optimizer);
    }

    fn whole(&mut self, gradient: &[f32]) {
        self.laps.interrupt();
        self.weight.whole(gradient);
        self.laps.end(Part::Optimizer);
    }
}
