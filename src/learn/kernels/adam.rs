//! The Adam optimizer (Kingma and Ba 2015), one fused pass per variable.

use std::{collections::BTreeMap, ops::Range};

use candle_core::{Result, Tensor, Var, backprop::GradStore};
use rayon::prelude::*;

pub use super::options::{Constants, Factors};
use super::{
    lanes::vectorised,
    real::Real,
    reference,
    storage::{InPlace, for_real, is_fast, is_worth_waking, threads, with_values},
    weight::Weight,
};

/// Adam as PyTorch has it, without weight decay. At step t, with gradient g:
/// `m = β₁m + (1−β₁)g`, `v = β₂v + (1−β₂)g²`, `θ −= lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)`.
pub struct Adam {
    constants: Constants,
    steps: u64,
    /// Of the present step.
    factors: Factors,
    trained: Vec<Trained>,
}

/// One variable and its moments m and v, stacked: `[2, ..shape]`.
struct Trained {
    name: String,
    var: Var,
    moments: Tensor,
    theta_in_place: InPlace,
    moments_in_place: InPlace,
}

impl Adam {
    /// An optimizer of `vars`, whose moments are 0.
    pub fn new(vars: Vec<(String, Var)>, constants: Constants) -> Result<Self> {
        let train = |(name, var): (String, Var)| {
            let moments = Tensor::stack(&[var.zeros_like()?, var.zeros_like()?], 0)?.contiguous()?.detach();
            Trained::new(name, var, moments)
        };
        Ok(Adam {
            constants,
            steps: 0,
            factors: constants.factors(1, 0.),
            trained: vars.into_iter().map(train).collect::<Result<_>>()?,
        })
    }

    pub fn constants(&self) -> Constants {
        self.constants
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Begins a step in which [`Adam::lend`] moves the variables one by one.
    pub fn begin(&mut self, learning_rate: f64) {
        self.steps += 1;
        self.factors = self.constants.factors(self.steps, learning_rate);
    }

    /// Lends the variable at `index` of those this optimizer was made for, on the CPU and of type T, to `task`, which hands in its
    /// gradient: the variable moves block by block.
    pub fn lend<T: Real>(&mut self, index: usize, task: &mut dyn FnMut(&mut dyn Weight<T>)) -> Result<()> {
        self.trained[index].lend(self.factors, task)
    }

    /// Moves every variable that has a gradient in `grads`. One without (its value does not reach the loss) keeps its value
    /// and its moments.
    pub fn step(&mut self, grads: &GradStore, learning_rate: f64) -> Result<()> {
        self.begin(learning_rate);
        let factors = self.factors;
        for trained in &mut self.trained {
            let Trained { var, moments, .. } = &*trained;
            let Some(grad) = grads.get(var) else { continue };
            let grad = grad.contiguous()?;
            if var.device().is_cpu() && is_fast(var) {
                for_real!(var.dtype(), T => with_values(&grad, |grad: &[T]| {
                    trained.lend(factors, &mut |weight| weight.whole(grad))
                })??);
            } else {
                let (m, v) = (moments.get(0)?, moments.get(1)?);
                let (theta, m, v) = reference::adam_step(&var.as_detached_tensor(), &grad, &m, &v, factors)?;
                var.set(&theta)?;
                trained.set_moments(Tensor::stack(&[m, v], 0)?)?;
            }
        }
        Ok(())
    }

    /// What a checkpoint needs besides the variables: the steps taken, and the moments `[2, ..shape]` (m, v) by variable, which
    /// the next step changes.
    pub fn view(&self) -> (u64, BTreeMap<String, Tensor>) {
        (self.steps, self.trained.iter().map(|trained| (trained.name.clone(), trained.moments.clone())).collect())
    }

    /// Goes on after `steps` steps, whose moments stand in the tensors of [`Adam::view`] by now.
    pub fn go_on_after(&mut self, steps: u64) {
        self.steps = steps;
    }
}

impl Trained {
    fn new(name: String, var: Var, moments: Tensor) -> Result<Self> {
        let [theta_in_place, moments_in_place] = [InPlace::of(&var)?, InPlace::of(&moments)?];
        Ok(Trained { name, var, moments, theta_in_place, moments_in_place })
    }

    fn set_moments(&mut self, moments: Tensor) -> Result<()> {
        self.moments_in_place = InPlace::of(&moments)?;
        self.moments = moments;
        Ok(())
    }

    fn lend<T: Real>(&self, factors: Factors, task: &mut dyn FnMut(&mut dyn Weight<T>)) -> Result<()> {
        let columns = self.var.elem_count() / self.var.dims().first().copied().unwrap_or(1).max(1);
        self.theta_in_place.with(|theta: &mut [T]| {
            self.moments_in_place.with(|moments: &mut [T]| {
                let (m, v) = moments.split_at_mut(theta.len());
                task(&mut Moving { theta, m, v, columns, factors });
            })
        })?
    }
}

/// A variable on loan for one step: it moves as its gradient arrives.
struct Moving<'a, T> {
    theta: &'a mut [T],
    m: &'a mut [T],
    v: &'a mut [T],
    /// Of the variable seen as a matrix.
    columns: usize,
    factors: Factors,
}

impl<T: Real> Weight<T> for Moving<'_, T> {
    fn values(&self) -> &[T] {
        self.theta
    }

    fn whole(&mut self, gradient: &[T]) {
        assert_eq!(gradient.len(), self.theta.len(), "values of a gradient");
        update_together(self.theta, self.m, self.v, gradient, self.factors);
    }

    fn gradient(&mut self, rows: Range<usize>, columns: Range<usize>, block: &[T]) {
        let (width, factors) = (columns.len(), self.factors);
        assert_eq!(block.len(), rows.len() * width, "values of a block of a gradient");
        let within = rows.start * self.columns..rows.end * self.columns;
        let (theta, m, v) = (&mut self.theta[within.clone()], &mut self.m[within.clone()], &mut self.v[within]);
        if width == self.columns {
            return update_together(theta, m, v, block, factors);
        }
        let row = |theta: &mut [T], m: &mut [T], v: &mut [T], gradient: &[T]| {
            let columns = columns.clone();
            update(&mut theta[columns.clone()], &mut m[columns.clone()], &mut v[columns], gradient, factors);
        };
        let n = self.columns;
        if is_worth_waking(block.len()) {
            (theta.par_chunks_mut(n), m.par_chunks_mut(n), v.par_chunks_mut(n), block.par_chunks(width))
                .into_par_iter()
                .for_each(|(theta, m, v, gradient)| row(theta, m, v, gradient));
        } else {
            let each = theta.chunks_mut(n).zip(m.chunks_mut(n)).zip(v.chunks_mut(n)).zip(block.chunks(width));
            each.for_each(|(((theta, m), v), gradient)| row(theta, m, v, gradient));
        }
    }
}

/// [`update`] of values that follow one another, on all threads.
fn update_together<T: Real>(theta: &mut [T], m: &mut [T], v: &mut [T], grad: &[T], factors: Factors) {
    const CHUNK: usize = 1 << 14;
    if theta.len() <= CHUNK || threads() == 1 {
        return update(theta, m, v, grad, factors);
    }
    (theta.par_chunks_mut(CHUNK), m.par_chunks_mut(CHUNK), v.par_chunks_mut(CHUNK), grad.par_chunks(CHUNK))
        .into_par_iter()
        .for_each(|(theta, m, v, grad)| update(theta, m, v, grad, factors));
}

fn update<T: Real>(theta: &mut [T], m: &mut [T], v: &mut [T], grad: &[T], factors: Factors) {
    let Factors { beta1, beta2, epsilon, step_size, correction } = factors;
    let [beta1, keep1, beta2, keep2, epsilon, step_size, correction] =
        [beta1, 1. - beta1, beta2, 1. - beta2, epsilon, step_size, 1. / correction].map(T::from_f64);
    vectorised!(|| {
        for (((theta, m), v), &g) in theta.iter_mut().zip(&mut *m).zip(&mut *v).zip(grad) {
            *m = beta1 * *m + keep1 * g;
            *v = beta2 * *v + keep2 * g * g;
            *theta -= step_size * *m / (v.sqrt() * correction + epsilon);
        }
    });
}
