//! Every fast op against its reference, forward and backward, and against itself on other numbers of threads.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, Var};
use fastrcaps::learn::{
    kernels::{
        self, Activation, Algorithm, ClassCapsulesPlan, Conv2dPlan, Optimizer, Rule, Weight, optimizer::Constants,
        reference,
    },
    model::config::Squash,
};
use proptest::prelude::*;

use crate::tensors::{assert_close, bits, gradients, values, var};

const SQUASHES: [Squash; 2] = [Squash::Exact, Squash::Approximate];

/// Asserts that both agree in value and in the gradients of all operands, in f64 and in f32.
fn assert_agree(
    operands: &[Var],
    fast: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    assert_agree_within([(DType::F64, 1e-11), (DType::F32, 1e-4)], operands, fast, plain)
}

fn assert_agree_within<const N: usize>(
    tolerances: [(DType, f64); N],
    operands: &[Var],
    fast: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    for (dtype, tolerance) in tolerances {
        let vars: Vec<Var> = operands
            .iter()
            .map(|v| Var::from_tensor(&v.to_dtype(dtype).unwrap().copy().unwrap().detach()).unwrap())
            .collect();
        let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let (y, expected) = (fast(&tensors).unwrap(), plain(&tensors).unwrap());
        assert_eq!(y.dims(), expected.dims());
        assert_close("forward", &values(&y), &values(&expected), tolerance);
        let refs: Vec<&Var> = vars.iter().collect();
        for (i, (g, e)) in gradients(&y, &refs).iter().zip(gradients(&expected, &refs)).enumerate() {
            assert_close(&format!("gradient of operand {i}"), g, &e, tolerance);
        }
    }
}

/// Asserts that two normalisations of `[x, weight, bias]` agree: as [`assert_agree`] in f64; in f32 to 1e-4 of the largest of
/// all gradients. Those of weight and bias are sums over all positions, and what is left of terms that cancel may be smaller
/// than their rounding.
fn assert_normalisations_agree(
    operands: [&Var; 3],
    fast: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    assert_agree_within([(DType::F64, 1e-11)], &operands.map(Var::clone), &fast, &plain);
    let vars = operands.map(|v| Var::from_tensor(&v.to_dtype(DType::F32).unwrap()).unwrap());
    let tensors = vars.each_ref().map(|v| v.as_tensor().clone());
    let (y, expected) = (fast(&tensors).unwrap(), plain(&tensors).unwrap());
    assert_close("forward in f32", &values(&y), &values(&expected), 1e-4);
    let [gradients, expected] = [y, expected].map(|y| gradients(&y, &vars.each_ref()).concat());
    assert_close("gradients in f32", &gradients, &expected, 1e-4);
}

/// In f32 to 2e-5 of the largest value, of everything.
fn assert_fourier_agrees(x: Var, weight: Var, sharing: usize, stride: usize) {
    let bias = var("bias", &[weight.dims()[0] * sharing]);
    assert_agree_within(
        [(DType::F64, 1e-11), (DType::F32, 2e-5)],
        &[x, weight, bias],
        |t| kernels::conv2d_by(Algorithm::Fourier, &t[0], &t[1], &t[2], stride),
        |t| reference::conv2d(&t[0], &t[1], &t[2], stride),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn conv2d_agrees_with_its_reference(
        batch in 1usize..5, in_channels in 1usize..6, filters in 1usize..12, sharing in 1usize..4,
        kernel in 1usize..6, stride in 1usize..4, extra in (0usize..8, 0usize..8),
    ) {
        let x = var("x", &[batch, in_channels, kernel + extra.0, kernel + extra.1]);
        let weight = var("weight", &[filters, in_channels, kernel, kernel]);
        let bias = var("bias", &[filters * sharing]);
        assert_agree(
            &[x, weight, bias],
            |t| kernels::conv2d(&t[0], &t[1], &t[2], stride),
            |t| reference::conv2d(&t[0], &t[1], &t[2], stride),
        );
    }

    #[test]
    fn batch_norm_agrees_with_its_reference(batch in 1usize..6, channels in 1usize..7, size in (1usize..8, 1usize..8)) {
        let x = var("x", &[batch, channels, size.0, size.1]);
        let [weight, bias, mean] = ["weight", "bias", "mean"].map(|name| var(name, &[channels]));
        assert_normalisations_agree(
            [&x, &weight, &bias],
            |t| Ok(kernels::batch_norm(&t[0], &t[1], &t[2])?.0),
            |t| {
                let [mean, variance] = reference::channel_statistics(&t[0])?;
                reference::batch_norm(&t[0], &t[1], &t[2], &mean, &variance)
            },
        );
        let statistics = |t: &Tensor| -> Result<[Tensor; 2]> {
            let mean = mean.to_dtype(t.dtype())?.detach();
            Ok([mean.clone(), (mean.sqr()? + 0.1)?])
        };
        assert_normalisations_agree(
            [&x, &weight, &bias],
            |t| statistics(&t[0]).and_then(|[mean, variance]| kernels::batch_norm_by(&t[0], &t[1], &t[2], &mean, &variance)),
            |t| statistics(&t[0]).and_then(|[mean, variance]| reference::batch_norm(&t[0], &t[1], &t[2], &mean, &variance)),
        );
    }

    #[test]
    fn attention_routing_agrees_with_its_reference(
        batch in 1usize..5, capsules in 1usize..8, in_dim in 1usize..10, classes in 1usize..6, dim in 1usize..12,
    ) {
        let u = var("u", &[batch, capsules, in_dim]);
        let weight = var("weight", &[capsules, in_dim, classes * dim]);
        let prior = var("prior", &[capsules, classes]);
        assert_agree(
            &[u, weight, prior],
            |t| kernels::attention_routing(&t[0], &t[1], &t[2]),
            |t| reference::attention_routing(&t[0], &t[1], &t[2]),
        );
    }

    #[test]
    fn a_depthwise_convolution_of_the_whole_map_agrees_with_its_reference(
        batch in 1usize..5, channels in 1usize..9, size in (1usize..8, 1usize..8),
    ) {
        let x = var("x", &[batch, channels, size.0, size.1]);
        let weight = var("weight", &[channels, size.0, size.1]);
        assert_agree(
            &[x, weight, var("bias", &[channels])],
            |t| kernels::whole_map_depthwise(&t[0], &t[1], &t[2]),
            |t| reference::whole_map_depthwise(&t[0], &t[1], &t[2]),
        );
    }

    #[test]
    fn the_exponential_squash_agrees_with_its_reference_at_every_length(
        capsules in 1usize..6, dim in 1usize..18, exponent in -7i32..3,
    ) {
        let s = var("s", &[2, capsules, dim]).as_detached_tensor();
        let s = Var::from_tensor(&(s * 10f64.powi(exponent)).unwrap()).unwrap();
        // The reference's formula loses digits of short capsules.
        assert_agree_within(
            [(DType::F64, 1e-9), (DType::F32, if exponent < -1 { 1e-1 } else { 1e-4 })],
            &[s],
            |t| kernels::exponential_squash(&t[0]),
            |t| reference::exponential_squash(&t[0]),
        );
    }

    #[test]
    fn fourier_agrees_with_the_reference_on_odd_shapes(
        batch in 1usize..20, in_channels in 1usize..20, filters in 1usize..20, sharing in 1usize..3,
        kernel in (1usize..7, 1usize..7), stride in 1usize..4, extra in (0usize..8, 0usize..8),
    ) {
        let x = var("x", &[batch, in_channels, kernel.0 + extra.0, kernel.1 + extra.1]);
        let weight = var("weight", &[filters, in_channels, kernel.0, kernel.1]);
        assert_fourier_agrees(x, weight, sharing, stride);
    }

    #[test]
    fn class_capsules_agree_with_their_reference(
        batch in 1usize..20, matrices in 1usize..7, sharing in 1usize..6, in_dim in 1usize..10,
        classes in 1usize..11, dim in 1usize..17, iterations in 1usize..5, kind in prop::sample::select(SQUASHES.to_vec()),
    ) {
        // Of one dimension, an approximate squash can be a sign, whose gradient is 0 but for rounding.
        let kind = if dim == 1 { Squash::Exact } else { kind };
        let (u, weight) = (var("u", &[batch, matrices * sharing, in_dim]), var("w", &[matrices, in_dim, classes * dim]));
        assert_agree(
            &[u, weight, var("bias", &[classes, dim])],
            |t| kernels::class_capsules(&t[0], &t[1], &t[2], iterations, kind),
            |t| reference::class_capsules(&t[0], &t[1], &t[2], iterations, kind),
        );
    }

    #[test]
    fn squash_agrees_with_its_reference(
        capsules in 1usize..3000, dim in 1usize..17, scale in 0.1f64..5., kind in prop::sample::select(SQUASHES.to_vec()),
    ) {
        let s = Var::from_tensor(&(var("s", &[capsules, dim]).as_tensor() * scale).unwrap().detach()).unwrap();
        assert_agree(&[s], |t| kernels::squash(&t[0], kind), |t| reference::squash(&t[0], kind));
    }

    #[test]
    fn linear_agrees_with_its_reference(batch in 1usize..20, inputs in 1usize..40, outputs in 1usize..40) {
        let operands = [var("x", &[batch, inputs]), var("w", &[outputs, inputs]), var("b", &[outputs])];
        assert_agree(&operands, |t| kernels::linear(&t[0], &t[1], &t[2]), |t| reference::linear(&t[0], &t[1], &t[2]));
    }

    #[test]
    fn relu_and_max_pool_agree_with_their_references(batch in 1usize..4, channels in 1usize..4, h in 2usize..9, w in 2usize..9) {
        let x = var("x", &[batch, channels, h, w]);
        assert_agree(std::slice::from_ref(&x), |t| kernels::relu(&t[0]), |t| reference::relu(&t[0]));
        assert_agree(&[x], |t| kernels::max_pool_2x2(&t[0]), |t| reference::max_pool_2x2(&t[0]));
    }
}

#[test]
fn conv2d_agrees_with_its_reference_on_the_shapes_of_the_networks() {
    for (x, weight, stride) in [
        ([2, 3, 32, 32], [7, 3, 9, 9], 1),
        ([3, 1, 28, 28], [16, 1, 9, 9], 2),
        // More samples than one chunk takes.
        ([40, 12, 10, 10], [20, 12, 5, 5], 1),
    ] {
        let operands = [var("x", &x), var("weight", &weight), var("bias", &[weight[0]])];
        assert_agree(
            &operands,
            |t| kernels::conv2d(&t[0], &t[1], &t[2], stride),
            |t| reference::conv2d(&t[0], &t[1], &t[2], stride),
        );
    }
}

#[test]
fn fourier_agrees_with_the_reference_on_the_shapes_of_the_networks() {
    for (x, weight, stride) in [
        ([5, 24, 20, 20], [40, 24, 9, 9], 2),
        ([17, 3, 32, 32], [7, 3, 9, 9], 1),
        ([3, 33, 24, 24], [16, 33, 9, 9], 2),
        // A stride beyond the kernel: some values are never read.
        ([2, 4, 11, 8], [5, 4, 2, 3], 4),
    ] {
        assert_fourier_agrees(var("x", &x), var("weight", &weight), 1, stride);
    }
}

#[test]
fn a_convolution_with_relu_is_a_convolution_and_a_relu() {
    let operands = [var("x", &[3, 2, 9, 9]), var("weight", &[4, 2, 3, 3]), var("bias", &[8])];
    assert_agree(
        &operands,
        |t| kernels::conv2d_relu(&t[0], &t[1], &t[2], 2),
        |t| reference::relu(&reference::conv2d(&t[0], &t[1], &t[2], 2)?),
    );
}

/// A weight that notes its gradient, and loses its values as it comes, as it would in a step.
struct Taken {
    values: Vec<f64>,
    outputs: usize,
    gradient: Vec<f64>,
}

impl Weight<f64> for Taken {
    fn values(&self) -> &[f64] {
        &self.values
    }

    fn whole(&mut self, gradient: &[f64]) {
        self.gradient(0..self.outputs, 0..self.values.len() / self.outputs, gradient);
    }

    fn gradient(&mut self, rows: Range<usize>, columns: Range<usize>, block: &[f64]) {
        let row_len = self.values.len() / self.outputs;
        assert_eq!(block.len(), rows.len() * columns.len());
        for (row, block) in rows.zip(block.chunks(columns.len())) {
            for (column, &g) in columns.clone().zip(block) {
                let at = row * row_len + column;
                assert!(self.gradient[at].is_nan(), "value {at} comes twice");
                (self.gradient[at], self.values[at]) = (g, f64::NAN);
            }
        }
    }
}

/// One plan, over batches of several sizes in turn.
fn assert_plan_agrees(
    algorithm: Algorithm,
    activation: Activation,
    [channels_in, h, w]: [usize; 3],
    weight: [usize; 4],
    sharing: usize,
    stride: usize,
    batches: &[usize],
) {
    let (weight, bias) = (var("weight", &weight), var("bias", &[weight[0] * sharing]));
    let dims = weight.dims4().unwrap();
    let channels = bias.dims()[0];
    let mut plan =
        Conv2dPlan::by(algorithm, [1, channels_in, h, w], dims.into(), channels, stride, activation).unwrap();
    for &batch in batches {
        plan.set_batch(batch);
        let x = var("x", &[batch, channels_in, h, w]);
        let mut expected = reference::conv2d(&x, &weight, &bias, stride).unwrap();
        if activation == Activation::Relu {
            expected = reference::relu(&expected).unwrap();
        }
        let dy = values(&var("weights of the sum", expected.dims()));
        let (mut y, mut dx, mut dbias) =
            (vec![f64::NAN; dy.len()], vec![f64::NAN; x.elem_count()], vec![f64::NAN; channels]);
        let gradient = vec![f64::NAN; weight.elem_count()];
        let mut taken = Taken { values: values(&weight), outputs: dims.0, gradient };
        plan.forward(&values(&x), &taken.values, &values(&bias), &mut y);
        assert_close("y", &y, &values(&expected), 1e-11);
        plan.backward(&values(&x), &mut taken, &y, &dy, Some(&mut dx), &mut dbias);
        let gradients = gradients(&expected, &[&x, &weight, &bias]);
        for (name, got, expected) in
            [("dx", &dx, &gradients[0]), ("dweight", &taken.gradient, &gradients[1]), ("dbias", &dbias, &gradients[2])]
        {
            assert_close(&format!("{name} of {algorithm:?}, batch {batch}"), got, expected, 1e-11);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_plan_agrees_with_the_reference_over_changing_batches(
        batches in prop::collection::vec(1usize..20, 1..4), in_channels in 1usize..20, filters in 1usize..20,
        sharing in 1usize..3, kernel in (1usize..7, 1usize..7), stride in 1usize..4, extra in (0usize..8, 0usize..8),
    ) {
        for algorithm in [Algorithm::Unfold, Algorithm::Fourier] {
            for activation in [Activation::None, Activation::Relu] {
                let x = [in_channels, kernel.0 + extra.0, kernel.1 + extra.1];
                let weight = [filters, in_channels, kernel.0, kernel.1];
                assert_plan_agrees(algorithm, activation, x, weight, sharing, stride, &batches);
            }
        }
    }
}

#[test]
fn a_plan_agrees_with_the_reference_on_the_shapes_of_the_networks() {
    for algorithm in [Algorithm::Unfold, Algorithm::Fourier] {
        for (x, weight, sharing, stride, batches) in [
            ([3, 32, 32], [16, 3, 9, 9], 1, 1, [17, 1]),
            ([1, 28, 28], [40, 1, 9, 9], 1, 1, [2, 35]),
            // More channels than one block of gradients, and no multiple of it; the weight is large.
            ([70, 20, 20], [50, 70, 9, 9], 1, 2, [1, 3]),
            ([70, 14, 14], [25, 70, 9, 9], 2, 3, [2, 1]),
            // A large image gradient, which is computed some samples at a time.
            ([120, 24, 24], [30, 120, 9, 9], 1, 1, [4, 1]),
        ] {
            assert_plan_agrees(algorithm, Activation::Relu, x, weight, sharing, stride, &batches);
        }
    }
}

#[test]
fn a_plan_refuses_shapes_that_do_not_fit() {
    let plan = |x, weight, stride| Conv2dPlan::<f32>::new(x, weight, 4, stride, Activation::None);
    for (x, weight, stride) in [
        ([1, 2, 5, 5], [4, 3, 3, 3], 1),
        ([1, 2, 5, 5], [4, 2, 6, 6], 1),
        ([1, 2, 5, 5], [4, 2, 3, 3], 0),
        ([0, 2, 5, 5], [4, 2, 3, 3], 1),
    ] {
        assert!(plan(x, weight, stride).is_err());
    }
}

#[test]
fn class_capsules_give_the_same_bits_on_any_number_of_threads() {
    let f32_var =
        |name, shape: &[usize]| Var::from_tensor(&var(name, shape).to_dtype(DType::F32).unwrap().detach()).unwrap();
    // Few samples and many, a last group that is not full; matrices of one capsule each and shared ones.
    for (batch, matrices) in [(2, 24), (70, 24), (150, 24), (2, 6), (70, 6)] {
        let (u, w, b) = (f32_var("u", &[batch, 24, 8]), f32_var("w", &[matrices, 8, 160]), f32_var("b", &[10, 16]));
        let all_bits = |threads: usize| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let v = kernels::class_capsules(&u, &w, &b, 3, Squash::Exact).unwrap();
                let grads = v.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                [bits(&v), bits(grads.get(&u).unwrap()), bits(grads.get(&w).unwrap()), bits(grads.get(&b).unwrap())]
            })
        };
        let expected = all_bits(1);
        for threads in [2, 3, 5] {
            assert!(all_bits(threads) == expected, "{batch} samples, {matrices} matrices, {threads} threads");
        }
    }
}

/// v and the gradients of u, weight and bias that a plan writes into buffers full of other values.
fn run_plan(plan: &mut ClassCapsulesPlan<f64>, [u, weight, bias]: [&[f64]; 3], v: usize) -> [Vec<f64>; 4] {
    let [mut out, mut du, mut dw, mut db] = [v, u.len(), weight.len(), bias.len()].map(|len| vec![7f64; len]);
    plan.forward(u, weight, bias, &mut out);
    let dv: Vec<f64> = out.iter().map(|v| 2. * v).collect();
    plan.backward(u, weight, bias, &dv, &mut du, &mut dw, &mut db);
    [out, du, dw, db]
}

#[test]
fn a_plan_of_class_capsules_takes_one_batch_size_after_the_other() {
    let of = |name: &str, len: usize| values(&var(name, &[len]));
    // The sizes of the published network and odd ones, matrices of one capsule each and shared ones, a last share that is not full.
    for (matrices, sharing, in_dim, classes, dim) in
        [(37, 1, 8, 10, 16), (18, 5, 8, 3, 16), (19, 1, 5, 4, 9), (7, 6, 9, 3, 18)]
    {
        for iterations in 1..5 {
            let (capsules, weight) = (matrices * sharing, of("w", matrices * in_dim * classes * dim));
            let bias = of("b", classes * dim);
            let shape = |batch| ([batch, capsules, in_dim], [matrices, in_dim, classes * dim], [classes, dim]);
            let new = |batch| {
                let (u, weight, bias) = shape(batch);
                ClassCapsulesPlan::<f64>::new(u, weight, bias, iterations, Squash::Exact).unwrap()
            };
            let mut plan = new(16);
            for batch in [16, 1, 300, 3, 9, 130, 17] {
                let u = of(&format!("u {batch}"), batch * capsules * in_dim);
                let operands = [&u[..], &weight[..], &bias[..]];
                plan.set_batch(batch);
                let got = run_plan(&mut plan, operands, batch * classes * dim);
                assert!(got == run_plan(&mut new(batch), operands, batch * classes * dim), "{batch} after others");
                let (u_shape, weight_shape, bias_shape) = shape(batch);
                let tensor = |values: &[f64], shape: &[usize]| {
                    Var::from_tensor(&Tensor::from_slice(values, shape, &Device::Cpu).unwrap()).unwrap()
                };
                let vars = [tensor(&u, &u_shape), tensor(&weight, &weight_shape), tensor(&bias, &bias_shape)];
                let v = reference::class_capsules(&vars[0], &vars[1], &vars[2], iterations, Squash::Exact).unwrap();
                let grads = v.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let expected = [values(&v)].into_iter().chain(vars.iter().map(|var| values(grads.get(var).unwrap())));
                for (got, expected) in got.iter().zip(expected) {
                    assert_close(&format!("{batch} samples, {iterations} iterations"), got, &expected, 1e-10);
                }
            }
        }
    }
}

#[test]
fn the_algorithm_follows_from_the_shapes() {
    let primary = |batch| Algorithm::choose(&[batch, 256, 20, 20], &[256, 256, 9, 9], &[256], 2).unwrap();
    assert_eq!(primary(128), Algorithm::Fourier);
    assert_eq!(primary(1), Algorithm::Unfold);
    let first = |batch| Algorithm::choose(&[batch, 1, 28, 28], &[256, 1, 9, 9], &[256], 1).unwrap();
    assert_eq!(first(128), Algorithm::Unfold);
}

#[test]
fn the_image_needs_no_gradient_and_gets_none() {
    let (x, w, b) = (var("x", &[2, 1, 6, 6]).as_detached_tensor(), var("w", &[3, 1, 3, 3]), var("b", &[3]));
    let y = kernels::conv2d(&x, &w, &b, 1).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&x).is_none());
    assert!(grads.get(&w).is_some() && grads.get(&b).is_some());
}

#[test]
fn adam_agrees_with_its_reference_over_many_steps() {
    let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let theta = Var::from_tensor(&var("θ", &[7, 13]).as_detached_tensor().copy().unwrap()).unwrap();
    let idle = var("idle", &[3]);
    let vars = vec![("theta".into(), theta.clone()), ("idle".into(), idle.clone())];
    let mut adam = Optimizer::new(vars, Rule::adam(constants)).unwrap();
    let mut expected = theta.as_detached_tensor().copy().unwrap();
    let (mut m, mut v) = (expected.zeros_like().unwrap(), expected.zeros_like().unwrap());
    for t in 1..=20 {
        let learning_rate = 1e-2 / t as f64;
        let loss =
            (theta.sqr().unwrap() * var(&format!("{t}"), &[7, 13]).as_detached_tensor()).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        let factors = constants.factors(t, learning_rate);
        (expected, m, v) = reference::adam_step(&expected, grads.get(&theta).unwrap(), &m, &v, factors).unwrap();
        adam.step(&grads, learning_rate).unwrap();
        assert_close("θ", &values(&theta), &values(&expected), 1e-13);
    }
    assert_eq!(values(&idle), values(&var("idle", &[3])), "a variable without gradient stays");
}

/// The first three steps of `torch.optim.Adam([θ], lr=0.1)` on the loss (θ²·[1, 2, 3]).sum() from θ = [1, −2, 0.5], in float64:
///
/// ```python
/// θ = torch.tensor([1., -2., .5], dtype=torch.float64, requires_grad=True); adam = torch.optim.Adam([θ], lr=0.1)
/// for _ in range(3):
///     adam.zero_grad(); (θ**2 * torch.tensor([1., 2., 3.])).sum().backward(); adam.step(); print(θ.tolist())
/// ```
#[test]
fn adam_takes_the_steps_of_pytorch() {
    const EXPECTED: [[f64; 3]; 3] = [
        [0.9000000005, -1.900000000125, 0.4000000003333333],
        [0.8004122286917927, -1.8001664858630053, 0.30118742027818446],
        [0.7015862729460302, -1.7006233916636408, 0.20487125044086524],
    ];
    let theta = Var::new(&[1f64, -2., 0.5], &Device::Cpu).unwrap();
    let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let mut adam = Optimizer::new(vec![("θ".into(), theta.clone())], Rule::adam(constants)).unwrap();
    for expected in EXPECTED {
        let weights = Tensor::new(&[1f64, 2., 3.], &Device::Cpu).unwrap();
        let loss = (theta.sqr().unwrap() * weights).unwrap().sum_all().unwrap();
        adam.step(&loss.backward().unwrap(), 0.1).unwrap();
        assert_close("θ", &values(&theta), &expected, 1e-14);
    }
}

#[test]
fn an_optimizer_goes_on_from_its_saved_state_with_the_same_bits() {
    let constants = Constants { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let start = |t: &Tensor| {
        let theta = Var::from_tensor(&t.copy().unwrap().detach()).unwrap();
        (Optimizer::new(vec![("θ".into(), theta.clone())], Rule::adam(constants)).unwrap(), theta)
    };
    let step = |adam: &mut Optimizer, theta: &Var| {
        let loss = theta.sqr().unwrap().sum_all().unwrap();
        adam.step(&loss.backward().unwrap(), 1e-2).unwrap();
    };
    let (mut adam, theta) = start(&var("θ", &[5, 3]).to_dtype(DType::F32).unwrap());
    (0..3).for_each(|_| step(&mut adam, &theta));
    let (steps, moments) = adam.view();
    let (mut resumed, resumed_theta) = start(&theta);
    for (name, own) in resumed.view().1 {
        let copy = |from: &[f32]| kernels::with_values_mut(&own, |own: &mut [f32]| own.copy_from_slice(from));
        kernels::with_values(&moments[&name], copy).unwrap().unwrap();
    }
    resumed.go_on_after(steps, None);
    for _ in 0..3 {
        step(&mut adam, &theta);
        step(&mut resumed, &resumed_theta);
    }
    assert_eq!(bits(&theta), bits(&resumed_theta));
}

#[test]
fn a_nan_that_enters_an_op_leaves_it() {
    let poisoned = |name: &str, shape: &[usize]| {
        let mut values = values(&var(name, shape));
        *values.last_mut().unwrap() = f64::NAN;
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let clean = |name: &str, shape: &[usize]| var(name, shape).as_detached_tensor();
    let mut outputs = vec![
        ("relu", kernels::relu(&poisoned("x", &[5]))),
        ("max_pool", kernels::max_pool_2x2(&poisoned("x", &[1, 1, 4, 4]))),
        ("linear", kernels::linear(&poisoned("x", &[2, 3]), &clean("w", &[4, 3]), &clean("b", &[4]))),
    ];
    for algorithm in [Algorithm::Unfold, Algorithm::Fourier] {
        let (x, w, b) = (poisoned("x", &[1, 2, 5, 5]), clean("w", &[3, 2, 3, 3]), clean("b", &[3]));
        outputs.push(("conv2d", kernels::conv2d_by(algorithm, &x, &w, &b, 1)));
        let (x, w) = (clean("x", &[1, 2, 5, 5]), poisoned("w", &[3, 2, 3, 3]));
        outputs.push(("conv2d", kernels::conv2d_by(algorithm, &x, &w, &b, 1)));
    }
    for kind in SQUASHES {
        outputs.push(("squash", kernels::squash(&poisoned("s", &[3, 4]), kind)));
        let (u, w, b) = (poisoned("u", &[2, 6, 4]), clean("w", &[3, 4, 12]), clean("b", &[3, 4]));
        outputs.push(("class_capsules", kernels::class_capsules(&u, &w, &b, 3, kind)));
    }
    for (name, output) in outputs {
        assert!(values(&output.unwrap()).iter().any(|v| v.is_nan()), "{name} hides a NaN");
    }
}

#[test]
fn squash_and_its_gradient_are_finite_at_zero() {
    for kind in SQUASHES {
        let s = Var::zeros((2, 4), DType::F32, &Device::Cpu).unwrap();
        let v = kernels::squash(&s, kind).unwrap();
        assert!(values(&v).iter().all(|&v| v == 0.));
        assert!(gradients(&v, &[&s])[0].iter().all(|g| g.is_finite()), "{kind:?}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors_that_name_them() {
    let t = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let class_capsules = |u: &[usize], weight: &[usize], iterations| {
        kernels::class_capsules(&t(u), &t(weight), &t(&[2, 5]), iterations, Squash::Exact)
    };
    for (result, part) in [
        (kernels::conv2d(&t(&[1, 2, 5, 5]), &t(&[4, 3, 3, 3]), &t(&[4]), 1), "has 2 channels"),
        (kernels::conv2d(&t(&[1, 2, 5, 5]), &t(&[4, 2, 6, 6]), &t(&[4]), 1), "does not fit"),
        (kernels::conv2d(&t(&[1, 2, 5, 5]), &t(&[4, 2, 3, 3]), &t(&[4]), 0), "stride 0"),
        (kernels::conv2d(&t(&[1, 2, 5, 5]), &t(&[4, 2, 3, 3]), &t(&[6]), 1), "no multiple of 4 filters"),
        (kernels::linear(&t(&[2, 3]), &t(&[4, 5]), &t(&[4])), "do not fit"),
        (kernels::conv2d(&t(&[0, 2, 5, 5]), &t(&[4, 2, 3, 3]), &t(&[4]), 1), "is empty"),
        (class_capsules(&[2, 6, 0], &[3, 0, 10], 1), "do not fit"),
        (class_capsules(&[2, 7, 4], &[3, 4, 10], 1), "do not fit"),
        (class_capsules(&[2, 6, 4], &[3, 4, 12], 1), "do not fit"),
        (class_capsules(&[2, 6, 4], &[3, 4, 10], 0), "0 iterations"),
        (kernels::max_pool_2x2(&t(&[1, 1, 1, 4])), "smaller than 2×2"),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_convolution_gives_the_same_bits_on_any_number_of_threads() {
    // More samples than a chunk takes, and a last chunk that is not full.
    let f32_var =
        |name, shape: &[usize]| Var::from_tensor(&var(name, shape).to_dtype(DType::F32).unwrap().detach()).unwrap();
    let (x, w, b) = (f32_var("x", &[13, 64, 20, 20]), f32_var("w", &[72, 64, 9, 9]), f32_var("b", &[72]));
    let small = f32_var("small", &[24, 64, 5, 5]);
    for (algorithm, w) in [(Algorithm::Unfold, &w), (Algorithm::Unfold, &small), (Algorithm::Fourier, &w)] {
        let b = b.narrow(0, 0, w.dims()[0]).unwrap();
        let b = Var::from_tensor(&b.copy().unwrap().detach()).unwrap();
        let all_bits = |threads: usize| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let y = kernels::conv2d_by(algorithm, &x, w, &b, 2).unwrap();
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                [bits(&y), bits(grads.get(&x).unwrap()), bits(grads.get(w).unwrap()), bits(grads.get(&b).unwrap())]
            })
        };
        let expected = all_bits(1);
        for threads in [2, 3, 5, 7] {
            assert!(all_bits(threads) == expected, "{algorithm:?}, {threads} threads");
        }
    }
}

#[test]
fn a_second_backward_pass_gives_the_same_bits() {
    let (x, w, b) = (var("x", &[2, 3, 9, 9]), var("w", &[4, 3, 5, 5]), var("b", &[4]));
    let y = kernels::conv2d_by(Algorithm::Fourier, &x, &w, &b, 2).unwrap();
    assert_eq!(gradients(&y, &[&x, &w, &b]), gradients(&y, &[&x, &w, &b]));
}
