//! The Adam optimizer (Kingma and Ba 2015), one fused pass per variable.

use std::{cell::RefCell, collections::BTreeMap};

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Result, Tensor, Var, backprop::GradStore, bail};
use rayon::prelude::*;

use super::{
    lanes::vectorised,
    reference,
    storage::{Real, for_real, is_fast, threads, values},
};

/// Adam as PyTorch has it, without weight decay. At step t, with gradient g:
/// `m = β₁m + (1−β₁)g`, `v = β₂v + (1−β₂)g²`, `θ −= lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)`.
pub struct Adam {
    constants: Constants,
    steps: u64,
    trained: Vec<Trained>,
}

/// One variable and its moments m and v, stacked: `[2, ..shape]`.
struct Trained {
    name: String,
    var: Var,
    moments: Tensor,
}

/// The constants of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
}

/// The factors of one step: the constants with the bias correction worked in.
#[derive(Clone, Copy, Debug)]
pub struct Factors {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// `lr/(1−β₁ᵗ)`
    pub step_size: f64,
    /// `√(1−β₂ᵗ)`
    pub correction: f64,
}

impl Constants {
    /// The factors of step `t`, counted from 1.
    pub fn factors(self, t: u64, learning_rate: f64) -> Factors {
        let Constants { beta1, beta2, epsilon } = self;
        let t = t as f64;
        Factors {
            beta1,
            beta2,
            epsilon,
            step_size: learning_rate / (1. - beta1.powf(t)),
            correction: (1. - beta2.powf(t)).sqrt(),
        }
    }
}

impl Adam {
    /// An optimizer of `vars`, whose moments are 0.
    pub fn new(vars: Vec<(String, Var)>, constants: Constants) -> Result<Self> {
        let train = |(name, var): (String, Var)| {
            let moments = Tensor::stack(&[var.zeros_like()?, var.zeros_like()?], 0)?.contiguous()?.detach();
            Ok(Trained { name, var, moments })
        };
        Ok(Adam { constants, steps: 0, trained: vars.into_iter().map(train).collect::<Result<_>>()? })
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every variable that has a gradient in `grads`. One without (its value does not reach the loss) keeps its value
    /// and its moments.
    pub fn step(&mut self, grads: &GradStore, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        let factors = self.constants.factors(self.steps, learning_rate);
        for Trained { var, moments, .. } in &mut self.trained {
            let Some(grad) = grads.get(var) else { continue };
            let grad = grad.contiguous()?;
            if is_fast(var) {
                var.inplace_op2(&grad, &Step { moments, factors })?;
            } else {
                let (m, v) = (moments.get(0)?, moments.get(1)?);
                let (theta, m, v) = reference::adam_step(&var.as_detached_tensor(), &grad, &m, &v, factors)?;
                var.set(&theta)?;
                *moments = Tensor::stack(&[m, v], 0)?;
            }
        }
        Ok(())
    }

    /// What a checkpoint needs besides the variables: the steps taken, and the moments `[2, ..shape]` (m, v) by variable.
    pub fn state(&self) -> Result<(u64, BTreeMap<String, Tensor>)> {
        let copy = |t: &Trained| Ok((t.name.clone(), t.moments.copy()?));
        Ok((self.steps, self.trained.iter().map(copy).collect::<Result<_>>()?))
    }

    /// Takes up a state of [`Adam::state`].
    ///
    /// Errors: a variable without moments, or moments of another shape.
    pub fn restore(&mut self, steps: u64, moments: &BTreeMap<String, Tensor>) -> Result<()> {
        for Trained { name, moments: own, .. } in &self.trained {
            match moments.get(name) {
                None => bail!("the optimizer's state holds no moments of `{name}`"),
                Some(m) if m.shape() != own.shape() => {
                    bail!("moments of `{name}`: the state holds {:?}, expected {:?}", m.dims(), own.dims())
                }
                Some(_) => {}
            }
        }
        for Trained { name, moments: own, .. } in &mut self.trained {
            *own = moments[name].to_dtype(own.dtype())?.to_device(own.device())?.copy()?.detach();
        }
        self.steps = steps;
        Ok(())
    }
}

/// One step of one variable: in place on θ, with the gradient as operand, and on the moments within.
struct Step<'a> {
    moments: &'a Tensor,
    factors: Factors,
}

impl InplaceOp2 for Step<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, theta: &mut CpuStorage, lt: &Layout, grad: &CpuStorage, lg: &Layout) -> Result<()> {
        for_real!(candle_core::backend::BackendStorage::dtype(theta), T => {
            let grad = values::<T>(grad, lg)?;
            let theta = T::values_mut(theta, lt)?;
            self.moments.inplace_op1(&Update { theta: RefCell::new(theta), grad, factors: self.factors })
        })
    }
}

struct Update<'a, T> {
    theta: RefCell<&'a mut [T]>,
    grad: &'a [T],
    factors: Factors,
}

impl<T: Real> InplaceOp1 for Update<'_, T> {
    fn name(&self) -> &'static str {
        "adam-update"
    }

    fn cpu_fwd(&self, moments: &mut CpuStorage, layout: &Layout) -> Result<()> {
        const CHUNK: usize = 1 << 15;
        let (mut theta, grad, factors) = (self.theta.borrow_mut(), self.grad, self.factors);
        let (m, v) = T::values_mut(moments, layout)?.split_at_mut(theta.len());
        if threads() == 1 || theta.len() <= CHUNK {
            update(&mut theta, m, v, grad, factors);
        } else {
            (theta.par_chunks_mut(CHUNK), m.par_chunks_mut(CHUNK), v.par_chunks_mut(CHUNK), grad.par_chunks(CHUNK))
                .into_par_iter()
                .for_each(|(theta, m, v, grad)| update(theta, m, v, grad, factors));
        }
        Ok(())
    }
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
