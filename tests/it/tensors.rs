//! Tensors of known values, and their comparison.

use candle_core::{DType, Device, Tensor, Var};
use fastrcaps::base::rng;
use rand::RngCore;

/// Values in −1..1 that depend on the name alone, as a f64 variable.
pub fn var(name: &str, shape: &[usize]) -> Var {
    let mut stream = rng::stream(0, name, 0);
    let values: Vec<f64> =
        (0..shape.iter().product()).map(|_| stream.next_u32() as f64 / (1u64 << 31) as f64 - 1.).collect();
    Var::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The bits of a f32 tensor.
pub fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Asserts that two tensors differ by at most `tolerance` times the largest value of the second.
pub fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let bad = !((g - e).abs() <= tolerance * largest);
        assert!(!bad, "{what}: value {i} is {g}, expected {e} (tolerance {tolerance} × {largest})");
    }
}

/// The gradients of `Σ w·y` with fixed weights w, by operand.
pub fn gradients(y: &Tensor, operands: &[&Var]) -> Vec<Vec<f64>> {
    let weights = var("weights of the sum", y.dims()).as_detached_tensor().to_dtype(y.dtype()).unwrap();
    let grads = (y * weights).unwrap().sum_all().unwrap().backward().unwrap();
    operands.iter().map(|v| values(grads.get(v).expect("a gradient"))).collect()
}
