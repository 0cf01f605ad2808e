//! The ops of [`crate::learn::kernels`] on f32 tensors of a device, forward and backward, against [`reference`] in f64.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor, Var};

use super::{Case, Draw, Test, values};
use crate::learn::{
    kernels::{
        self, Optimizer, Rule,
        optimizer::{Constants, matrix_sides, muon_scale},
        reference,
    },
    model::config::Squash,
};

/// An op, applied to operands.
pub type Apply = Box<dyn Fn(&[Tensor]) -> candle_core::Result<Tensor>>;

/// A case of an op.
pub struct OpCase {
    /// Sizes and options that the operands' shapes do not say, in words.
    pub options: String,
    /// By name, in f32 on the CPU.
    pub operands: Vec<(&'static str, Tensor)>,
    /// What is tested; it gets the operands in f32 on the device.
    pub fast: Apply,
    /// What it is held against; it gets them in f64 on the CPU.
    pub plain: Apply,
}

/// f32 has 24 bits: a value is rounded by up to 2⁻²⁴ of it, 6e-8, and a sum of n products is off by at most n times that of the
/// sum of their absolute values, by √n where roundings are of either sign. The ops' sums have up to some thousand terms, and
/// cancel. Measured on CPU cores, errors are of 1e-7 to 1e-6, in the frequency domain up to 6e-6.
const ROUNDING: f64 = 2e-5;
/// Three rounds of routing follow one another, and gradients come back through all of them.
const ROUTING: f64 = 1e-4;
/// Of a matrix that is made orthogonal small singular values grow by up to 500 times, and their roundings with them.
const ORTHOGONAL: f64 = 2e-4;

/// Every op.
pub(super) fn all() -> Vec<Test> {
    const HELD: &str = "value and all gradients, against plain tensor code in f64";
    vec![
        of_op("conv2d", HELD, ROUNDING, |draw| convolution(draw, false)),
        of_op("conv2d-relu", HELD, ROUNDING, |draw| convolution(draw, true)),
        of_op("linear", HELD, ROUNDING, linear),
        of_op("relu", HELD, ROUNDING, |draw| {
            of_image(draw, Box::new(|t| kernels::relu(&t[0])), Box::new(|t| reference::relu(&t[0])))
        }),
        of_op("max-pool-2x2", HELD, ROUNDING, |draw| {
            of_image(draw, Box::new(|t| kernels::max_pool_2x2(&t[0])), Box::new(|t| reference::max_pool_2x2(&t[0])))
        }),
        of_op("squash", HELD, ROUNDING, squash),
        of_op("class-capsules", HELD, ROUTING, class_capsules),
        of_rule("adam", ROUNDING, |draw| Rule::adam(constants(draw))),
        of_rule("adamw", ROUNDING, |draw| Rule::Adam { constants: constants(draw), weight_decay: draw.share() }),
        of_rule("nesterov", ROUNDING, |draw| Rule::Nesterov { momentum: draw.share(), weight_decay: draw.share() }),
        of_rule("schedule-free", ROUNDING, |draw| Rule::ScheduleFree {
            constants: constants(draw),
            weight_decay: draw.share(),
        }),
        of_rule("muon", ORTHOGONAL, |draw| {
            let [momentum, weight_decay] = [draw.share(), draw.share()];
            Rule::Muon { momentum, weight_decay, others: constants(draw) }
        }),
    ]
}

/// A test of an op: `draw` makes its cases.
pub fn of_op(
    name: &'static str,
    about: &'static str,
    tolerance: f64,
    draw: impl Fn(&mut Draw) -> candle_core::Result<OpCase> + 'static,
) -> Test {
    Test::new(name, about, move |device, stream, case| {
        let drawn = draw(stream)?;
        let shapes: Vec<String> =
            drawn.operands.iter().map(|(name, tensor)| format!("{name} {:?}", tensor.dims())).collect();
        case.shape = [shapes.join(", "), drawn.options.clone()].join(", ").trim_end_matches(", ").to_string();
        compare(drawn, tolerance, device, stream, case)
    })
}

/// Compares the value of both, and the gradients of the sum of its values by random weights.
fn compare(drawn: OpCase, tolerance: f64, device: &Device, stream: &mut Draw, case: &mut Case) -> Result<()> {
    let OpCase { operands, fast, plain, .. } = drawn;
    let on = |device: &Device, dtype: DType| -> Result<Vec<Var>> {
        let var = |(_, tensor): &(&str, Tensor)| Ok(Var::from_tensor(&tensor.to_dtype(dtype)?.to_device(device)?)?);
        operands.iter().map(var).collect()
    };
    let tensors = |vars: &[Var]| -> Vec<Tensor> { vars.iter().map(|var| var.as_tensor().clone()).collect() };
    let (of_device, of_cpu) = (on(device, DType::F32)?, on(&Device::Cpu, DType::F64)?);
    let y = fast(&tensors(&of_device)).context("forward")?;
    let expected = plain(&tensors(&of_cpu)).context("forward, plain")?;
    case.compare_tensors("value", &y, &expected, tolerance)?;
    let dy = stream.values(y.dims())?;
    let gradients = (y * dy.to_device(device)?)?.sum_all()?.backward().context("backward")?;
    let expected = (expected * dy.to_dtype(DType::F64)?)?.sum_all()?.backward().context("backward, plain")?;
    for ((name, _), (got, plain)) in operands.iter().zip(of_device.iter().zip(&of_cpu)) {
        let (Some(got), Some(plain)) = (gradients.get(got), expected.get(plain)) else {
            bail!("no gradient of {name}")
        };
        case.compare_tensors(format!("gradient of {name}"), got, plain, tolerance)?;
    }
    Ok(())
}

/// Relative distance from its kink at 0 that every value keeps before a rectifier: nearer ones can be rounded to either side, and
/// their gradients then differ though nothing is wrong.
const CLEAR: f64 = 3e-6;

/// Whether all of these values are clear of `kink`, by the largest of them.
pub(super) fn is_clear(values: &[f64], kink: f64) -> bool {
    let scale = values.iter().fold(0f64, |most, value| most.max(value.abs()));
    values.iter().all(|value| (value - kink).abs() > CLEAR * scale)
}

fn convolution(draw: &mut Draw, has_relu: bool) -> candle_core::Result<OpCase> {
    loop {
        // The layers of the network at full size, few samples of them; then whatever comes.
        let (x, weight, sharing, stride) = match draw.case {
            0 => ([3, 1, 28, 28], [256, 1, 9, 9], 1, 1),
            1 => ([2, 256, 20, 20], [256, 256, 9, 9], 1, 2),
            _ => {
                let (rows, columns, channels) = (draw.size(1..=7), draw.size(1..=7), draw.size(1..=24));
                let (height, width) = (rows + draw.size(0..=8), columns + draw.size(0..=8));
                let weight = [draw.size(1..=32), channels, rows, columns];
                ([draw.size(1..=12), channels, height, width], weight, draw.size(1..=3), draw.size(1..=3))
            }
        };
        let operands = vec![
            ("x", draw.values(&x)?),
            ("weight", draw.values(&weight)?),
            ("bias", draw.values(&[weight[0] * sharing])?),
        ];
        let case = OpCase {
            options: format!("stride {stride}"),
            operands,
            fast: Box::new(move |t| match has_relu {
                true => kernels::conv2d_relu(&t[0], &t[1], &t[2], stride),
                false => kernels::conv2d(&t[0], &t[1], &t[2], stride),
            }),
            plain: Box::new(move |t| {
                let z = reference::conv2d(&t[0], &t[1], &t[2], stride)?;
                if has_relu { reference::relu(&z) } else { Ok(z) }
            }),
        };
        if !has_relu {
            return Ok(case);
        }
        let operands: Vec<Tensor> = case.operands.iter().map(|(_, tensor)| tensor.clone()).collect();
        let z = kernels::conv2d(&operands[0], &operands[1], &operands[2], stride)?;
        // Of very many values some are always near.
        if z.elem_count() > 1 << 15 || is_clear(&z.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?, 0.0) {
            return Ok(case);
        }
    }
}

fn linear(draw: &mut Draw) -> candle_core::Result<OpCase> {
    let [batch, inputs, outputs] = match draw.case {
        0 => [16, 1024, 784],
        _ => [draw.size(1..=130), draw.size(1..=300), draw.size(1..=300)],
    };
    Ok(OpCase {
        options: String::new(),
        operands: vec![
            ("x", draw.values(&[batch, inputs])?),
            ("weight", draw.values(&[outputs, inputs])?),
            ("bias", draw.values(&[outputs])?),
        ],
        fast: Box::new(|t| kernels::linear(&t[0], &t[1], &t[2])),
        plain: Box::new(|t| reference::linear(&t[0], &t[1], &t[2])),
    })
}

/// An op of images alone.
fn of_image(draw: &mut Draw, fast: Apply, plain: Apply) -> candle_core::Result<OpCase> {
    let shape = [draw.size(1..=40), draw.size(1..=20), draw.size(2..=24), draw.size(2..=24)];
    Ok(OpCase { options: String::new(), operands: vec![("x", draw.values(&shape)?)], fast, plain })
}

const SQUASHES: [Squash; 2] = [Squash::Exact, Squash::Approximate];

fn squash(draw: &mut Draw) -> candle_core::Result<OpCase> {
    loop {
        let kind = draw.pick(&SQUASHES);
        let (capsules, dim) = if draw.case == 0 { (4 * 1152, 8) } else { (draw.size(1..=5000), draw.size(1..=33)) };
        let s = (draw.values(&[capsules, dim])? * (0.1 + 4.0 * draw.share()))?;
        // The approximate one has its kink at a length of 2.
        let lengths = s.to_dtype(DType::F64)?.sqr()?.sum(1)?.sqrt()?.to_vec1()?;
        if kind == Squash::Exact || is_clear(&lengths, 2.0) {
            return Ok(OpCase {
                options: format!("{kind:?}").to_lowercase(),
                operands: vec![("s", s)],
                fast: Box::new(move |t| kernels::squash(&t[0], kind)),
                plain: Box::new(move |t| reference::squash(&t[0], kind)),
            });
        }
    }
}

fn class_capsules(draw: &mut Draw) -> candle_core::Result<OpCase> {
    let (batch, matrices, sharing, in_dim, classes, dim) = match draw.case {
        0 => (5, 1152, 1, 8, 10, 16),
        1 => (5, 32, 36, 8, 10, 16),
        _ => {
            let (batch, matrices, sharing) = (draw.size(1..=40), draw.size(1..=40), draw.size(1..=12));
            (batch, matrices, sharing, draw.size(1..=12), draw.size(1..=12), draw.size(1..=20))
        }
    };
    // Of one dimension, an approximate squash can be a sign, whose gradient is 0 but for rounding.
    let kind = if dim == 1 { Squash::Exact } else { draw.pick(&SQUASHES) };
    let iterations = draw.size(1..=4);
    // Votes of the length that squashed capsules and initial weights make, so that routing has something to choose.
    let scale = (4.0 / (in_dim * matrices * sharing) as f64).sqrt();
    Ok(OpCase {
        options: format!("{iterations} iterations, {}", format!("{kind:?}").to_lowercase()),
        operands: vec![
            ("u", draw.values(&[batch, matrices * sharing, in_dim])?),
            ("weight", (draw.values(&[matrices, in_dim, classes * dim])? * scale)?),
            ("bias", (draw.values(&[classes, dim])? * 0.1)?),
        ],
        fast: Box::new(move |t| kernels::class_capsules(&t[0], &t[1], &t[2], iterations, kind)),
        plain: Box::new(move |t| reference::class_capsules(&t[0], &t[1], &t[2], iterations, kind)),
    })
}

/// A test of an optimizer: `draw_rule` makes its rules.
fn of_rule(name: &'static str, tolerance: f64, draw_rule: fn(&mut Draw) -> Rule) -> Test {
    Test::new(name, "values after several steps, against plain tensor code in f64", move |device, draw, case| {
        steps_of_rule(draw_rule, tolerance, device, draw, case)
    })
}

fn constants(draw: &mut Draw) -> Constants {
    Constants {
        beta1: 0.5 + 0.49 * draw.share(),
        beta2: 0.9 + 0.0999 * draw.share(),
        epsilon: 10f64.powf(-8.0 + 4.0 * draw.share()),
    }
}

/// Three steps of a matrix and of a bias.
fn steps_of_rule(
    draw_rule: fn(&mut Draw) -> Rule,
    tolerance: f64,
    device: &Device,
    draw: &mut Draw,
    case: &mut Case,
) -> Result<()> {
    const STEPS: u64 = 3;
    let shapes = [vec![draw.size(1..=70), draw.size(1..=70)], vec![draw.size(1..=20_000)]];
    let rule = draw_rule(draw);
    let learning_rate = 0.1 * draw.share();
    case.shape = format!("variables {:?} and {:?}, {rule:?}, rate {learning_rate:e}", shapes[0], shapes[1]);
    let mut vars = Vec::new();
    // By name: value and both moments in f64.
    let mut plain = BTreeMap::new();
    for (name, shape) in ["a.weight", "b.bias"].into_iter().zip(&shapes) {
        let theta = draw.values(shape)?;
        let zeros = Tensor::zeros(shape.as_slice(), DType::F64, &Device::Cpu)?;
        let values = theta.to_dtype(DType::F64)?;
        let first = if matches!(rule, Rule::ScheduleFree { .. }) { values.clone() } else { zeros.clone() };
        plain.insert(name, [values, first, zeros]);
        vars.push((name.to_string(), Var::from_tensor(&theta.to_device(device)?)?));
    }
    let mut optimizer = Optimizer::new(vars.clone(), rule)?;
    for step in 1..=STEPS {
        let mut sum = Tensor::zeros((), DType::F32, device)?;
        for (name, var) in &vars {
            let gradient = draw.values(var.dims())?;
            sum = (sum + (var.as_tensor() * gradient.to_device(device)?)?.sum_all()?)?;
            let values = plain.get_mut(name.as_str()).expect("a name of the two");
            *values = step_plainly(rule, name, values, &gradient.to_dtype(DType::F64)?, step, learning_rate)?;
        }
        optimizer.step(&sum.backward()?, learning_rate)?;
    }
    for (name, var) in &vars {
        case.compare(format!("values of {name}"), &values(var)?, &values(&plain[name.as_str()][0])?, tolerance);
    }
    Ok(())
}

/// A step of a variable in plain tensor code: its value and its moments, of which some rules have one alone.
fn step_plainly(
    rule: Rule,
    name: &str,
    [theta, m, v]: &[Tensor; 3],
    gradient: &Tensor,
    step: u64,
    learning_rate: f64,
) -> Result<[Tensor; 3]> {
    let adam = |constants: Constants, weight_decay| -> Result<[Tensor; 3]> {
        let factors = constants.factors(step, learning_rate).decaying(learning_rate, weight_decay);
        let (theta, m, v) = reference::adam_step(theta, gradient, m, v, factors)?;
        Ok([theta, m, v])
    };
    let (theta, m) = match (rule, matrix_sides(name, theta.dims())) {
        (Rule::Adam { constants, weight_decay }, _) => return adam(constants, weight_decay),
        (Rule::Nesterov { momentum, weight_decay }, _) => {
            reference::nesterov_step(theta, gradient, m, learning_rate, momentum, weight_decay)?
        }
        (Rule::ScheduleFree { constants, weight_decay }, _) => {
            // All steps are of one rate.
            let squares = step as f64 * learning_rate * learning_rate;
            let factors = constants.free_factors(step, learning_rate, squares, weight_decay);
            let (theta, z, v) = reference::schedule_free_step(theta, gradient, m, v, factors)?;
            return Ok([theta, z, v]);
        }
        (Rule::Muon { weight_decay, others, .. }, None) => return adam(others, weight_decay),
        (Rule::Muon { momentum, weight_decay, .. }, Some(sides)) => {
            let (keep, size) = (1. - learning_rate * weight_decay, learning_rate * muon_scale(sides));
            reference::muon_step(theta, gradient, m, sides, momentum, keep, size)?
        }
    };
    Ok([theta, m, v.clone()])
}
