//! The learning-rate range test: a short training whose rate grows from step to step (Smith 2017).

use anyhow::Result;
use candle_core::Device;

use super::{Trainer, Update};
use crate::{
    analysis::range_test,
    learn::{
        config::TrialConfig,
        data::{Dataset, batch::epoch_order},
        schedule::Progress,
    },
};

/// The test ends when the smoothed loss is this many times its least.
const BLOWN_UP: f64 = 4.0;
/// Weight of the past in the smoothed loss that ends the test.
const MEMORY: f64 = 0.9;

/// One step of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RangePoint {
    pub learning_rate: f64,
    /// Of the batch, before the step.
    pub loss: f64,
}

/// Takes up to `steps` steps of `config` as its schedule begins, in batch size and in what they compute and train, at the rates of [`range_test::rate`], and ends early
/// where the loss blows up. `observe` is called after each step.
pub fn run(
    config: &TrialConfig,
    data: &Dataset,
    device: &Device,
    steps: usize,
    observe: &mut dyn FnMut(usize, RangePoint),
) -> Result<Vec<RangePoint>> {
    let mut trainer = Trainer::new(config, data, device)?;
    let mut points = Vec::with_capacity(steps);
    let (mut smooth, mut least) = (0.0, f64::INFINITY);
    let start = Progress { epoch: 0.0, epochs: 1.0 };
    let batch = config.schedule.batch_size(start);
    let (mut epoch, mut position) = (0, 0);
    let mut order = epoch_order(data.train.len(), config.seed, epoch);
    for step in 0..steps {
        if position >= order.len() {
            epoch += 1;
            position = 0;
            order = epoch_order(data.train.len(), config.seed, epoch);
        }
        let end = (position + batch).min(order.len());
        let learning_rate = range_test::rate(step);
        let update = Update { learning_rate, scope: config.schedule.scope(start, step) };
        let loss = trainer.step(data, &order[position..end], epoch, update)?.loss;
        position = end;
        if !loss.is_finite() {
            break;
        }
        let point = RangePoint { learning_rate, loss };
        points.push(point);
        observe(step, point);
        smooth = MEMORY * smooth + (1.0 - MEMORY) * loss;
        let unbiased = smooth / (1.0 - MEMORY.powi(step as i32 + 1));
        least = least.min(unbiased);
        if unbiased > BLOWN_UP * least {
            break;
        }
    }
    Ok(points)
}
