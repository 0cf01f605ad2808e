//! The steps of single values, and variables that move while their gradient arrives.

use std::ops::Range;

use rayon::prelude::*;

use crate::learn::kernels::{
    lanes::vectorised,
    options::{Factors, FreeFactors},
    real::Real,
    storage::{is_worth_waking, threads},
    weight::Weight,
};

/// Values that a thread moves at a time.
const CHUNK: usize = 1 << 14;

/// What a step does to a value, by its gradient. Each value moves by itself, so that it does not matter who moves it.
#[derive(Clone, Copy)]
pub(super) enum Update {
    /// Two moments.
    Adam(Factors),
    /// Two moments: z and v.
    ScheduleFree(FreeFactors),
    /// One moment.
    Nesterov { learning_rate: f64, momentum: f64, weight_decay: f64 },
    /// Muon's momentum, and in the place of the values the direction: the gradient blended with it.
    Blend { momentum: f64 },
}

/// Values with their moments, cut at the same places; `v` is empty where there is one moment.
pub(super) struct Moved<'a, T> {
    pub theta: &'a mut [T],
    pub m: &'a mut [T],
    pub v: &'a mut [T],
}

impl<'a, T: Real> Moved<'a, T> {
    fn part(&mut self, range: Range<usize>) -> Moved<'_, T> {
        let v: &mut [T] = if self.v.is_empty() { &mut [] } else { &mut self.v[range.clone()] };
        Moved { theta: &mut self.theta[range.clone()], m: &mut self.m[range], v }
    }

    fn split(self, at: usize) -> [Moved<'a, T>; 2] {
        let Moved { theta, m, v } = self;
        let at_of_v = at.min(v.len());
        let ((theta, later_theta), (m, later_m)) = (theta.split_at_mut(at), m.split_at_mut(at));
        let (v, later_v) = v.split_at_mut(at_of_v);
        [Moved { theta, m, v }, Moved { theta: later_theta, m: later_m, v: later_v }]
    }

    /// Moves values that follow one another.
    fn by(self, gradient: &[T], update: Update) {
        let Moved { theta, m, v } = self;
        match update {
            Update::Adam(factors) => adam(theta, m, v, gradient, factors),
            Update::ScheduleFree(factors) => schedule_free(theta, m, v, gradient, factors),
            Update::Nesterov { learning_rate, momentum, weight_decay } => {
                nesterov(theta, m, gradient, learning_rate, momentum, weight_decay)
            }
            Update::Blend { momentum } => blend(theta, m, gradient, momentum),
        }
    }

    /// Moves `columns` of rows of `row` values by their gradient; on several threads, if it has more than `most` values.
    fn rows_by(mut self, gradient: &[T], row: usize, columns: Range<usize>, most: usize, update: Update) {
        let (rows, width) = (self.theta.len() / row, columns.len());
        if rows > 1 && gradient.len() > most {
            let [first, later] = self.split(rows / 2 * row);
            let (of_first, of_later) = gradient.split_at(rows / 2 * width);
            let (of_columns, columns) = (columns.clone(), columns);
            rayon::join(
                || first.rows_by(of_first, row, of_columns, most, update),
                || later.rows_by(of_later, row, columns, most, update),
            );
        } else if width == row {
            self.by(gradient, update);
        } else {
            for (index, gradient) in gradient.chunks_exact(width).enumerate() {
                self.part(index * row + columns.start..index * row + columns.end).by(gradient, update);
            }
        }
    }
}

/// A variable on loan for one step: it moves as its gradient arrives.
pub(super) struct Moving<'a, T> {
    /// The variable's values, where something else moves in their place.
    pub still: Option<&'a [T]>,
    pub moved: Moved<'a, T>,
    /// Of the variable seen as a matrix.
    pub columns: usize,
    pub update: Update,
}

impl<T: Real> Weight<T> for Moving<'_, T> {
    fn values(&self) -> &[T] {
        self.still.unwrap_or(self.moved.theta)
    }

    fn whole(&mut self, gradient: &[T]) {
        let len = self.moved.theta.len();
        assert_eq!(gradient.len(), len, "values of a gradient");
        self.moved.part(0..len).rows_by(gradient, 1, 0..1, most_alone(), self.update);
    }

    fn gradient(&mut self, rows: Range<usize>, columns: Range<usize>, block: &[T]) {
        assert_eq!(block.len(), rows.len() * columns.len(), "values of a block of a gradient");
        let within = self.moved.part(rows.start * self.columns..rows.end * self.columns);
        if columns.len() == self.columns {
            return within.rows_by(block, 1, 0..1, most_alone(), self.update);
        }
        let most = if is_worth_waking(block.len()) { CHUNK } else { usize::MAX };
        within.rows_by(block, self.columns, columns, most, self.update);
    }
}

/// Values of a gradient above which threads share it.
fn most_alone() -> usize {
    if threads() == 1 { usize::MAX } else { CHUNK }
}

fn adam<T: Real>(theta: &mut [T], m: &mut [T], v: &mut [T], gradient: &[T], factors: Factors) {
    let Factors { beta1, beta2, epsilon, step_size, correction, keep } = factors;
    let [beta1, keep1, beta2, keep2, epsilon, step_size, correction, keep] =
        [beta1, 1. - beta1, beta2, 1. - beta2, epsilon, step_size, 1. / correction, keep].map(T::from_f64);
    vectorised!(|| {
        for (((theta, m), v), &g) in theta.iter_mut().zip(&mut *m).zip(&mut *v).zip(gradient) {
            *m = beta1 * *m + keep1 * g;
            *v = beta2 * *v + keep2 * g * g;
            // Without weight decay this keeps the value to the bit: it is multiplied by 1.
            *theta = keep * *theta - step_size * *m / (v.sqrt() * correction + epsilon);
        }
    });
}

fn schedule_free<T: Real>(y: &mut [T], z: &mut [T], v: &mut [T], gradient: &[T], factors: FreeFactors) {
    let length = factors.length();
    let FreeFactors { beta1: _, beta2, epsilon, correction, learning_rate, weight_decay, share } = factors;
    let [beta2, keep2, epsilon, correction, rate, decay, share, length] =
        [beta2, 1. - beta2, epsilon, 1. / correction, learning_rate, weight_decay, share, length].map(T::from_f64);
    vectorised!(|| {
        for (((y, z), v), &g) in y.iter_mut().zip(&mut *z).zip(&mut *v).zip(gradient) {
            *v = beta2 * *v + keep2 * g * g;
            let d = g / (v.sqrt() * correction + epsilon) + decay * *y;
            // (1−β₁)z + β₁x of the new z and x, without x.
            *y = *y + share * (*z - *y) - length * d;
            *z -= rate * d;
        }
    });
}

fn nesterov<T: Real>(
    theta: &mut [T],
    m: &mut [T],
    gradient: &[T],
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
) {
    let [rate, momentum, decay] = [learning_rate, momentum, weight_decay].map(T::from_f64);
    vectorised!(|| {
        for ((theta, m), &g) in theta.iter_mut().zip(&mut *m).zip(gradient) {
            let d = g + decay * *theta;
            *m = momentum * *m + d;
            *theta -= rate * (d + momentum * *m);
        }
    });
}

fn blend<T: Real>(direction: &mut [T], m: &mut [T], gradient: &[T], momentum: f64) {
    let [momentum, rest] = [momentum, 1. - momentum].map(T::from_f64);
    vectorised!(|| {
        for ((direction, m), &g) in direction.iter_mut().zip(&mut *m).zip(gradient) {
            *m = momentum * *m + rest * g;
            *direction = rest * g + momentum * *m;
        }
    });
}

/// `θ = keep·θ − size·direction`, on all threads.
pub(super) fn shift<T: Real>(theta: &mut [T], direction: &[T], keep: f64, size: f64) {
    let [keep, size] = [keep, size].map(T::from_f64);
    let task = |(theta, direction): (&mut [T], &[T])| {
        vectorised!(|| {
            for (theta, &d) in theta.iter_mut().zip(direction) {
                *theta = keep * *theta - size * d;
            }
        });
    };
    if theta.len() <= most_alone() {
        task((theta, direction));
    } else {
        theta.par_chunks_mut(CHUNK).zip(direction.par_chunks(CHUNK)).for_each(task);
    }
}
