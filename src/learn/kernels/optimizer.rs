//! What moves the weights, by the rules of [`Rule`]: one fused pass per variable.

mod orthogonal;
mod update;

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var, backprop::GradStore};

pub use orthogonal::{orthogonalise, scratch_values};

pub use super::options::{Constants, Factors, FreeFactors, Rule};
use super::{
    average::Average,
    options::{beyond, kept},
    real::Real,
    reference,
    scratch::Buffer,
    storage::{InPlace, for_real, is_fast, with_values},
    weight::Weight,
};
use update::{Moved, Moving, Update, shift};

/// An optimizer of some variables.
pub struct Optimizer {
    rule: Rule,
    /// Taken, the present one included, and the learning rate of that one.
    steps: u64,
    learning_rate: f64,
    /// Sum of the squares of the learning rates of all of them.
    squares: f64,
    trained: Vec<Trained>,
}

/// One variable and its moments, stacked: `[2, ..shape]` for Adam's m and v or Schedule-Free's z and v,
/// `[1, ..shape]` for a momentum.
struct Trained {
    name: String,
    var: Var,
    /// Rows and columns, where the variable moves as a matrix.
    matrix: Option<[usize; 2]>,
    moments: Tensor,
    theta_in_place: InPlace,
    moments_in_place: InPlace,
}

/// What a step does to one variable.
#[derive(Clone, Copy)]
enum Step {
    /// Each value moves by itself.
    Each(Update),
    /// The values move together once their gradient is whole; `size` is the length of the step.
    Matrix { sides: [usize; 2], momentum: f64, keep: f64, size: f64 },
}

/// The length of Muon's step relative to the learning rate, of a matrix of these sides: `0.2√max`, which gives the update of a
/// matrix of full rank the root mean square 0.2, about that of AdamW's (Liu et al. 2025, arXiv 2502.16982).
pub fn muon_scale([rows, columns]: [usize; 2]) -> f64 {
    0.2 * (rows.max(columns) as f64).sqrt()
}

/// Rows and columns of a variable that Muon orthogonalises: of a weight that is a matrix, or of filters `[filters, in channels,
/// rows, columns]`, each of which is a row. Others are none: biases, of which that of capsules has two dimensions, and the
/// transformation matrices of capsules, of which there are many in one variable.
pub fn matrix_sides(name: &str, dims: &[usize]) -> Option<[usize; 2]> {
    let is_matrix = name.ends_with(".weight") && matches!(dims.len(), 2 | 4);
    is_matrix.then(|| [dims[0], dims[1..].iter().product()])
}

impl Optimizer {
    /// An optimizer of `vars`, whose moments are 0, but for a z, which is the values.
    pub fn new(vars: Vec<(String, Var)>, rule: Rule) -> Result<Self> {
        let trained = vars.into_iter().map(|(name, var)| Trained::new(name, var, rule)).collect::<Result<_>>()?;
        Ok(Optimizer { rule, steps: 0, learning_rate: 0., squares: 0., trained })
    }

    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Begins a step in which [`Optimizer::lend`] moves the variables one by one.
    pub fn begin(&mut self, learning_rate: f64) {
        self.steps += 1;
        self.learning_rate = learning_rate;
        self.squares += learning_rate * learning_rate;
    }

    /// Lends the variable at `index` of those this optimizer was made for, on the CPU and of type T, to `task`, which hands in all of
    /// its gradient: the variable moves block by block, or at the end.
    pub fn lend<T: Real>(&mut self, index: usize, task: &mut dyn FnMut(&mut dyn Weight<T>)) -> Result<()> {
        self.trained[index].lend(self.step_of(index), task)
    }

    /// Moves every variable that has a gradient in `grads`. One without (its value does not reach the loss) keeps its value
    /// and its moments.
    pub fn step(&mut self, grads: &GradStore, learning_rate: f64) -> Result<()> {
        self.begin(learning_rate);
        for index in 0..self.trained.len() {
            let step = self.step_of(index);
            let trained = &mut self.trained[index];
            let Some(grad) = grads.get(&trained.var) else { continue };
            let grad = grad.contiguous()?;
            if trained.var.device().is_cpu() && is_fast(&trained.var) {
                for_real!(trained.var.dtype(), T => with_values(&grad, |grad: &[T]| {
                    trained.lend(step, &mut |weight| weight.whole(grad))
                })??);
            } else {
                trained.step_plainly(step, &grad)?;
            }
        }
        Ok(())
    }

    /// What a checkpoint needs besides the variables: the steps taken, and the moments by variable, `[2, ..shape]` (m, v) or
    /// `[1, ..shape]`, which the next step changes.
    pub fn view(&self) -> (u64, BTreeMap<String, Tensor>) {
        (self.steps, self.trained.iter().map(|trained| (trained.name.clone(), trained.moments.clone())).collect())
    }

    /// Beside these the sum of the squares of all learning rates, where steps depend on it.
    pub fn squares(&self) -> Option<f64> {
        matches!(self.rule, Rule::ScheduleFree { .. }).then_some(self.squares)
    }

    /// Goes on after `steps` steps, whose moments stand in the tensors of [`Optimizer::view`] by now, and whose learning rates have
    /// the sum of squares `squares`, where steps depend on it.
    pub fn go_on_after(&mut self, steps: u64, squares: Option<f64>) {
        self.steps = steps;
        self.squares = squares.unwrap_or(0.);
    }

    /// Takes the values that stand in the variables for x, y and z of Schedule-Free. Other rules go on as they were.
    pub fn begin_at_values(&mut self) -> Result<()> {
        let Rule::ScheduleFree { .. } = self.rule else { return Ok(()) };
        for Trained { var, moments, .. } in &self.trained {
            moments.slice_set(&var.as_detached_tensor().unsqueeze(0)?, 0, 0)?;
        }
        Ok(())
    }

    /// Puts into `average`, which is of the variables of this optimizer on the CPU, what the network is judged by: x of Schedule-Free.
    /// With another rule it is not touched.
    pub fn find(&self, average: &mut Average) -> Result<()> {
        let Rule::ScheduleFree { constants, .. } = self.rule else { return Ok(()) };
        self.trained.iter().try_for_each(|of| average.find(&of.name, &of.moments_in_place, beyond(constants.beta1)))
    }

    /// Multiply-adds of the products of a step, and values that it reads or writes at least, gradients aside. The step leaves the
    /// variables of the layers `untrained` alone.
    pub fn work(&self, untrained: &[&str]) -> [usize; 2] {
        let is_trained = |of: &&Trained| !of.name.rsplit_once('.').is_some_and(|(layer, _)| untrained.contains(&layer));
        let works = self.trained.iter().filter(is_trained).map(|Trained { var, moments, matrix, .. }| {
            // Values and moments are read and written.
            let moved = 2 * (var.elem_count() + moments.elem_count());
            match *matrix {
                None => [0, moved],
                // The direction is written before it is made orthogonal, and read after.
                Some(sides) => {
                    let [multiply_adds, values] = orthogonal::work(sides);
                    [multiply_adds, moved + 2 * var.elem_count() + values]
                }
            }
        });
        works.fold([0, 0], |[adds, moved], [more, values]| [adds + more, moved + values])
    }

    fn step_of(&self, index: usize) -> Step {
        let &Optimizer { rule, steps, learning_rate, squares, ref trained } = self;
        let adam = |constants: Constants, weight_decay| {
            Step::Each(Update::Adam(constants.factors(steps, learning_rate).decaying(learning_rate, weight_decay)))
        };
        match (rule, trained[index].matrix) {
            (Rule::Adam { constants, weight_decay }, _) => adam(constants, weight_decay),
            (Rule::Nesterov { momentum, weight_decay }, _) => {
                Step::Each(Update::Nesterov { learning_rate, momentum, weight_decay })
            }
            (Rule::ScheduleFree { constants, weight_decay }, _) => {
                Step::Each(Update::ScheduleFree(constants.free_factors(steps, learning_rate, squares, weight_decay)))
            }
            (Rule::Muon { others, weight_decay, .. }, None) => adam(others, weight_decay),
            (Rule::Muon { momentum, weight_decay, .. }, Some(sides)) => {
                let (keep, size) = (kept(learning_rate, weight_decay), learning_rate * muon_scale(sides));
                Step::Matrix { sides, momentum, keep, size }
            }
        }
    }
}

impl Trained {
    fn new(name: String, var: Var, rule: Rule) -> Result<Self> {
        let matrix = match rule {
            Rule::Muon { .. } => matrix_sides(&name, var.dims()),
            Rule::Adam { .. } | Rule::Nesterov { .. } | Rule::ScheduleFree { .. } => None,
        };
        let has_one = matches!(rule, Rule::Nesterov { .. }) || matrix.is_some();
        let mut start = vec![var.zeros_like()?; if has_one { 1 } else { 2 }];
        if let Rule::ScheduleFree { .. } = rule {
            start[0] = var.as_detached_tensor();
        }
        let moments = Tensor::stack(&start, 0)?.contiguous()?.detach();
        let [theta_in_place, moments_in_place] = [InPlace::of(&var)?, InPlace::of(&moments)?];
        Ok(Trained { name, var, matrix, moments, theta_in_place, moments_in_place })
    }

    fn lend<T: Real>(&self, step: Step, task: &mut dyn FnMut(&mut dyn Weight<T>)) -> Result<()> {
        let columns = self.var.elem_count() / self.var.dims().first().copied().unwrap_or(1).max(1);
        self.theta_in_place.with(|theta: &mut [T]| {
            self.moments_in_place.with(|moments: &mut [T]| {
                let (m, v) = moments.split_at_mut(theta.len());
                match step {
                    Step::Each(update) => {
                        task(&mut Moving { still: None, moved: Moved { theta, m, v }, columns, update })
                    }
                    Step::Matrix { sides, momentum, keep, size } => {
                        let mut direction = Buffer::<T>::new(theta.len());
                        direction.fill(T::zero());
                        let moved = Moved { theta: &mut direction, m, v };
                        task(&mut Moving { still: Some(&*theta), moved, columns, update: Update::Blend { momentum } });
                        orthogonalise(&mut direction, sides);
                        shift(theta, &direction, keep, size);
                    }
                }
            })
        })?
    }

    /// The step in plain tensor code, on any device.
    fn step_plainly(&mut self, step: Step, grad: &Tensor) -> Result<()> {
        let theta = self.var.as_detached_tensor();
        let m = self.moments.get(0)?;
        let (theta, moments) = match step {
            Step::Each(Update::Adam(factors)) => {
                let (theta, m, v) = reference::adam_step(&theta, grad, &m, &self.moments.get(1)?, factors)?;
                (theta, vec![m, v])
            }
            Step::Each(Update::ScheduleFree(factors)) => {
                let (y, z, v) = reference::schedule_free_step(&theta, grad, &m, &self.moments.get(1)?, factors)?;
                (y, vec![z, v])
            }
            Step::Each(Update::Nesterov { learning_rate, momentum, weight_decay }) => {
                let (theta, m) = reference::nesterov_step(&theta, grad, &m, learning_rate, momentum, weight_decay)?;
                (theta, vec![m])
            }
            Step::Each(Update::Blend { .. }) => unreachable!("a part of a matrix's step"),
            Step::Matrix { sides, momentum, keep, size } => {
                let (theta, m) = reference::muon_step(&theta, grad, &m, sides, momentum, keep, size)?;
                (theta, vec![m])
            }
        };
        self.var.set(&theta)?;
        let moments = Tensor::stack(&moments, 0)?;
        self.moments_in_place = InPlace::of(&moments)?;
        self.moments = moments;
        Ok(())
    }
}
