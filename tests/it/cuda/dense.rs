//! Fully connected layers, the rectifier, max pooling and sums on a CUDA device against those of the CPU.

use candle_core::{DType, Device, Tensor, Var};
use fastrcaps::learn::{
    kernels::{
        self, Activation,
        chunks::most_chunks,
        cuda::{Images, OutputGradient, column_sums, linear_backward, linear_forward, permute_4d},
    },
    model::config::Precision,
};
use proptest::prelude::*;

use super::{assert_near, gpu, ops::assert_ops_agree, random};

fn tensor(name: &str, dims: &[usize]) -> Tensor {
    Tensor::from_vec(random(name, dims.iter().product()), dims, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// A layer's forward and backward pass on the device against the ops of the CPU.
fn assert_linear_agrees(
    [batch, inputs, outputs]: [usize; 3],
    precision: Precision,
    activation: Activation,
    needs_input_gradient: bool,
) {
    let gpu = gpu();
    let [x, weight, bias, dy] = [
        tensor("x", &[batch, inputs]),
        tensor("weight", &[outputs, inputs]),
        tensor("bias", &[outputs]),
        tensor("dy", &[batch, outputs]),
    ];
    let on = |tensor: &Tensor| gpu.upload(&flat(tensor)).unwrap();
    let unwritten = |len| gpu.upload(&vec![f32::NAN; len]).unwrap();
    let (x_on, weight_on, bias_on, dy_on) = (on(&x), on(&weight), on(&bias), on(&dy));
    let (y, dx) = (unwritten(batch * outputs), unwritten(batch * inputs));
    let (dweight, dbias) = (unwritten(outputs * inputs), unwritten(outputs));
    let (x_at, weight_at) = (x_on.input(), weight_on.input());
    let forward = || {
        let (bias, y_at) = (bias_on.input(), y.output());
        linear_forward(&gpu, precision, batch, inputs, outputs, x_at, weight_at, bias, activation, y_at).unwrap();
        y.download(&gpu).unwrap()
    };
    let first = forward();
    assert_eq!(first, forward(), "the same operands again");
    linear_backward(
        &gpu,
        precision,
        batch,
        inputs,
        outputs,
        x_at,
        weight_at,
        OutputGradient::new(activation, y.input(), dy_on.output()),
        needs_input_gradient.then(|| dx.output()),
        dweight.output(),
        dbias.output(),
    )
    .unwrap();
    let y = first;

    let (x, weight, bias) =
        (Var::from_tensor(&x).unwrap(), Var::from_tensor(&weight).unwrap(), Var::from_tensor(&bias).unwrap());
    let z = kernels::linear(&x, &weight, &bias).unwrap();
    let is_rectified = activation == Activation::Relu;
    let expected = if is_rectified { kernels::relu(&z).unwrap() } else { z.clone() };
    let tolerance = if precision == Precision::F32 { 1e-5 } else { 3e-3 };
    assert_near("y", &y, &flat(&expected), tolerance);
    // The rectifier as the device saw it: rounding may have moved a value across 0.
    let dz: Vec<f32> =
        flat(&dy).iter().zip(&y).map(|(&dy, &y)| if is_rectified && y <= 0. { 0. } else { dy }).collect();
    assert_eq!(dy_on.download(&gpu).unwrap(), dz, "dy, once the rectifier's derivative is in it");
    let dz = Tensor::from_vec(dz, (batch, outputs), &Device::Cpu).unwrap();
    let gradients = (z * dz).unwrap().sum_all().unwrap().backward().unwrap();
    for (what, got, operand) in [("dx", dx, &x), ("dweight", dweight, &weight), ("dbias", dbias, &bias)] {
        if what != "dx" || needs_input_gradient {
            assert_near(what, &got.download(&gpu).unwrap(), &flat(gradients.get(operand).unwrap()), tolerance);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn linear_agrees_with_that_of_the_cpu(
        batch in 1usize..40, inputs in 1usize..70, outputs in 1usize..70, is_rectified in any::<bool>(),
        precision in prop::sample::select(vec![Precision::F32, Precision::Tf32, Precision::Bf16]),
        needs_input_gradient in any::<bool>(),
    ) {
        let activation = if is_rectified { Activation::Relu } else { Activation::None };
        assert_linear_agrees([batch, inputs, outputs], precision, activation, needs_input_gradient);
        let operands = [tensor("x", &[batch, inputs]), tensor("weight", &[outputs, inputs]), tensor("bias", &[outputs])];
        assert_ops_agree(&operands, 1e-5, |t| kernels::linear(&t[0], &t[1], &t[2]));
    }

    #[test]
    fn relu_and_max_pool_agree_with_those_of_the_cpu(
        batch in 1usize..5, channels in 1usize..7, h in 2usize..11, w in 2usize..11,
    ) {
        let x = [tensor("x", &[batch, channels, h, w])];
        assert_ops_agree(&x, 0., |t| kernels::relu(&t[0]));
        assert_ops_agree(&x, 0., |t| kernels::max_pool_2x2(&t[0]));
        // Few values, so that windows have several largest ones.
        let few = [((&x[0] * 3.).unwrap().round().unwrap() / 3.).unwrap()];
        assert_ops_agree(&few, 0., |t| kernels::max_pool_2x2(&t[0]));
    }

    #[test]
    fn columns_are_summed_in_one_stage_or_two(rows in 1usize..3000, columns in 1usize..40) {
        let gpu = gpu();
        let values = random("x", rows * columns);
        let (x, partial) = (gpu.upload(&values).unwrap(), gpu.zeros(most_chunks(rows) * columns).unwrap());
        let sums = |partial| {
            let out = gpu.upload(&vec![f32::NAN; columns]).unwrap();
            column_sums(&gpu, rows, columns, x.input(), partial, out.output()).unwrap();
            out.download(&gpu).unwrap()
        };
        let mut expected = vec![0f64; columns];
        for row in values.chunks(columns) {
            expected.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let expected: Vec<f32> = expected.into_iter().map(|sum| sum as f32).collect();
        for partial in [None, Some(partial.output())] {
            // Of many values between -1 and 1, the sum can be small beside them.
            let (got, size) = (sums(partial), (rows as f32).sqrt());
            let scaled = |sums: &[f32]| sums.iter().map(|sum| sum / size).chain([1.]).collect::<Vec<_>>();
            assert_near("sums", &scaled(&got), &scaled(&expected), 1e-5);
            assert_eq!(got, sums(partial), "the same again");
        }
    }

    #[test]
    fn dimensions_are_permuted(dims in prop::array::uniform4(1usize..6), order in Just([0usize, 1, 2, 3]).prop_shuffle()) {
        let (gpu, x) = (gpu(), tensor("x", &dims));
        let (from, to) = (gpu.upload(&flat(&x)).unwrap(), gpu.zeros(x.elem_count()).unwrap());
        permute_4d(&gpu, dims, order, from.input(), to.output()).unwrap();
        let [a, b, c, d] = order;
        assert_eq!(to.download(&gpu).unwrap(), flat(&x.permute((a, b, c, d)).unwrap()));
    }
}

#[test]
fn max_pool_takes_the_layout_of_the_networks_passes_too() {
    let gpu = gpu();
    let (batch, channels, height, width) = (3, 5, 7, 6);
    let by_pixels = |tensor: &Tensor| flat(&tensor.permute((2, 3, 0, 1)).unwrap());
    let x = Var::from_tensor(&tensor("x", &[batch, channels, height, width])).unwrap();
    let dy = tensor("dy", &[batch, channels, height / 2, width / 2]);
    let images = Images { planes: 1, height, width, inner: batch * channels };
    let (x_on, dy_on) = (gpu.upload(&by_pixels(&x)).unwrap(), gpu.upload(&by_pixels(&dy)).unwrap());
    let (y, dx) = (gpu.zeros(dy.elem_count()).unwrap(), gpu.upload(&vec![f32::NAN; x.elem_count()]).unwrap());
    images.max_pool_forward(&gpu, x_on.input(), y.output()).unwrap();
    images.max_pool_backward(&gpu, x_on.input(), dy_on.input(), dx.output()).unwrap();
    let expected = kernels::max_pool_2x2(&x).unwrap();
    assert_eq!(y.download(&gpu).unwrap(), by_pixels(&expected));
    let gradients = (expected * dy).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(dx.download(&gpu).unwrap(), by_pixels(gradients.get(&x).unwrap()));
}

#[test]
fn a_nan_leaves_layers_rectifiers_and_windows() {
    let device = Device::Cuda(gpu().device().clone());
    let mut values = random("x", 2 * 3 * 4 * 4);
    values[5] = f32::NAN;
    values[6] = f32::NAN;
    let x = Tensor::from_vec(values, (2, 3, 4, 4), &Device::Cpu).unwrap();
    // Where they are, and to whom the gradient goes, is as on the CPU.
    assert_ops_agree(std::slice::from_ref(&x), 0., |t| kernels::relu(&t[0]));
    assert_ops_agree(std::slice::from_ref(&x), 0., |t| kernels::max_pool_2x2(&t[0]));
    let x = x.reshape((6, 16)).unwrap().to_device(&device).unwrap();
    let weight = Tensor::ones((2, 16), DType::F32, &device).unwrap();
    let bias = Tensor::zeros(2, DType::F32, &device).unwrap();
    let y = kernels::linear(&x, &weight, &bias).unwrap().to_vec2::<f32>().unwrap();
    assert!(y[0].iter().all(|y| y.is_nan()) && y[1].iter().all(|y| y.is_finite()), "{y:?}");
    let y = kernels::relu(&x).unwrap().to_vec2::<f32>().unwrap();
    assert!(y[0][5].is_nan() && y[0][6].is_nan());
}

#[test]
fn operands_that_begin_anywhere_in_memory_are_taken() {
    // A tensor of a part begins where its storage does not: not at a multiple of 16 bytes.
    let part = |t: &Tensor| t.narrow(0, 1, t.dims()[0] - 1);
    let x = tensor("x", &[6, 3]);
    assert_ops_agree(std::slice::from_ref(&x), 0., |t| kernels::relu(&part(&t[0])?));
    let operands = [x, tensor("weight", &[9, 3]), tensor("bias", &[9])];
    assert_ops_agree(&operands, 1e-5, |t| kernels::linear(&part(&t[0])?, &part(&t[1])?, &part(&t[2])?));
    let operands = [tensor("x", &[3, 4, 5, 5]), tensor("weight", &[5, 4, 3, 3]), tensor("bias", &[5])];
    assert_ops_agree(&operands, 1e-5, |t| kernels::conv2d(&part(&t[0])?, &part(&t[1])?, &part(&t[2])?, 1));
}
