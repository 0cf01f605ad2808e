//! What this program computes on a device, held against plain tensor code in f64 on CPU cores: every op with its gradients on random
//! shapes, networks, trainings step by step. It is for a machine whose device nobody has tried yet, and needs nothing but the
//! program: no data, no other program.
//!
//! A case depends on the seed, the name of its test and its number alone, so that one that fails can be run again by itself.

mod draw;
mod ops;
mod training;

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde::Serialize;

pub use draw::Draw;
pub use ops::{Apply, OpCase, of_op};

/// Something that is held against its counterpart, in cases.
pub struct Test {
    pub name: &'static str,
    /// What of it is in each case, and held against what.
    pub about: &'static str,
    /// How many cases it has, if that is not left to whoever runs it.
    pub cases: Option<usize>,
    run: RunCase,
}

type RunCase = Box<dyn Fn(&Device, &mut Draw, &mut Case) -> Result<()>>;

impl Test {
    /// One whose cases `run` runs on the device with values drawn for the case.
    pub fn new(
        name: &'static str,
        about: &'static str,
        run: impl Fn(&Device, &mut Draw, &mut Case) -> Result<()> + 'static,
    ) -> Test {
        Test { name, about, cases: None, run: Box::new(run) }
    }

    fn once(self) -> Test {
        Test { cases: Some(1), ..self }
    }
}

/// What a case compared so far.
#[derive(Debug, Default)]
pub struct Case {
    /// What was drawn for it, in words.
    pub shape: String,
    /// The comparison nearest to its tolerance, or furthest beyond it.
    worst: Option<Comparison>,
}

/// How far two results are from each other.
#[derive(Clone, Debug)]
struct Comparison {
    what: String,
    error: f64,
    tolerance: f64,
    /// The value with the largest error: its index, and what it is on either side.
    at: Option<(usize, f64, f64)>,
}

impl Comparison {
    fn holds(&self) -> bool {
        self.error <= self.tolerance
    }

    /// Grows with the error, by what is tolerated.
    fn rank(&self) -> f64 {
        match self {
            Comparison { error, .. } if error.is_nan() => f64::INFINITY,
            Comparison { error, tolerance, .. } if *error <= *tolerance && *tolerance == 0.0 => 0.0,
            Comparison { error, tolerance, .. } => error / tolerance,
        }
    }
}

impl Case {
    /// Compares values with those they should be. The error is the largest difference over the largest absolute value of those;
    /// infinite where there are others in number, or where only one of two is a number.
    pub fn compare(&mut self, what: impl Into<String>, got: &[f64], expected: &[f64], tolerance: f64) {
        let what = what.into();
        let comparison = if got.len() != expected.len() {
            let what = format!("{what}: {} values instead of {}", got.len(), expected.len());
            Comparison { what, error: f64::INFINITY, tolerance, at: None }
        } else {
            let (at, error) = largest_error(got, expected);
            Comparison { what, error, tolerance, at: at.map(|at| (at, got[at], expected[at])) }
        };
        if self.worst.as_ref().is_none_or(|worst| comparison.rank() > worst.rank()) {
            self.worst = Some(comparison);
        }
    }

    /// The same of tensors.
    ///
    /// Errors: values that cannot be brought to the CPU.
    pub fn compare_tensors(
        &mut self,
        what: impl Into<String>,
        got: &Tensor,
        expected: &Tensor,
        tolerance: f64,
    ) -> Result<()> {
        let what = what.into();
        anyhow::ensure!(got.dims() == expected.dims(), "{what} is {:?}, not {:?}", got.dims(), expected.dims());
        self.compare(what, &values(got)?, &values(expected)?, tolerance);
        Ok(())
    }
}

/// Where the largest difference is, and what it is over the largest of the values expected.
fn largest_error(got: &[f64], expected: &[f64]) -> (Option<usize>, f64) {
    let scale = expected.iter().fold(0f64, |most, value| most.max(value.abs()));
    let mut worst = (None, 0f64);
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let difference = (got - expected).abs();
        let error = match difference {
            _ if got.to_bits() == expected.to_bits() || difference == 0.0 => 0.0,
            _ if difference.is_nan() => f64::INFINITY,
            _ => difference / scale,
        };
        if error > worst.1 {
            worst = (Some(at), error);
        }
    }
    worst
}

/// All values of a tensor, in f64.
fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the shapes and values.
    pub seed: u64,
    /// Cases of each test that leaves it open.
    pub cases: usize,
    /// Whether the network at full size is left out.
    pub is_quick: bool,
    /// Only the case of this number.
    pub case: Option<usize>,
}

/// What came of a test.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub test: &'static str,
    pub cases: usize,
    /// Of the comparison nearest to its tolerance, or furthest beyond it: the largest difference over the largest absolute value
    /// expected. Not a number in JSON where it is infinite.
    pub error: f64,
    pub tolerance: f64,
    pub seconds: f64,
    /// Of the first case that failed.
    pub failure: Option<Failure>,
}

impl Row {
    pub fn is_ok(&self) -> bool {
        self.failure.is_none()
    }
}

/// A case that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub case: usize,
    /// What was drawn for it.
    pub shape: String,
    /// What is wrong.
    pub what: String,
}

/// All tests of a device, in the order in which they are best run: what others are made of comes first.
pub fn tests(device: &Device, options: &Options) -> Vec<Test> {
    let mut tests = ops::all();
    tests.extend(training::all(device, options.is_quick));
    tests
}

/// Runs a test on a device, to its end or to the first case that fails.
pub fn run(test: &Test, device: &Device, options: &Options) -> Row {
    let begun = Instant::now();
    let cases = match options.case {
        Some(case) => case..case + 1,
        None => 0..test.cases.unwrap_or(options.cases),
    };
    let mut row = Row { test: test.name, cases: 0, error: 0.0, tolerance: 0.0, seconds: 0.0, failure: None };
    let mut worst: Option<Comparison> = None;
    for number in cases {
        let mut case = Case::default();
        let outcome = (test.run)(device, &mut Draw::new(options.seed, test.name, number), &mut case);
        row.cases += 1;
        row.failure = match (outcome, &case.worst) {
            (Err(error), _) => Some(format!("{error:#}")),
            (Ok(()), None) => Some("it compared nothing".into()),
            (Ok(()), Some(worst)) if !worst.holds() => Some(worst.to_string()),
            _ => None,
        }
        .map(|what| Failure { case: number, shape: case.shape, what });
        if let Some(of_case) = case.worst
            && worst.as_ref().is_none_or(|worst| of_case.rank() > worst.rank())
        {
            worst = Some(of_case);
        }
        if row.failure.is_some() {
            break;
        }
    }
    if let Some(worst) = worst {
        (row.error, row.tolerance) = (worst.error, worst.tolerance);
    }
    row.seconds = begun.elapsed().as_secs_f64();
    row
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Comparison { what, error, tolerance, at } = self;
        write!(f, "{what}: error {error:.1e}, tolerated {tolerance:.1e}")?;
        match at {
            Some((at, got, expected)) => write!(f, "; value {at} is {got:e} instead of {expected:e}"),
            None => Ok(()),
        }
    }
}
