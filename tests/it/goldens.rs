//! The networks against PyTorch in float64: scores, reconstruction, loss and the gradient of every parameter.
//!
//! `tests/golden/make_goldens.py` made the numbers, and states the formula that both sides make weights and images from.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use fastrcaps::learn::{
    data::ImageShape,
    kernels::Real,
    model::{Mask, Network, config::ModelConfig, parameters::Parameters, pass::Pass},
};
use serde::Deserialize;

use crate::{
    model::Setup,
    pass::Kept,
    tensors::{assert_close, values},
};

#[derive(Deserialize)]
struct Golden {
    name: String,
    model: ModelConfig,
    shape: [usize; 3],
    labels: Vec<u32>,
    scores: Vec<Vec<f64>>,
    loss: f64,
    reconstruction: Option<Summary>,
    exponents: BTreeMap<String, i32>,
    gradients: BTreeMap<String, Summary>,
}

#[derive(Deserialize)]
pub struct Summary {
    shape: Vec<usize>,
    sum: f64,
    norm: f64,
    samples: Vec<f64>,
}

fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xcbf29ce484222325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100000001b3))
}

fn splitmix64(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e3779b97f4a7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
    z ^ (z >> 31)
}

/// The tensor of that name by the formula.
pub fn formula(name: &str, shape: &[usize], exponent: i32) -> Tensor {
    let value = |i: u64| {
        let bits = splitmix64(fnv1a64(name).wrapping_add(i)) >> 40;
        (bits as f64 - f64::from(1 << 23)) / f64::from(1 << 23) * 2f64.powi(-exponent)
    };
    let values: Vec<f64> = (0..shape.iter().product::<usize>() as u64).map(value).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

impl Summary {
    /// Samples to `tolerance` of the root mean square of the tensor where they are small, and of their own size where they are
    /// large; the norm to `tolerance`; the sum to `tolerance` of the norm times √n, its size if all had one sign.
    pub fn assert_agrees(&self, what: &str, tensor: &Tensor, tolerance: f64) {
        assert_eq!(tensor.dims(), self.shape, "{what}");
        let values = values(tensor);
        let n = values.len() as f64;
        let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let sum: f64 = values.iter().sum();
        let good = (norm - self.norm).abs() <= tolerance * self.norm;
        assert!(good, "{what}: norm {norm}, expected {}", self.norm);
        let good = (sum - self.sum).abs() <= tolerance * self.norm * n.sqrt();
        assert!(good, "{what}: sum {sum}, expected {}", self.sum);
        let stride = (values.len() / 64).max(1);
        for (i, &expected) in self.samples.iter().enumerate() {
            let got = values[i * stride];
            let good = (got - expected).abs() <= tolerance * (self.norm / n.sqrt() + expected.abs());
            assert!(good, "{what}: sample {i} is {got}, expected {expected}");
        }
    }
}

impl Golden {
    fn classes(&self) -> usize {
        self.scores[0].len()
    }

    /// The network with the golden's weights, its images and labels.
    fn setup(&self, dtype: DType) -> Setup {
        let [channels, height, width] = self.shape;
        let shape = ImageShape { channels, height, width };
        self.model.validate(shape, self.classes()).unwrap();
        let parameters = Parameters::new(0);
        let network =
            Network::new(&self.model, shape, self.classes(), parameters.builder(dtype, &Device::Cpu)).unwrap();
        for (name, var) in parameters.vars() {
            var.set(&formula(&name, var.dims(), self.exponents[&name]).to_dtype(dtype).unwrap()).unwrap();
        }
        let images = formula("images", &[self.labels.len(), channels, height, width], 0);
        let images = ((images + 1.).unwrap() / 2.).unwrap().to_dtype(dtype).unwrap();
        let labels = Tensor::new(self.labels.as_slice(), &Device::Cpu).unwrap();
        Setup { network, parameters, images, labels }
    }

    fn assert_agrees(&self, dtype: DType, tolerance: f64) {
        let what = |part: &str| format!("{} in {dtype:?}: {part}", self.name);
        let Setup { network, parameters, images, labels } = self.setup(dtype);
        let output = network.forward(&images, Mask::TrueLabels(&labels)).unwrap();
        assert_close(&what("scores"), &values(&output.scores), &self.scores.concat(), tolerance);
        assert_eq!(output.reconstruction.is_some(), self.reconstruction.is_some(), "{}", self.name);
        if let (Some(got), Some(expected)) = (&output.reconstruction, &self.reconstruction) {
            expected.assert_agrees(&what("reconstruction"), got, tolerance);
        }
        let loss = network.loss(&output, &images, &labels).unwrap();
        assert_close(&what("loss"), &values(&loss), &[self.loss], tolerance);
        let grads = loss.backward().unwrap();
        assert_eq!(parameters.vars().len(), self.gradients.len());
        for (name, var) in parameters.vars() {
            self.gradients[&name].assert_agrees(&what(&name), grads.get(&var).unwrap(), tolerance);
        }
    }
}

impl Golden {
    /// The same of the written-out pass, over the golden's images `times` times: means over a batch stay what they are, and larger
    /// batches take other ways through the kernels.
    fn assert_pass_agrees<T: Real>(&self, times: usize, tolerance: f64) {
        let ModelConfig::Capsnet(config) = &self.model else { return };
        let what = |part: &str| format!("{} in {:?}, {times} times: {part}", self.name, T::DTYPE);
        let setup = self.setup(T::DTYPE);
        let [channels, height, width] = self.shape;
        let shape = ImageShape { channels, height, width };
        let mut pass = Pass::<T>::new(&config.layers(shape, self.classes()), &setup.parameters).unwrap();
        let images = setup.images.flatten_all().unwrap().to_vec1::<T>().unwrap().repeat(times);
        let mut kept = Kept::new(&setup);
        let loss = pass.train(&images, &self.labels.repeat(times), &mut kept).unwrap();
        assert_close(&what("loss"), &[loss], &[self.loss], tolerance);
        let scores: Vec<f64> = pass.scores().iter().map(|score| score.to_f64()).collect();
        assert_close(&what("scores"), &scores, &self.scores.concat().repeat(times), tolerance);
        for ((name, var), gradient) in setup.parameters.vars().iter().zip(kept.gradients()) {
            let gradient = Tensor::new(gradient, &Device::Cpu).unwrap().reshape(var.dims()).unwrap();
            self.gradients[name].assert_agrees(&what(name), &gradient, tolerance);
        }
    }
}

fn goldens() -> Vec<Golden> {
    serde_json::from_str(include_str!("../golden/goldens.json")).unwrap()
}

#[test]
fn networks_agree_with_pytorch_in_f32() {
    goldens().iter().for_each(|golden| golden.assert_agrees(DType::F32, 1e-4));
}

#[test]
fn networks_agree_with_pytorch_in_f64_to_its_last_digits() {
    let little = |golden: &&Golden| !golden.name.starts_with("paper");
    goldens().iter().filter(little).for_each(|golden| golden.assert_agrees(DType::F64, 1e-11));
}

/// 16 times the images, primary capsules are computed in the frequency domain, and class capsules a sample in each lane.
#[test]
fn the_pass_agrees_with_pytorch_at_small_and_large_batches() {
    for golden in &goldens() {
        for times in [1, 16] {
            golden.assert_pass_agrees::<f32>(times, 1e-4);
            if !golden.name.starts_with("paper") {
                golden.assert_pass_agrees::<f64>(times, 1e-11);
            }
        }
    }
}
