//! Capsules on the GPU against those on the CPU: squash, and class capsules with their routing.

use candle_core::{
    DType, Device, Tensor, Var,
    cuda_backend::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode},
};
use fastrcaps::learn::{
    kernels::{
        self,
        cuda::{
            Buffer, Gpu,
            class_capsules::{CapsuleOrder, ClassCapsules},
        },
    },
    model::config::Squash,
};

use super::{assert_near, gpu, own_gpu, random};
use crate::facts::Facts;

/// Sizes of class capsules.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    matrices: usize,
    /// Capsules that share a matrix.
    sharing: usize,
    in_dim: usize,
    classes: usize,
    dim: usize,
    iterations: usize,
    kind: Squash,
}

const EXACT: Squash = Squash::Exact;
const APPROXIMATE: Squash = Squash::Approximate;

const fn sizes(batch: usize, capsules: [usize; 2], in_dim: usize, class: [usize; 2], iterations: usize) -> Sizes {
    let ([matrices, sharing], [classes, dim]) = (capsules, class);
    Sizes { batch, matrices, sharing, in_dim, classes, dim, iterations, kind: EXACT }
}

/// Ragged ends everywhere: of samples in warps and blocks, capsules in chunks, rows and columns in fours, classes in a warp.
const SHAPES: [Sizes; 17] = [
    sizes(1, [1, 1], 1, [1, 1], 1),
    sizes(1, [11, 1], 8, [10, 16], 3),
    sizes(2, [3, 4], 5, [3, 7], 2),
    sizes(3, [37, 1], 4, [2, 8], 4),
    sizes(16, [20, 1], 8, [10, 16], 3),
    sizes(31, [4, 9], 8, [5, 8], 3),
    sizes(33, [19, 1], 12, [4, 16], 2),
    sizes(70, [17, 1], 8, [10, 16], 3),
    sizes(70, [5, 7], 3, [10, 3], 2),
    sizes(67, [3, 6], 8, [7, 12], 1),
    sizes(5, [6, 2], 9, [32, 5], 3),
    sizes(4, [7, 1], 20, [17, 20], 2),
    sizes(3, [5, 1], 6, [32, 64], 3),
    sizes(6, [9, 1], 8, [3, 33], 5),
    sizes(7, [9, 1], 8, [47, 16], 3),
    sizes(4, [3, 5], 6, [33, 7], 2),
    sizes(2, [4, 1], 3, [250, 5], 4),
];

impl Sizes {
    fn capsules(&self) -> usize {
        self.matrices * self.sharing
    }

    fn weight(&self) -> [usize; 3] {
        [self.matrices, self.in_dim, self.classes * self.dim]
    }

    fn bias(&self) -> [usize; 2] {
        [self.classes, self.dim]
    }

    /// u, weight and bias. With votes of moderate length, so that couplings differ and no softmax is all of one class.
    fn operands(&self) -> [(Vec<f32>, Vec<usize>); 3] {
        let scale = 4. / (self.in_dim as f32 * self.capsules() as f32).sqrt();
        let operand = |name: &str, shape: Vec<usize>, scale: f32| {
            let values = random(name, shape.iter().product());
            (values.into_iter().map(|value| value * scale).collect(), shape)
        };
        [
            operand("u", vec![self.batch, self.capsules(), self.in_dim], 1.),
            operand("weight", self.weight().into(), scale),
            operand("bias", self.bias().into(), 0.3),
        ]
    }

    /// v and the gradients of u, weight and bias by the op, computed in `dtype` on `device`.
    fn by_op(&self, device: &Device, dtype: DType) -> [Vec<f32>; 4] {
        let vars = self.operands().map(|(values, shape)| {
            Var::from_tensor(&Tensor::from_vec(values, shape, device).unwrap().to_dtype(dtype).unwrap()).unwrap()
        });
        let v = kernels::class_capsules(&vars[0], &vars[1], &vars[2], self.iterations, self.kind).unwrap();
        let dv = Tensor::from_vec(self.dv(), v.shape(), device).unwrap().to_dtype(dtype).unwrap();
        let grads = (&v * dv).unwrap().sum_all().unwrap().backward().unwrap();
        let [du, dweight, dbias] = [0, 1, 2].map(|i| values(grads.get(&vars[i]).expect("a gradient")));
        [values(&v), du, dweight, dbias]
    }

    fn dv(&self) -> Vec<f32> {
        random("dv", self.batch * self.classes * self.dim)
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn assert_agree(what: &str, got: &[Vec<f32>; 4], expected: &[Vec<f32>; 4]) {
    for ((name, got), expected) in ["v", "du", "dweight", "dbias"].iter().zip(got).zip(expected) {
        assert_near(&format!("{name} of {what}"), got, expected, 1e-5);
    }
}

#[test]
fn class_capsules_and_their_gradients_agree_with_those_of_the_cpu() {
    let device = Device::Cuda(gpu().device().clone());
    for shape in SHAPES {
        for kind in [EXACT, APPROXIMATE] {
            let shape = Sizes { kind, ..shape };
            // Of one dimension, an approximate squash can be a sign, whose gradient is 0 but for rounding.
            if shape.dim > 1 || kind == EXACT {
                let got = shape.by_op(&device, DType::F32);
                assert_agree(&format!("{shape:?}"), &got, &shape.by_op(&Device::Cpu, DType::F64));
                assert_eq!(
                    got.each_ref().map(|got| bits(got)),
                    shape.by_op(&device, DType::F32).map(|again| bits(&again))
                );
            }
        }
    }
}

/// Operands on the GPU, in the order of u that is asked for, and room for the results.
struct OnGpu {
    operands: [Buffer<f32>; 3],
    dv: Buffer<f32>,
    results: [Buffer<f32>; 4],
    order: CapsuleOrder,
}

/// Where in `[positions, batch, types, in_dim]` the values of `[batch, types × positions, in_dim]` stand.
fn by_position(sizes: &Sizes, types: usize) -> Vec<usize> {
    let positions = sizes.capsules() / types;
    let mut places = Vec::new();
    for sample in 0..sizes.batch {
        for capsule in 0..sizes.capsules() {
            let (kind, position) = (capsule / positions, capsule % positions);
            let place = (position * sizes.batch + sample) * types + kind;
            places.extend((0..sizes.in_dim).map(|k| place * sizes.in_dim + k));
        }
    }
    places
}

impl OnGpu {
    fn new(gpu: &Gpu, sizes: &Sizes, order: CapsuleOrder) -> OnGpu {
        let [(mut u, _), (weight, _), (bias, _)] = sizes.operands();
        if let CapsuleOrder::ByPosition { types } = order {
            let given = u.clone();
            by_position(sizes, types).into_iter().zip(given).for_each(|(place, value)| u[place] = value);
        }
        // Results begin as NaN: what is not written shows.
        let room = |len: usize| gpu.upload(&vec![f32::NAN; len]).unwrap();
        let results = [sizes.dv().len(), u.len(), weight.len(), bias.len()].map(room);
        let operands = [u, weight, bias].map(|values| gpu.upload(&values).unwrap());
        OnGpu { operands, dv: gpu.upload(&sizes.dv()).unwrap(), results, order }
    }

    fn run(&self, gpu: &Gpu, plan: &ClassCapsules, batch: usize) {
        let [u, weight, bias] = self.operands.each_ref().map(Buffer::input);
        let [v, du, dweight, dbias] = self.results.each_ref().map(Buffer::output);
        plan.forward(gpu, batch, None, u, weight, bias, v).unwrap();
        plan.backward(gpu, batch, None, u, weight, self.dv.input(), du, dweight, dbias).unwrap();
    }

    /// v and the gradients, that of u as the op has it.
    fn results(&self, gpu: &Gpu, sizes: &Sizes) -> [Vec<f32>; 4] {
        let mut results = self.results.each_ref().map(|buffer| buffer.download(gpu).unwrap());
        if let CapsuleOrder::ByPosition { types } = self.order {
            results[1] = by_position(sizes, types).into_iter().map(|place| results[1][place]).collect();
        }
        results
    }
}

fn plan(gpu: &Gpu, sizes: &Sizes, most: usize, order: CapsuleOrder) -> ClassCapsules {
    let Sizes { iterations, kind, .. } = *sizes;
    ClassCapsules::new(gpu, most, sizes.capsules(), sizes.weight(), sizes.bias(), iterations, kind, order).unwrap()
}

#[test]
fn capsules_may_come_by_position_and_a_plan_takes_any_batch_up_to_its_largest() {
    let gpu = gpu();
    for (shape, types) in [
        (sizes(70, [3, 6], 8, [10, 16], 3), 3),
        (sizes(70, [18, 1], 8, [10, 16], 3), 3),
        (sizes(66, [2, 3], 3, [4, 5], 2), 6),
        (sizes(65, [4, 2], 8, [5, 8], 2), 2),
    ] {
        for order in [CapsuleOrder::BySample, CapsuleOrder::ByPosition { types }] {
            let plan = plan(&gpu, &shape, 70, order);
            for batch in [shape.batch, 1, 20] {
                let shape = Sizes { batch, ..shape };
                let on_gpu = OnGpu::new(&gpu, &shape, order);
                on_gpu.run(&gpu, &plan, batch);
                let what = format!("{order:?} of {shape:?}");
                assert_agree(&what, &on_gpu.results(&gpu, &shape), &shape.by_op(&Device::Cpu, DType::F64));
            }
        }
    }
}

#[test]
fn passes_of_class_capsules_can_be_captured_and_replayed() {
    let gpu = own_gpu();
    let shape = sizes(7, [3, 2], 6, [4, 10], 3);
    let order = CapsuleOrder::ByPosition { types: 2 };
    let (plan, on_gpu) = (plan(&gpu, &shape, 9, order), OnGpu::new(&gpu, &shape, order));
    on_gpu.run(&gpu, &plan, shape.batch);
    let expected = on_gpu.results(&gpu, &shape);
    let on_gpu = OnGpu::new(&gpu, &shape, order);
    gpu.stream().begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    on_gpu.run(&gpu, &plan, shape.batch);
    let graph = gpu.stream().end_capture(CUgraphInstantiate_flags(0)).unwrap().unwrap();
    for _ in 0..2 {
        graph.launch().unwrap();
        assert_eq!(on_gpu.results(&gpu, &shape).map(|got| bits(&got)), expected.each_ref().map(|e| bits(e)));
    }
}

#[test]
fn a_nan_in_a_capsule_leaves_class_capsules_of_its_sample_alone() {
    let device = Device::Cuda(gpu().device().clone());
    let shape = sizes(9, [5, 2], 8, [10, 16], 3);
    let [u, weight, bias] = shape.operands().map(|(values, shape)| Tensor::from_vec(values, shape, &device).unwrap());
    let mut poisoned = values(&u);
    poisoned[4 * shape.capsules() * shape.in_dim + 3] = f32::NAN;
    let u = Var::from_tensor(&Tensor::from_vec(poisoned, u.shape(), &device).unwrap()).unwrap();
    let v = kernels::class_capsules(&u, &weight, &bias, shape.iterations, EXACT).unwrap();
    let n = shape.classes * shape.dim;
    for (i, value) in values(&v).into_iter().enumerate() {
        assert_eq!(value.is_nan(), i / n == 4, "value {i} of v is {value}");
    }
    let gradient = v.sum_all().unwrap().backward().unwrap();
    for (i, value) in values(gradient.get(&u).unwrap()).into_iter().enumerate() {
        assert_eq!(value.is_nan(), i / (shape.capsules() * shape.in_dim) == 4, "value {i} of du is {value}");
    }
}

#[test]
fn operands_that_begin_in_the_middle_of_sixteen_bytes_are_moved() {
    let device = Device::Cuda(gpu().device().clone());
    let shape = sizes(3, [5, 1], 8, [10, 16], 2);
    let expected = shape.by_op(&Device::Cpu, DType::F64);
    let [u, weight, bias] = shape.operands().map(|(values, shape)| {
        let len = values.len();
        let all = Tensor::from_vec([vec![f32::NAN; 3], values].concat(), len + 3, &device).unwrap();
        all.narrow(0, 3, len).unwrap().reshape(shape).unwrap()
    });
    let v = kernels::class_capsules(&u, &weight, &bias, 2, EXACT).unwrap();
    assert_near("v", &values(&v), &expected[0], 1e-5);
    assert_near(
        "squash",
        &values(&kernels::squash(&u, EXACT).unwrap()),
        &{
            let cpu = u.to_device(&Device::Cpu).unwrap();
            values(&kernels::squash(&cpu, EXACT).unwrap())
        },
        1e-6,
    );
}

#[test]
fn what_class_capsules_on_a_gpu_cannot_do_is_told() {
    let gpu = gpu();
    let error = |most, weight: [usize; 3], bias, iterations, order| {
        let made = ClassCapsules::new(&gpu, most, 6, weight, bias, iterations, EXACT, order);
        made.err().expect("an error").to_string()
    };
    let by_sample = CapsuleOrder::BySample;
    error(2, [6, 4, 2064], [129, 16], 1, by_sample).names(["129", "2048"]);
    error(2, [6, 4, 130], [2, 65], 1, by_sample).names(["65", "64"]);
    error(2, [4, 4, 10], [2, 5], 1, by_sample).names(["6", "4"]);
    error(2, [6, 4, 10], [2, 5], 0, by_sample).names(["0 iterations"]);
    error(2, [6, 4, 2048], [32, 64], 10, by_sample).names(["10", "iterations"]);
    error(2, [6, 4, 10], [2, 5], 1, CapsuleOrder::ByPosition { types: 4 }).names(["6 capsules", "4 types"]);
    let shape = sizes(3, [6, 1], 4, [2, 5], 1);
    let (plan, on_gpu) = (plan(&gpu, &shape, 2, by_sample), OnGpu::new(&gpu, &shape, by_sample));
    let [u, weight, bias] = on_gpu.operands.each_ref().map(Buffer::input);
    let error = plan.forward(&gpu, 3, None, u, weight, bias, on_gpu.results[0].output()).unwrap_err().to_string();
    error.names(["3", "2"]);
    let results = on_gpu.results.each_ref().map(Buffer::output);
    let backward = |batch, dv| plan.backward(&gpu, batch, None, u, weight, dv, results[1], results[2], results[3]);
    backward(3, on_gpu.dv.input()).unwrap_err().to_string().names(["3", "2"]);
    // Operands of fewer values.
    for short in 0..4 {
        let all = [u.part(0, 48), weight, bias, results[0].input().part(0, 20)];
        let len = |index: usize| all[index].len() - usize::from(index == short);
        let [u, weight, bias] = [0, 1, 2].map(|index| all[index].part(0, len(index)));
        assert!(plan.forward(&gpu, 2, None, u, weight, bias, results[0].part(0, len(3))).is_err(), "operand {short}");
    }
    plan.forward(&gpu, 2, None, u, weight, bias, results[0]).unwrap();
    assert!(backward(2, on_gpu.dv.input().part(0, 19)).is_err());
    backward(2, on_gpu.dv.input()).unwrap();
}

#[test]
fn bytes_of_class_capsules_are_a_function_of_their_sizes() {
    let bytes = |most, iterations| ClassCapsules::bytes(most, 1152, [1152, 8, 160], [10, 16], iterations).unwrap();
    // 23.6 MB of couplings and gradients of logits, 5.9 MB of sums, and 0.7 MB of s, its gradients and v.
    assert_eq!(bytes(128, 3), 30_228_480);
    assert!(bytes(1, 1) < bytes(1, 2) && bytes(64, 3) < bytes(65, 3));
}

#[test]
fn squash_and_its_gradient_agree_with_those_of_the_cpu() {
    let device = Device::Cuda(gpu().device().clone());
    let shapes: [&[usize]; 9] =
        [&[1], &[3, 1], &[2, 5, 8], &[300, 8], &[7, 16], &[33, 3], &[5, 64], &[3, 130], &[2, 256]];
    for shape in shapes {
        for kind in [EXACT, APPROXIMATE] {
            // Of one dimension, an approximate squash can be a sign, whose gradient is 0 but for rounding.
            if shape[shape.len() - 1] == 1 && kind == APPROXIMATE {
                continue;
            }
            let len = shape.iter().product();
            let run = |device: &Device, dtype: DType| {
                let to = |name: &str| {
                    let values: Vec<f32> = random(name, len).iter().map(|value| 1.5 * value).collect();
                    Tensor::from_vec(values, shape, device).unwrap().to_dtype(dtype).unwrap()
                };
                let s = Var::from_tensor(&to("s")).unwrap();
                let v = kernels::squash(&s, kind).unwrap();
                let grads = (&v * to("dv")).unwrap().sum_all().unwrap().backward().unwrap();
                (values(&v), values(grads.get(&s).unwrap()))
            };
            let ((v, ds), (expected_v, expected_ds)) = (run(&device, DType::F32), run(&Device::Cpu, DType::F64));
            assert_near(&format!("v of {shape:?}, {kind:?}"), &v, &expected_v, 1e-6);
            assert_near(&format!("ds of {shape:?}, {kind:?}"), &ds, &expected_ds, 2e-6);
        }
    }
}

#[test]
fn squash_is_finite_at_zero_and_lets_a_nan_through() {
    let device = Device::Cuda(gpu().device().clone());
    let given = [vec![0f32; 8], vec![f32::NAN, 1., 1., 1., 1., 1., 1., 1.], vec![0.5; 8]].concat();
    for kind in [EXACT, APPROXIMATE] {
        let s = Var::from_tensor(&Tensor::from_vec(given.clone(), (3, 8), &device).unwrap()).unwrap();
        let v = kernels::squash(&s, kind).unwrap();
        let grads = v.sum_all().unwrap().backward().unwrap();
        for values in [values(&v), values(grads.get(&s).unwrap())] {
            for (i, value) in values.into_iter().enumerate() {
                assert_eq!(value.is_nan(), i / 8 == 1, "value {i} is {value}");
            }
        }
    }
}
