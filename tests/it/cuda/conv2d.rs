//! The convolution on a CUDA device against that of the CPU.

use candle_core::{
    Device, Result, Tensor, Var,
    cuda_backend::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};
use fastrcaps::learn::{
    kernels::{
        self, Activation, UnfoldedConv2d,
        cuda::{Buffer, Conv2d, Gpu},
    },
    model::config::Precision,
};
use proptest::prelude::*;

use super::{assert_near, from_bf16, gpu, ops::assert_ops_agree, own_gpu, random, to_bf16};
use crate::facts::Facts;

/// A convolution to try.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    in_channels: usize,
    filters: usize,
    sharing: usize,
    kernel: [usize; 2],
    stride: usize,
    /// Rows and columns of the image beyond the kernel.
    extra: [usize; 2],
    activation: Activation,
}

fn cases() -> impl Strategy<Value = Case> {
    let channels = prop::sample::select(vec![1usize, 2, 3, 4, 5, 8, 13, 20, 33, 64]);
    let activation = prop::sample::select(vec![Activation::None, Activation::Relu]);
    let kernel = (1usize..6, 1usize..6);
    (1usize..10, channels, 1usize..10, 1usize..4, kernel, 1usize..4, (0usize..7, 0usize..7), activation).prop_map(
        |(batch, in_channels, filters, sharing, (kh, kw), stride, (down, across), activation)| Case {
            batch,
            in_channels,
            filters,
            sharing,
            kernel: [kh, kw],
            stride,
            extra: [down, across],
            activation,
        },
    )
}

/// What a convolution gives and its gradients, by the device's layouts.
struct Passes {
    y: Vec<f32>,
    dx: Option<Vec<f32>>,
    dweight: Vec<f32>,
    dbias: Vec<f32>,
}

impl Passes {
    fn bits(&self) -> Vec<u32> {
        let all = [Some(&self.y), self.dx.as_ref(), Some(&self.dweight), Some(&self.dbias)];
        all.into_iter().flatten().flatten().map(|value| value.to_bits()).collect()
    }
}

/// `[batch, channels, height, width]` by pixels, or `[filters, in, kh, kw]` by taps if the last two are exchanged too.
fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn by_pixels(tensor: &Tensor) -> Vec<f32> {
    flat(&tensor.permute((2, 3, 0, 1)).unwrap())
}

fn by_taps(weight: &Tensor) -> Vec<f32> {
    flat(&weight.permute((2, 3, 1, 0)).unwrap())
}

fn bf16(tensor: &Tensor) -> Tensor {
    Tensor::from_vec(from_bf16(&to_bf16(&flat(tensor))), tensor.shape(), &Device::Cpu).unwrap()
}

impl Case {
    fn image(&self) -> [usize; 3] {
        [self.in_channels, self.kernel[0] + self.extra[0], self.kernel[1] + self.extra[1]]
    }

    fn channels(&self) -> usize {
        self.filters * self.sharing
    }

    fn tensor(&self, name: &str, dims: &[usize]) -> Tensor {
        Tensor::from_vec(random(name, dims.iter().product()), dims, &Device::Cpu).unwrap()
    }

    fn x(&self) -> Tensor {
        let [channels, height, width] = self.image();
        self.tensor("x", &[self.batch, channels, height, width])
    }

    fn weight(&self) -> Tensor {
        self.tensor("weight", &[self.filters, self.in_channels, self.kernel[0], self.kernel[1]])
    }

    fn bias(&self) -> Tensor {
        self.tensor("bias", &[self.channels()])
    }

    fn conv(&self, gpu: &Gpu, most: usize, precision: Precision, needs_input_gradient: bool) -> Conv2d {
        let (image, channels) = (self.image(), self.channels());
        let &Case { filters, kernel, stride, activation, .. } = self;
        Conv2d::new(gpu, most, image, filters, channels, kernel, stride, activation, precision, needs_input_gradient)
            .unwrap()
    }

    /// Forward and backward by `conv`, with these operands in the device's layouts.
    fn run(&self, gpu: &Gpu, conv: &Conv2d, batch: usize, x: &[f32], dy: &[f32], needs_input_gradient: bool) -> Passes {
        let upload = |values: &[f32]| gpu.upload(values).unwrap();
        // What is to be written holds what must not be left.
        let unwritten = |len: usize| upload(&vec![f32::NAN; len]);
        let (x_on, weight, bias) = (upload(x), upload(&by_taps(&self.weight())), upload(&flat(&self.bias())));
        let (y, dy_on) = (unwritten(dy.len()), upload(dy));
        let (dx, dweight, dbias) = (unwritten(x.len()), unwritten(weight.len()), unwritten(bias.len()));
        let dx_at = needs_input_gradient.then(|| dx.output());
        conv.forward(gpu, batch, x_on.input(), weight.input(), bias.input(), y.output()).unwrap();
        let (y_at, dy_at) = (y.input(), dy_on.output());
        conv.backward(gpu, batch, weight.input(), y_at, dy_at, dx_at, dweight.output(), dbias.output()).unwrap();
        let [y, dx, dweight, dbias] = [y, dx, dweight, dbias].map(|buffer: Buffer<f32>| buffer.download(gpu).unwrap());
        Passes { y, dx: needs_input_gradient.then_some(dx), dweight, dbias }
    }

    /// Values of y in a sample.
    fn outputs(&self, conv: &Conv2d) -> usize {
        conv.out()[0] * conv.out()[1] * self.channels()
    }

    fn assert_agrees(&self, precision: Precision, needs_input_gradient: bool) {
        let (gpu, most) = (gpu(), self.batch + 2);
        let conv = self.conv(&gpu, most, precision, needs_input_gradient);
        let (x, weight) = (self.x(), self.weight());
        let dy = random("dy", self.batch * self.outputs(&conv));
        // A larger batch, and a bad one: what it leaves in the scratch memory must not be seen afterwards.
        let bad = |values: usize| vec![f32::NAN; values / self.batch * most];
        self.run(&gpu, &conv, most, &bad(x.elem_count()), &bad(dy.len()), needs_input_gradient);
        let got = self.run(&gpu, &conv, self.batch, &by_pixels(&x), &dy, needs_input_gradient);
        let again = self.run(&gpu, &conv, self.batch, &by_pixels(&x), &dy, needs_input_gradient);
        assert_eq!(got.bits(), again.bits(), "the same operands again");

        let rounded = |tensor: &Tensor| if precision == Precision::Bf16 { bf16(tensor) } else { tensor.clone() };
        let tolerance = if precision == Precision::Tf32 { 3e-3 } else { 2e-5 };
        let (x, weight) = (rounded(&x), rounded(&weight));
        let op = if self.activation == Activation::Relu { kernels::conv2d_relu } else { kernels::conv2d };
        let y = op(&x, &weight, &self.bias(), self.stride).unwrap();
        assert_near("y", &got.y, &by_pixels(&y), tolerance);

        // The rectifier as the device saw it: rounding may have moved a value across 0.
        let is_passed = |y: f32| self.activation == Activation::None || y > 0.;
        let dz: Vec<f32> = dy.iter().zip(&got.y).map(|(&dy, &y)| if is_passed(y) { dy } else { 0. }).collect();
        let mut dbias = vec![0f64; self.channels()];
        for row in dz.chunks(self.channels()) {
            dbias.iter_mut().zip(row).for_each(|(sum, &dz)| *sum += f64::from(dz));
        }
        assert_near("dbias", &got.dbias, &dbias.iter().map(|&sum| sum as f32).collect::<Vec<_>>(), 2e-5);
        let [rows, columns] = conv.out();
        // What the channels of a filter add up to, in their order.
        let shared = |row: &[f32], f: usize| row[f..].iter().step_by(self.filters).fold(0., |sum, dz| sum + dz);
        let rows_of = dz.chunks(self.channels());
        let dz: Vec<f32> = rows_of.flat_map(|row| (0..self.filters).map(move |f| shared(row, f))).collect();
        let dz = rounded(&Tensor::from_vec(dz, (rows, columns, self.batch, self.filters), &Device::Cpu).unwrap());
        let (x, weight) = (Var::from_tensor(&x).unwrap(), Var::from_tensor(&weight).unwrap());
        let none = Tensor::zeros(self.filters, candle_core::DType::F32, &Device::Cpu).unwrap();
        let z = kernels::conv2d(&x, &weight, &none, self.stride).unwrap();
        let sum = (z * dz.permute((2, 3, 0, 1)).unwrap().contiguous().unwrap()).unwrap().sum_all().unwrap();
        let gradients = sum.backward().unwrap();
        assert_near("dweight", &got.dweight, &by_taps(gradients.get(&weight).unwrap()), tolerance);
        if let Some(dx) = &got.dx {
            assert_near("dx", dx, &by_pixels(gradients.get(&x).unwrap()), tolerance);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn conv2d_agrees_with_that_of_the_cpu_on_odd_shapes(
        case in cases(), precision in prop::sample::select(vec![Precision::F32, Precision::Tf32, Precision::Bf16]),
        needs_input_gradient in any::<bool>(),
    ) {
        case.assert_agrees(precision, needs_input_gradient);
    }

    #[test]
    fn conv2d_as_an_op_agrees_with_that_of_the_cpu(case in cases()) {
        let operands = [case.x(), case.weight(), case.bias()];
        let op = if case.activation == Activation::Relu { kernels::conv2d_relu } else { kernels::conv2d };
        assert_ops_agree(&operands, 2e-5, |t| op(&t[0], &t[1], &t[2], case.stride));
    }
}

/// One case of each way to unfold.
fn both_ways() -> [Case; 2] {
    let whole = Case {
        batch: 5,
        in_channels: 3,
        filters: 8,
        sharing: 1,
        kernel: [3, 4],
        stride: 2,
        extra: [4, 5],
        activation: Activation::Relu,
    };
    let by_rows = Case { in_channels: 24, ..whole.clone() };
    let ways = [&whole, &by_rows].map(|case| {
        UnfoldedConv2d::new(case.image(), case.filters, case.channels(), case.kernel, case.stride).unwrap().is_whole()
    });
    assert_eq!(ways, [true, false]);
    [whole, by_rows]
}

#[test]
fn both_ways_to_unfold_agree_in_every_precision() {
    for case in both_ways() {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            case.assert_agrees(precision, true);
        }
    }
}

#[test]
fn the_gradient_of_what_no_kernel_reaches_is_0() {
    for case in both_ways() {
        // The last row and column: 3 + 3 rows by steps of 2.
        let case = Case { extra: [3, 3], activation: Activation::None, ..case };
        let gpu = gpu();
        let conv = case.conv(&gpu, case.batch, Precision::F32, true);
        let dy = vec![1.; case.batch * case.outputs(&conv)];
        let dx = case.run(&gpu, &conv, case.batch, &by_pixels(&case.x()), &dy, true).dx.unwrap();
        let [channels, height, width] = case.image();
        for (pixel, gradient) in dx.chunks(case.batch * channels).enumerate() {
            let is_reached = pixel / width < height - 1 && pixel % width < width - 1;
            assert!(gradient.iter().all(|&g| (g != 0.) == is_reached), "pixel {pixel}: {gradient:?}");
        }
    }
}

#[test]
fn a_nan_in_the_image_or_the_gradient_leaves_the_convolution() {
    for case in both_ways() {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            let gpu = gpu();
            let conv = case.conv(&gpu, case.batch, precision, true);
            let mut x = by_pixels(&case.x());
            x[0] = f32::NAN;
            let mut dy = random("dy", case.batch * case.outputs(&conv));
            let passes = case.run(&gpu, &conv, case.batch, &x, &dy, true);
            assert!(passes.y[..case.channels()].iter().all(|y| y.is_nan()), "{:?}", &passes.y[..case.channels()]);
            // Every filter sees it in one place, and there the rectifier passes the gradient on.
            assert!(passes.dweight[..case.filters].iter().all(|d| d.is_nan()));
            assert!(passes.dbias.iter().all(|d| d.is_finite()));
            dy[0] = f32::NAN;
            let passes = case.run(&gpu, &conv, case.batch, &x, &dy, true);
            assert!(passes.dbias[0].is_nan());
            assert!(passes.dx.unwrap()[..case.in_channels].iter().all(|d| d.is_nan()));
        }
    }
}

#[test]
fn a_captured_convolution_repeats_itself() {
    for case in both_ways() {
        for precision in [Precision::F32, Precision::Bf16] {
            let gpu = own_gpu();
            let conv = case.conv(&gpu, case.batch, precision, true);
            let dy_values = random("dy", case.batch * case.outputs(&conv));
            let expected = case.run(&gpu, &conv, case.batch, &by_pixels(&case.x()), &dy_values, true);
            let upload = |values: &[f32]| gpu.upload(values).unwrap();
            let (x, weight, bias) =
                (upload(&by_pixels(&case.x())), upload(&by_taps(&case.weight())), upload(&flat(&case.bias())));
            let (y, mut dy) = (upload(&dy_values), upload(&dy_values));
            let (dx, dweight, dbias) =
                (upload(&by_pixels(&case.x())), upload(&by_taps(&case.weight())), upload(&flat(&case.bias())));
            gpu.stream().begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
            conv.forward(&gpu, case.batch, x.input(), weight.input(), bias.input(), y.output()).unwrap();
            let (dx_at, dweight_at, dbias_at) = (Some(dx.output()), dweight.output(), dbias.output());
            conv.backward(&gpu, case.batch, weight.input(), y.input(), dy.output(), dx_at, dweight_at, dbias_at)
                .unwrap();
            let graph = gpu.stream().end_capture(CUgraphInstantiate_flags(0)).unwrap().unwrap();
            for _ in 0..2 {
                dy.fill_from(&gpu, &dy_values).unwrap();
                graph.launch().unwrap();
                let [y, dx, dweight, dbias] = [&y, &dx, &dweight, &dbias].map(|buffer| buffer.download(&gpu).unwrap());
                assert_eq!(Passes { y, dx: Some(dx), dweight, dbias }.bits(), expected.bits());
            }
        }
    }
}

#[test]
fn more_samples_than_there_is_memory_for_are_refused() {
    let [case, _] = both_ways();
    let gpu = gpu();
    let conv = case.conv(&gpu, 2, Precision::F32, false);
    let room = |len: usize| gpu.zeros::<f32>(len).unwrap();
    let (x, weight) = (room(3 * case.image().iter().product::<usize>()), room(case.weight().elem_count()));
    let (y, bias) = (room(3 * case.outputs(&conv)), room(case.channels()));
    let forward = |batch| conv.forward(&gpu, batch, x.input(), weight.input(), bias.input(), y.output());
    let error = forward(3).unwrap_err().to_string();
    error.names(["3 samples", "2"]);
    forward(2).unwrap();
    let conv = case.conv(&gpu, 2, Precision::Bf16, false);
    let (dy, dx, dweight) = (room(2 * case.outputs(&conv)), room(x.len()), room(weight.len()));
    let (dx, dweight, dbias) = (Some(dx.output()), dweight.output(), bias.output());
    let error = conv.backward(&gpu, 2, weight.input(), y.input(), dy.output(), dx, dweight, dbias);
    let error = error.unwrap_err().to_string();
    error.names(["gradient", "image"]);
}

#[test]
fn operands_of_fewer_values_are_refused() {
    let [case, _] = both_ways();
    let gpu = gpu();
    let conv = case.conv(&gpu, case.batch, Precision::F32, true);
    let upload = |values: &[f32]| gpu.upload(values).unwrap();
    let (x, weight, bias) =
        (upload(&by_pixels(&case.x())), upload(&by_taps(&case.weight())), upload(&flat(&case.bias())));
    let y = gpu.zeros::<f32>(case.batch * case.outputs(&conv)).unwrap();
    let whole = [x.input(), weight.input(), bias.input(), y.input()];
    for short in 0..4 {
        let len = |index: usize| whole[index].len() - usize::from(index == short);
        let [x, weight, bias] = [0, 1, 2].map(|index| whole[index].part(0, len(index)));
        let refused = conv.forward(&gpu, case.batch, x, weight, bias, y.output().part(0, len(3)));
        assert!(refused.is_err(), "operand {short} was taken");
    }
    conv.forward(&gpu, case.batch, x.input(), weight.input(), bias.input(), y.output()).unwrap();
}

#[test]
fn a_second_backward_pass_of_an_op_has_the_gradients_of_the_first() -> Result<()> {
    for case in both_ways() {
        let device = Device::Cuda(gpu().device().clone());
        let x = Var::from_tensor(&case.x().to_device(&device)?)?;
        let sum =
            kernels::conv2d(&x, &case.weight().to_device(&device)?, &case.bias().to_device(&device)?, 2)?.sum_all()?;
        let [first, second] = [sum.backward()?, sum.backward()?].map(|g| flat(g.get(&x).unwrap()));
        assert_eq!(first, second);
    }
    Ok(())
}
