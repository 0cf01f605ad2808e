//! The average of weights by which a network may be judged instead of its last weights: an exponential moving one (Polyak and
//! Juditsky 1992 average them all alike), or the one that Schedule-Free steps keep among their moments.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var, bail};
use rayon::prelude::*;

use super::{
    lanes::vectorised,
    options::average_decay,
    real::Real,
    storage::{InPlace, for_real, threads},
};

/// Values that a thread takes at a time.
const CHUNK: usize = 1 << 14;

/// An average of variables on the CPU.
pub struct Average {
    kind: Kind,
    averaged: Vec<Averaged>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// After step t, `a = a + (1−d)·(θ − a)` with d of [`average_decay`].
    Moving { decay: f64 },
    /// An optimizer finds it when it is asked for.
    Found,
}

/// One variable and its average.
struct Averaged {
    name: String,
    var: Var,
    average: Tensor,
    in_place: [InPlace; 2],
}

impl Average {
    /// A moving average of `vars` that is what they are now.
    pub fn new(vars: Vec<(String, Var)>, decay: f64) -> Result<Self> {
        Average::of(vars, Kind::Moving { decay })
    }

    /// The average of `vars` that [`super::Optimizer::find`] finds; up to then it is what they are now.
    pub fn found(vars: Vec<(String, Var)>) -> Result<Self> {
        Average::of(vars, Kind::Found)
    }

    fn of(vars: Vec<(String, Var)>, kind: Kind) -> Result<Self> {
        let averaged = |(name, var): (String, Var)| {
            let average = var.as_detached_tensor().copy()?.contiguous()?;
            let in_place = [InPlace::of(&var)?, InPlace::of(&average)?];
            Ok(Averaged { name, var, average, in_place })
        };
        Ok(Average { kind, averaged: vars.into_iter().map(averaged).collect::<Result<_>>()? })
    }

    /// Whether it is kept from step to step, which takes time in each and room in a checkpoint.
    pub fn is_kept(&self) -> bool {
        matches!(self.kind, Kind::Moving { .. })
    }

    /// Takes the variables in after step `t`, counted from 1, if it is kept.
    pub fn step(&mut self, t: u64) -> Result<()> {
        match self.kind {
            Kind::Moving { decay } => self.each(Task::Approach(1. - average_decay(decay, t))),
            Kind::Found => Ok(()),
        }
    }

    /// The average of the variable `name` becomes `θ + share·(θ − z)`; `moments` begin with its z.
    pub(super) fn find(&mut self, name: &str, moments: &InPlace, share: f64) -> Result<()> {
        let Some(Averaged { var, in_place: [theta, average], .. }) = self.averaged.iter().find(|of| of.name == name)
        else {
            bail!("no average of the variable {name}")
        };
        for_real!(var.dtype(), T => {
            theta.with(|theta: &mut [T]| average.with(|average: &mut [T]| {
                moments.with(|moments: &mut [T]| extrapolate(average, theta, &moments[..theta.len()], share))
            }))???
        });
        Ok(())
    }

    /// Puts the average in the place of the variables, and these in the place of the average; the same again undoes it.
    pub fn swap(&mut self) -> Result<()> {
        self.each(Task::Swap)
    }

    /// Begins anew: the average is what the variables are now.
    pub fn reset(&mut self) -> Result<()> {
        self.each(Task::Copy)
    }

    /// The average by variable, which the next step changes.
    pub fn view(&self) -> BTreeMap<String, Tensor> {
        self.averaged.iter().map(|of| (of.name.clone(), of.average.clone())).collect()
    }

    /// Does something with each variable's values and their average.
    fn each(&mut self, task: Task) -> Result<()> {
        for Averaged { var, in_place: [theta, average], .. } in &self.averaged {
            for_real!(var.dtype(), T => {
                theta.with(|theta: &mut [T]| average.with(|average: &mut [T]| task.of(theta, average)))??
            });
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Task {
    /// The average goes this share of the way to the values.
    Approach(f64),
    Swap,
    Copy,
}

impl Task {
    /// Each value by itself, on all threads.
    fn of<T: Real>(self, theta: &mut [T], average: &mut [T]) {
        if theta.len() <= CHUNK || threads() == 1 {
            return self.of_chunk(theta, average);
        }
        let chunks = theta.par_chunks_mut(CHUNK).zip(average.par_chunks_mut(CHUNK));
        chunks.for_each(|(theta, average)| self.of_chunk(theta, average));
    }

    fn of_chunk<T: Real>(self, theta: &mut [T], average: &mut [T]) {
        match self {
            Task::Approach(share) => approach(average, theta, T::from_f64(share)),
            Task::Swap => theta.swap_with_slice(average),
            Task::Copy => average.copy_from_slice(theta),
        }
    }
}

/// On all threads, each value by itself.
fn extrapolate<T: Real>(average: &mut [T], theta: &[T], z: &[T], share: f64) {
    let share = T::from_f64(share);
    let task = |((average, theta), z): ((&mut [T], &[T]), &[T])| {
        vectorised!(|| {
            for ((average, &theta), &z) in average.iter_mut().zip(theta).zip(z) {
                *average = theta + share * (theta - z);
            }
        });
    };
    if theta.len() <= CHUNK || threads() == 1 {
        return task(((average, theta), z));
    }
    average.par_chunks_mut(CHUNK).zip(theta.par_chunks(CHUNK)).zip(z.par_chunks(CHUNK)).for_each(task);
}

fn approach<T: Real>(average: &mut [T], theta: &[T], share: T) {
    vectorised!(|| {
        for (average, &theta) in average.iter_mut().zip(theta) {
            *average += share * (theta - *average);
        }
    });
}
