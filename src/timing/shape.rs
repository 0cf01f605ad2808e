//! Kinds of steps: what the time of a step depends on, and how many steps of each kind a training takes.
//!
//! A training's time is the sum over its steps, and a step's depends on its [`Shape`] alone: so a few shapes, timed well,
//! give the times of many trainings.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::{Deserialize, Serialize};

use crate::{
    base::seal,
    learn::{
        config::{OptimizerKind, TrainConfig, TrialConfig},
        data::DataConfig,
        model::{
            config::{ModelConfig, Precision},
            scope::Scope,
        },
    },
};

/// What the time of a step depends on, within one study and on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// With as many routing iterations as the step takes.
    pub model: ModelConfig,
    /// Largest shift of the images, in pixels.
    pub shift: usize,
    /// Samples of the step.
    pub samples: usize,
    /// What products are computed in.
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
    /// What moves the weights.
    #[serde(default, skip_serializing_if = "OptimizerKind::is_adam")]
    pub optimizer: OptimizerKind,
    /// Whether the step goes on to average them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_averaged: bool,
    /// What the step leaves out of its passes, and what it does not train.
    #[serde(default, skip_serializing_if = "Scope::is_whole")]
    pub scope: Scope,
}

impl Shape {
    /// Hash of the shape.
    pub fn id(&self) -> String {
        // Numbers and strings: what JSON can hold.
        seal::checksum(serde_json::to_string(self).expect("a shape is JSON").as_bytes())
    }

    /// Of a training's steps of so many samples that compute and train so much.
    fn of(config: &TrialConfig, samples: usize, scope: Scope) -> Shape {
        // Every field by its name: one that is added must be placed among those that a step's time depends on, or the others.
        let TrialConfig { seed: _, data, model, schedule: _, train } = config;
        let TrainConfig { epochs: _, beta1: _, beta2: _, epsilon: _, precision, optimizer, ema } = *train;
        // One study has one data set, and a part of it has steps like the whole.
        let DataConfig { name: _, train_samples: _, test_samples: _, validation_fraction: _, seed: _, shift } = *data;
        // Whatever their constants are, they take as long.
        let (optimizer, is_averaged) = (optimizer.kind(), ema.is_some());
        let (mut model, Scope { iterations, skips_decoder, frozen }) = (model.clone(), scope);
        // A step with another number of iterations is one of the network that has that number.
        if let (ModelConfig::Capsnet(model), Some(iterations)) = (&mut model, iterations) {
            model.routing_iterations = iterations;
        }
        let scope = Scope { iterations: None, skips_decoder, frozen };
        Shape { model, shift, samples, precision, optimizer, is_averaged, scope }
    }

    /// What a step of a training of `config` computes and trains that has this shape.
    pub fn scope_in(&self, config: &TrialConfig) -> Scope {
        let iterations = match (&self.model, &config.model) {
            (ModelConfig::Capsnet(step), ModelConfig::Capsnet(own)) => {
                Some(step.routing_iterations).filter(|iterations| *iterations != own.routing_iterations)
            }
            _ => None,
        };
        Scope { iterations, ..self.scope }
    }
}

/// The steps of the first `stop` epochs of a training: each shape, and how many steps have it, by number of samples.
pub fn steps_of(config: &TrialConfig, stop: usize) -> Vec<(Shape, u64)> {
    let steps = config.schedule.steps_by_kind(stop, config.train.epochs, config.data.counts().train);
    steps.into_iter().map(|((samples, scope), count)| (Shape::of(config, samples, scope), count)).collect()
}

/// What trainings have in common that take the very same steps, as many of each shape: a number for comparing within one run of
/// the program.
pub fn steps_hash(config: &TrialConfig) -> u64 {
    let mut steps: BTreeMap<String, u64> = BTreeMap::new();
    for (shape, count) in steps_of(config, config.train.epochs) {
        *steps.entry(shape.id()).or_default() += count;
    }
    let mut hasher = DefaultHasher::new();
    steps.hash(&mut hasher);
    hasher.finish()
}

/// The shapes of the steps of some trainings by their ids, each with one that has it.
pub fn shapes<'a>(configs: &[&'a TrialConfig]) -> BTreeMap<String, (Shape, &'a TrialConfig)> {
    let mut shapes = BTreeMap::new();
    for config in configs {
        for (shape, _) in steps_of(config, config.train.epochs) {
            shapes.entry(shape.id()).or_insert((shape, *config));
        }
    }
    shapes
}
