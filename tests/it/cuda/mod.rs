//! What runs on a CUDA device, against its references on the CPU: on a GPU, or on the emulated device
//! (`tests/cuda-emulator/README.md`). Here are the helpers of these tests, and the tests of the device layer itself.

mod capsules;
mod conv2d;
mod dense;
pub mod ops;
mod pass;
mod sweep;

use std::sync::{Arc, OnceLock};

use candle_core::{
    Device, Tensor, Var,
    cuda_backend::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};
use fastrcaps::{
    base::rng,
    learn::{
        kernels::{
            Squash,
            cuda::{
                Argument, Buffer, Gpu, Images, Matrix, Sizes,
                batch::{Batch, Resident, Source},
                column_sums,
                loss::Losses,
                permute_4d, relu_backward, relu_forward,
                squash::squash_forward,
            },
            optimizer::Factors,
            reference,
        },
        model::config::Precision,
    },
};
use rand::Rng;

use crate::{facts::Facts, skipped::skipped};

/// The first device, opened once. Whoever captures a graph opens one of its own ([`own_gpu`]): what another test does on this
/// one's stream meanwhile would be recorded too.
pub fn gpu() -> Arc<Gpu> {
    static GPU: OnceLock<Arc<Gpu>> = OnceLock::new();
    GPU.get_or_init(own_gpu).clone()
}

/// The first device, with a stream that nobody else uses.
pub fn own_gpu() -> Arc<Gpu> {
    let device = Device::new_cuda_with_stream(0).expect("these tests need a CUDA device, or the emulated one");
    Gpu::of(&device).unwrap()
}

/// Whether the device is the emulated one.
pub fn is_emulated(gpu: &Gpu) -> bool {
    gpu.stream().context().name().unwrap().starts_with("Emulated")
}

/// `len` values between -1 and 1, the same ones for the same name.
pub fn random(name: &str, len: usize) -> Vec<f32> {
    let mut random = rng::stream(7, name, 0);
    (0..len).map(|_| random.random_range(-1f32..1.)).collect()
}

/// Asserts that all values agree to `tolerance` of the largest expected one, and that NaN and infinities are in the same places.
#[track_caller]
pub fn assert_near(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}: number of values");
    let largest = expected.iter().filter(|value| value.is_finite()).fold(0f32, |most, value| most.max(value.abs()));
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let agree = if expected.is_finite() {
            (got - expected).abs() <= tolerance * largest
        } else {
            got == expected || (got.is_nan() && expected.is_nan())
        };
        assert!(agree, "{what}: value {i} is {got}, expected {expected} (largest {largest}, tolerance {tolerance})");
    }
}

/// `values` rounded to bf16, as its upper halves.
pub fn to_bf16(values: &[f32]) -> Vec<u16> {
    let round = |value: &f32| {
        let bits = value.to_bits();
        ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
    };
    values.iter().map(round).collect()
}

/// The values that [`to_bf16`] left.
pub fn from_bf16(halves: &[u16]) -> Vec<f32> {
    halves.iter().map(|half| f32::from_bits(u32::from(*half) << 16)).collect()
}

#[test]
fn what_is_uploaded_comes_back() {
    let gpu = gpu();
    for len in [0, 1, 3, 1000, 300_001] {
        let values = random("round trip", len);
        let buffer = gpu.upload(&values).unwrap();
        assert_eq!(buffer.download(&gpu).unwrap(), values);
    }
    let mut buffer = gpu.upload(&[1f32, 2., 3.]).unwrap();
    buffer.clear(&gpu).unwrap();
    assert_eq!(buffer.download(&gpu).unwrap(), [0.; 3]);
    buffer.fill_from(&gpu, &[4., 5.]).unwrap();
    assert_eq!(buffer.download(&gpu).unwrap(), [4., 5., 0.]);
}

/// Everything Adam needs on the device, for `len` parameters, a multiple of 4.
struct AdamBuffers {
    theta: Buffer<f32>,
    grad: Buffer<f32>,
    m: Buffer<f32>,
    v: Buffer<f32>,
    factors: Buffer<f32>,
    step: Buffer<i32>,
}

const FACTORS: Factors =
    Factors { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step_size: 0.01, correction: 0.5, keep: 0.99 };

impl AdamBuffers {
    fn new(gpu: &Gpu, len: usize, steps: usize) -> AdamBuffers {
        let factors = [FACTORS.step_size, FACTORS.correction, FACTORS.keep].map(|factor| factor as f32).repeat(steps);
        AdamBuffers {
            theta: gpu.upload(&random("theta", len)).unwrap(),
            grad: gpu.upload(&random("gradient", len)).unwrap(),
            m: gpu.upload(&random("m", len)).unwrap(),
            v: gpu.upload(&random("v", len).iter().map(|v| v.abs()).collect::<Vec<_>>()).unwrap(),
            factors: gpu.upload(&factors).unwrap(),
            step: gpu.upload(&[0]).unwrap(),
        }
    }

    fn launch(&self, gpu: &Gpu) {
        let arguments = [
            Argument::from(self.theta.output()),
            self.grad.input().into(),
            self.m.output().into(),
            self.v.output().into(),
            Argument::Long(self.theta.len() as i64 / 4),
            self.factors.input().into(),
            self.step.input().into(),
            (FACTORS.beta1 as f32).into(),
            ((1. - FACTORS.beta1) as f32).into(),
            (FACTORS.beta2 as f32).into(),
            ((1. - FACTORS.beta2) as f32).into(),
            (FACTORS.epsilon as f32).into(),
        ];
        // SAFETY: the buffers hold as many values as `quads` says, and factors for every step that is taken.
        unsafe {
            gpu.launch(("adam", "adam_step"), 3, 64, 0, &arguments).unwrap();
        }
    }
}

#[test]
fn adam_moves_parameters_and_moments_as_its_reference() {
    let (gpu, len) = (gpu(), 1004);
    let buffers = AdamBuffers::new(&gpu, len, 1);
    buffers.launch(&gpu);
    let tensor = |values: Vec<f32>| Tensor::new(values, &Device::Cpu).unwrap();
    let [theta, grad, m] = ["theta", "gradient", "m"].map(|name| tensor(random(name, len)));
    let v = tensor(random("v", len)).abs().unwrap();
    let (theta, m, v) = reference::adam_step(&theta, &grad, &m, &v, FACTORS).unwrap();
    for (name, buffer, expected) in [("theta", buffers.theta, theta), ("m", buffers.m, m), ("v", buffers.v, v)] {
        assert_near(name, &buffer.download(&gpu).unwrap(), &expected.to_vec1::<f32>().unwrap(), 1e-6);
    }
}

/// `a · b` of `count` pairs of matrices, summed in f64.
fn plain_product(sizes: Sizes, a: &[f32], a_transposed: bool, b: &[f32], b_transposed: bool) -> Vec<f32> {
    let Sizes { rows, columns, inner, count } = sizes;
    let value = |matrix: &[f32], height: usize, width: usize, row: usize, column: usize, is_transposed: bool| {
        f64::from(if is_transposed { matrix[column * height + row] } else { matrix[row * width + column] })
    };
    let mut out = Vec::new();
    for pair in 0..count {
        let (a, b) = (&a[pair * rows * inner..], &b[pair * inner * columns..]);
        for row in 0..rows {
            for column in 0..columns {
                let sum: f64 = (0..inner)
                    .map(|k| {
                        value(a, rows, inner, row, k, a_transposed) * value(b, inner, columns, k, column, b_transposed)
                    })
                    .sum();
                out.push(sum as f32);
            }
        }
    }
    out
}

#[test]
fn products_agree_with_plain_ones_in_every_precision_and_orientation() {
    let gpu = gpu();
    for (rows, columns, inner, count) in [(1, 1, 1, 1), (17, 9, 33, 1), (5, 70, 19, 3), (64, 16, 128, 2)] {
        let sizes = Sizes { rows, columns, inner, count };
        let (a, b) = (random("a", count * rows * inner), random("b", count * inner * columns));
        let (a16, b16) = (to_bf16(&a), to_bf16(&b));
        let before = random("out", count * rows * columns);
        let (on_a, on_b) = (gpu.upload(&a).unwrap(), gpu.upload(&b).unwrap());
        let (on_a16, on_b16) = (gpu.upload(&a16).unwrap(), gpu.upload(&b16).unwrap());
        for turns in 0..4 {
            let (turn_a, turn_b) = (turns & 1 != 0, turns & 2 != 0);
            let (width_a, width_b) = (if turn_a { rows } else { inner }, if turn_b { inner } else { columns });
            let what = format!("{sizes:?}, transposed {turn_a} {turn_b}");
            let expected = plain_product(sizes, &a, turn_a, &b, turn_b);
            let expected16 = plain_product(sizes, &from_bf16(&a16), turn_a, &from_bf16(&b16), turn_b);
            for is_added in [false, true] {
                for (precision, tolerance) in [(Precision::F32, 1e-6), (Precision::Tf32, 1e-3), (Precision::Bf16, 1e-6)]
                {
                    let out = gpu.upload(&before).unwrap();
                    let to = Matrix::new(out.output(), columns).every(rows * columns);
                    if precision == Precision::Bf16 {
                        let a = Matrix { is_transposed: turn_a, ..Matrix::new(on_a16.input(), width_a) };
                        let b = Matrix { is_transposed: turn_b, ..Matrix::new(on_b16.input(), width_b) };
                        let (a, b) = (a.every(rows * inner), b.every(inner * columns));
                        gpu.multiply(precision, sizes, a, b, to, is_added).unwrap();
                    } else {
                        let a = Matrix { is_transposed: turn_a, ..Matrix::new(on_a.input(), width_a) };
                        let b = Matrix { is_transposed: turn_b, ..Matrix::new(on_b.input(), width_b) };
                        let (a, b) = (a.every(rows * inner), b.every(inner * columns));
                        gpu.multiply(precision, sizes, a, b, to, is_added).unwrap();
                    }
                    let expected = if precision == Precision::Bf16 { &expected16 } else { &expected };
                    let expected: Vec<f32> =
                        expected.iter().zip(&before).map(|(e, b)| e + if is_added { *b } else { 0. }).collect();
                    assert_near(&format!("{what}, {precision:?}"), &out.download(&gpu).unwrap(), &expected, tolerance);
                }
            }
        }
    }
}

#[test]
fn a_product_that_reaches_beyond_its_values_is_refused() {
    let gpu = gpu();
    let sizes = Sizes { rows: 4, columns: 5, inner: 3, count: 2 };
    let (a, b, out) = (gpu.upload(&[1f32; 24]).unwrap(), gpu.upload(&[1f32; 30]).unwrap(), gpu.zeros(40).unwrap());
    let whole = || {
        let (a, b) = (Matrix::new(a.input(), 3).every(12), Matrix::new(b.input(), 5).every(15));
        (a, b, Matrix::new(out.output(), 5).every(20))
    };
    let product = |a, b, out| gpu.multiply(Precision::F32, sizes, a, b, out, false);
    let is_refused = |what: &str, result: candle_core::Result<()>| assert!(result.is_err(), "{what} was taken");
    let (a_whole, b_whole, out_whole) = whole();
    is_refused(
        "a left side of 23 values",
        product(Matrix { values: a.input().part(0, 23), ..a_whole }, b_whole, out_whole),
    );
    is_refused(
        "a right side that begins later",
        product(a_whole, Matrix { values: b.input().after(1), ..b_whole }, out_whole),
    );
    is_refused("matrices further apart", product(a_whole, b_whole, out_whole.every(21)));
    is_refused("rows longer than their distance", product(a_whole, Matrix { row: 4, ..b_whole }, out_whole));
    is_refused("a transposed side", product(a_whole.transposed(), b_whole, out_whole));
    let over = Matrix::new(out.input(), 3).every(12);
    is_refused("a result over its left side", product(over, b_whole, out_whole));
    // What was refused was not begun.
    assert_eq!(out.download(&gpu).unwrap(), [0.; 40]);
    product(a_whole, b_whole, out_whole).unwrap();
    assert_eq!(out.download(&gpu).unwrap(), [3.; 40]);
}

#[test]
fn an_operand_of_another_stream_is_refused() {
    let (gpu, other) = (gpu(), own_gpu());
    let (x, y) = (other.upload(&[-1f32, 2.]).unwrap(), gpu.zeros(2).unwrap());
    assert!(relu_forward(&gpu, 2, x.input(), y.output()).is_err());
    let matrix = Matrix::new(x.input(), 1);
    let sizes = Sizes { rows: 1, columns: 1, inner: 1, count: 1 };
    assert!(gpu.multiply(Precision::F32, sizes, matrix, matrix, Matrix::new(y.output(), 1), false).is_err());
    assert_eq!(y.download(&gpu).unwrap(), [0.; 2]);
}

#[test]
fn kernels_refuse_operands_of_fewer_values() {
    let gpu = gpu();
    let (x, y) = (gpu.upload(&[-1f32; 8]).unwrap(), gpu.zeros(8).unwrap());
    assert!(relu_forward(&gpu, 9, x.input(), y.output()).is_err());
    assert!(relu_forward(&gpu, 8, x.input().after(1), y.output()).is_err());
    assert!(relu_backward(&gpu, 8, x.input(), x.input(), y.output().part(0, 7)).is_err());
    assert!(squash_forward(&gpu, Squash::Exact, 3, 3, x.input(), y.output()).is_err());
    assert!(permute_4d(&gpu, [1, 3, 3, 1], [0, 1, 2, 3], x.input(), y.output()).is_err());
    assert!(permute_4d(&gpu, [1, 2, 2, 2], [0, 1, 1, 3], x.input(), y.output()).is_err());
    assert!(column_sums(&gpu, 3, 3, x.input(), None, y.output()).is_err());
    assert!(column_sums(&gpu, 2, 4, x.input(), None, y.output().part(0, 3)).is_err());
    let images = Images { planes: 1, height: 3, width: 3, inner: 1 };
    assert!(images.max_pool_forward(&gpu, x.input(), y.output()).is_err());
    // What was refused was not begun.
    assert_eq!(y.download(&gpu).unwrap(), [0.; 8]);
    relu_forward(&gpu, 8, x.input(), y.output()).unwrap();
}

#[test]
fn labels_beyond_the_classes_are_refused() {
    let gpu = gpu();
    let (cursor, shift) = (gpu.zeros(2).unwrap(), gpu.zeros(2).unwrap());
    let gathered = |classes| {
        let batch = Batch::new(&gpu, [1, 2, 2], classes, 2).unwrap();
        let resident = Resident::new(&gpu, &[0; 8], &[3, 9]).unwrap();
        let source = Source { images: &resident, order: None, cursor: &cursor, shift: &shift, largest_shift: 0 };
        // SAFETY: the cursor stands at the first of two images.
        unsafe { batch.gather(&gpu, 2, source) }.map(|()| batch)
    };
    assert!(gathered(9).is_err());
    let (batch, losses) = (gathered(10).unwrap(), Losses::new(&gpu, 2, 9, 1).unwrap());
    let logits = gpu.zeros(20).unwrap();
    assert!(losses.cross_entropy(&gpu, 2, logits.output(), &batch.labels, false).is_err());
    let losses = Losses::new(&gpu, 2, 10, 1).unwrap();
    assert!(losses.cross_entropy(&gpu, 3, logits.output(), &batch.labels, false).is_err());
    losses.cross_entropy(&gpu, 2, logits.output(), &batch.labels, false).unwrap();
}

#[test]
fn tf32_rounds_its_factors() {
    let gpu = gpu();
    // 1 + 2^-12 is none of TF32's values: it goes to 1.
    let a = gpu.upload(&[1. + 1. / 4096.]).unwrap();
    let b = gpu.upload(&[1f32]).unwrap();
    let sizes = Sizes { rows: 1, columns: 1, inner: 1, count: 1 };
    let product = |precision| {
        let out = gpu.zeros(1).unwrap();
        let [a, b] = [&a, &b].map(|buffer| Matrix::new(buffer.input(), 1));
        gpu.multiply(precision, sizes, a, b, Matrix::new(out.output(), 1), false).unwrap();
        out.download(&gpu).unwrap()[0]
    };
    assert_eq!(product(Precision::F32), 1. + 1. / 4096.);
    // A GPU may compute a product this small without tensor cores, exactly.
    if !is_emulated(&gpu) {
        return skipped("whether a GPU rounds the factors of so small a product is up to it");
    }
    assert_eq!(product(Precision::Tf32), 1.);
}

#[test]
fn a_captured_graph_does_nothing_until_it_is_launched_and_then_the_same_each_time() {
    let (gpu, len, steps) = (own_gpu(), 256, 3);
    let (plain, captured) = (AdamBuffers::new(&gpu, len, steps), AdamBuffers::new(&gpu, len, steps));
    // The kernels are loaded before: that is no work of a stream.
    for _ in 0..steps {
        plain.launch(&gpu);
    }
    gpu.stream().begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    captured.launch(&gpu);
    let graph = gpu.stream().end_capture(CUgraphInstantiate_flags(0)).unwrap().unwrap();
    assert_eq!(captured.theta.download(&gpu).unwrap(), random("theta", len));
    for _ in 0..steps {
        graph.launch().unwrap();
    }
    assert_eq!(captured.theta.download(&gpu).unwrap(), plain.theta.download(&gpu).unwrap());
}

#[test]
fn a_capture_refuses_what_cannot_be_replayed() {
    let gpu = own_gpu();
    // A GPU records an allocation and reads the memory of the host at every replay; only the emulated device is this strict.
    if !is_emulated(&gpu) {
        return skipped("only the emulated device is this strict, and this one is a GPU");
    }
    let mut buffer = gpu.upload(&[1f32; 8]).unwrap();
    let event = gpu.stream().record_event(None).unwrap();
    let check = |what: &str, is_refused: &mut dyn FnMut() -> bool| {
        gpu.stream().begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        assert!(is_refused(), "{what} was allowed");
        let error = gpu.stream().end_capture(CUgraphInstantiate_flags(0)).err().expect(what);
        error.to_string().names(["CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"]);
    };
    check("an allocation", &mut || gpu.zeros::<f32>(8).is_err());
    check("a wait for the device", &mut || gpu.synchronize().is_err());
    check("a copy from the host", &mut || buffer.fill_from(&gpu, &[2f32; 8]).is_err());
    check("a look at an event", &mut || event.try_is_complete().is_err());
    assert_eq!(buffer.download(&gpu).unwrap(), [1.; 8]);
}

#[test]
fn candles_own_operations_and_gradients_run() {
    let device = Device::Cuda(gpu().device().clone());
    let x = Var::from_tensor(&Tensor::new(&[[1f32, -2., 3.], [4., 5., -6.]], &device).unwrap()).unwrap();
    let scaled = (x.as_tensor() * 2.).unwrap();
    let y = (scaled.t().unwrap().contiguous().unwrap().sqr().unwrap() + 1.).unwrap().sum_all().unwrap();
    assert_eq!(y.to_scalar::<f32>().unwrap(), 4. * 91. + 6.);
    let gradient = y.backward().unwrap().get(&x).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(gradient, [[8., -16., 24.], [32., 40., -48.]]);
    let (a, b) = (Tensor::ones((2, 3), candle_core::DType::F32, &device).unwrap(), x.as_tensor().t().unwrap());
    assert_eq!(a.matmul(&b).unwrap().to_vec2::<f32>().unwrap(), [[2., 3.], [2., 3.]]);
    let indices = Tensor::new(&[1u32, 0], &device).unwrap().to_dtype(candle_core::DType::F32).unwrap();
    assert_eq!(indices.to_vec1::<f32>().unwrap(), [1., 0.]);
}

#[test]
fn memory_that_there_is_not_is_told_with_what_is_free() {
    let gpu = gpu();
    let (free, _) = gpu.stream().context().mem_get_info().unwrap();
    let error = gpu.zeros::<f32>(free / 4 + (1 << 20)).err().expect("more than is free").to_string();
    // How much is free changes while other tests run.
    error.names(["GPU memory", "8192 MiB", "free"]);
}
