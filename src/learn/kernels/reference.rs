//! Every op of this folder in plain tensor code: the oracle the fast ones are held to, and what runs where they cannot.
//! Shapes and formulas stand at the ops themselves.

use candle_core::{D, Result, Tensor};

use super::options::{COEFFICIENTS, EPSILON, Factors, FreeFactors, ITERATIONS, LEAST_NORM, NORM_EPSILON, Squash};

/// See [`super::conv2d`].
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    let channels = bias.dim(0)?;
    // candle 0.11's gradient wants an image without rows or columns that no kernel position reaches.
    let ((_, _, h, w), (_, _, kh, kw)) = (x.dims4()?, weight.dims4()?);
    let reached = x.narrow(2, 0, (h - kh) / stride * stride + kh)?.narrow(3, 0, (w - kw) / stride * stride + kw)?;
    let filtered = reached.contiguous()?.conv2d(weight, 0, stride, 1, 1)?;
    let shared = filtered.repeat((1, channels / weight.dim(0)?, 1, 1))?;
    shared.broadcast_add(&bias.reshape((1, channels, 1, 1))?)
}

/// See [`super::linear`].
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}

/// See [`super::relu`].
pub fn relu(x: &Tensor) -> Result<Tensor> {
    x.mul(&x.gt(0f64)?.to_dtype(x.dtype())?)
}

/// See [`super::max_pool_2x2`]. (The gradient of candle 0.11's `max_pool2d` is a quarter of the right one.)
pub fn max_pool_2x2(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, h, w) = x.dims4()?;
    let whole = x.narrow(2, 0, h / 2 * 2)?.narrow(3, 0, w / 2 * 2)?.contiguous()?;
    whole.reshape((batch, channels, h / 2, 2, w / 2, 2))?.max(5)?.max(3)
}

/// See [`super::squash()`].
pub fn squash(s: &Tensor, kind: Squash) -> Result<Tensor> {
    let n2 = s.sqr()?.sum_keepdim(D::Minus1)?;
    let factor = match kind {
        Squash::Exact => n2.div(&(&n2 + 1.)?)?.div(&(&n2 + EPSILON)?.sqrt()?)?,
        // 1/√max(|s|², 4) is 1/2 up to |s| = 2 and 1/|s| above.
        Squash::Approximate => n2.maximum(4f64)?.sqrt()?.recip()?,
    };
    s.broadcast_mul(&factor)
}

/// See [`super::class_capsules()`].
pub fn class_capsules(u: &Tensor, weight: &Tensor, bias: &Tensor, iterations: usize, kind: Squash) -> Result<Tensor> {
    routing(&votes(u, weight)?, bias, iterations, kind)
}

/// Its votes.
fn votes(u: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (batch, capsules, in_dim) = u.dims3()?;
    let (matrices, _, n) = weight.dims3()?;
    let sharing = capsules / matrices;
    let u = u.reshape((batch, matrices, sharing, in_dim))?.transpose(0, 1)?.contiguous()?;
    let votes = u.reshape((matrices, batch * sharing, in_dim))?.matmul(weight)?;
    votes.reshape((matrices, batch, sharing, n))?.transpose(0, 1)?.contiguous()?.reshape((batch, capsules, n))
}

/// Their routing.
fn routing(votes: &Tensor, bias: &Tensor, iterations: usize, kind: Squash) -> Result<Tensor> {
    let (batch, capsules, _) = votes.dims3()?;
    let (classes, dim) = bias.dims2()?;
    let votes = votes.reshape((batch, capsules, classes, dim))?;
    let mut logits = Tensor::zeros((batch, capsules, classes), votes.dtype(), votes.device())?;
    let mut r = 0;
    loop {
        let coupling = softmax(&logits)?.unsqueeze(3)?;
        let s = votes.broadcast_mul(&coupling)?.sum(1)?.broadcast_add(bias)?;
        let v = squash(&s, kind)?;
        r += 1;
        if r >= iterations {
            return Ok(v);
        }
        logits = (logits + votes.broadcast_mul(&v.unsqueeze(1)?)?.sum(3)?)?;
    }
}

/// See [`super::HomogeneousPlan`].
pub fn homogeneous_capsules(u: &Tensor, weight: &Tensor, bias: &Tensor, kind: Squash) -> Result<Tensor> {
    let ((batch, capsules, dim), (_, vectors, _)) = (u.dims3()?, weight.dims3()?);
    let shared = u.reshape((batch, vectors, capsules / vectors, dim))?.sum(2)?;
    let votes = shared.unsqueeze(1)?.broadcast_mul(&weight.unsqueeze(0)?)?;
    squash(&votes.sum(2)?.broadcast_add(bias)?, kind)
}

/// Softmax over the last dimension.
fn softmax(logits: &Tensor) -> Result<Tensor> {
    // The largest logit only guards against overflow: it cancels, and needs no gradient.
    let exp = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// Mean and variance of each channel of x `[batch, channels, h, w]`, with n in its denominator; see [`super::batch_norm()`].
pub fn channel_statistics(x: &Tensor) -> Result<[Tensor; 2]> {
    let by_channel = x.transpose(0, 1)?.flatten_from(1)?;
    let mean = by_channel.mean_keepdim(1)?;
    let variance = by_channel.broadcast_sub(&mean)?.sqr()?.mean(1)?;
    Ok([mean.squeeze(1)?, variance])
}

/// See [`super::batch_norm()`]: with the operand's own statistics where they are those of [`channel_statistics`].
pub fn batch_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
    let of_channels = |values: &Tensor| values.reshape((1, values.elem_count(), 1, 1));
    let scale = (weight / (variance + NORM_EPSILON)?.sqrt()?)?;
    let centred = x.broadcast_sub(&of_channels(mean)?)?;
    centred.broadcast_mul(&of_channels(&scale)?)?.broadcast_add(&of_channels(bias)?)
}

/// See [`super::whole_map_depthwise`].
pub fn whole_map_depthwise(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.broadcast_mul(&weight.unsqueeze(0)?)?.sum((2, 3))?.broadcast_add(bias)
}

/// See [`super::attention_routing`].
pub fn attention_routing(u: &Tensor, weight: &Tensor, prior: &Tensor) -> Result<Tensor> {
    let (batch, capsules, _) = u.dims3()?;
    let classes = prior.dim(1)?;
    let dim = weight.dim(2)? / classes;
    let votes = votes(u, weight)?.reshape((batch, capsules, classes, dim))?;
    let agreements = (votes.broadcast_mul(&votes.sum_keepdim(1)?)?.sum(3)? / (dim as f64).sqrt())?;
    let coefficients = softmax(&agreements)?.broadcast_add(prior)?;
    votes.broadcast_mul(&coefficients.unsqueeze(3)?)?.sum(1)
}

/// See [`super::exponential_squash`].
pub fn exponential_squash(s: &Tensor) -> Result<Tensor> {
    let n = (s.sqr()?.sum_keepdim(D::Minus1)? + EPSILON)?.sqrt()?;
    s.broadcast_mul(&(1. - n.neg()?.exp()?)?.div(&n)?)
}

/// One step of Adam or AdamW ([`super::Rule::Adam`]): the new θ, m and v.
pub fn adam_step(
    theta: &Tensor,
    grad: &Tensor,
    m: &Tensor,
    v: &Tensor,
    factors: Factors,
) -> Result<(Tensor, Tensor, Tensor)> {
    let Factors { beta1, beta2, epsilon, step_size, correction, keep } = factors;
    let m = ((m * beta1)? + (grad * (1. - beta1))?)?;
    let v = ((v * beta2)? + (grad.sqr()? * (1. - beta2))?)?;
    let theta = ((theta * keep)? - ((&m * step_size)? / ((v.sqrt()? / correction)? + epsilon)?)?)?;
    Ok((theta, m, v))
}

/// One step of [`super::Rule::Nesterov`]: the new θ and m.
pub fn nesterov_step(
    theta: &Tensor,
    grad: &Tensor,
    m: &Tensor,
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
) -> Result<(Tensor, Tensor)> {
    let d = (grad + (theta * weight_decay)?)?;
    let m = ((m * momentum)? + &d)?;
    let theta = (theta - ((d + (&m * momentum)?)? * learning_rate)?)?;
    Ok((theta, m))
}

/// One step of [`super::Rule::ScheduleFree`]: the new y, z and v, by way of x.
pub fn schedule_free_step(
    y: &Tensor,
    grad: &Tensor,
    z: &Tensor,
    v: &Tensor,
    factors: FreeFactors,
) -> Result<(Tensor, Tensor, Tensor)> {
    let FreeFactors { beta1, beta2, epsilon, correction, learning_rate, weight_decay, share } = factors;
    let x = judged(y, z, beta1)?;
    let v = ((v * beta2)? + (grad.sqr()? * (1. - beta2))?)?;
    let direction = ((grad / ((v.sqrt()? / correction)? + epsilon)?)? + (y * weight_decay)?)?;
    let z = (z - (direction * learning_rate)?)?;
    let x = ((x * (1. - share))? + (&z * share)?)?;
    let y = ((&z * (1. - beta1))? + (x * beta1)?)?;
    Ok((y, z, v))
}

/// The weights x that a network is judged by whose weights y move by [`super::Rule::ScheduleFree`].
pub fn judged(y: &Tensor, z: &Tensor, beta1: f64) -> Result<Tensor> {
    (y - (z * (1. - beta1))?)? / beta1
}

/// One step of [`super::Rule::Muon`] of a variable that is a matrix of these sides: the new θ and m. keep: what the weight decay
/// leaves of θ; size: the learning rate by the matrix's scale.
pub fn muon_step(
    theta: &Tensor,
    grad: &Tensor,
    m: &Tensor,
    sides: [usize; 2],
    momentum: f64,
    keep: f64,
    size: f64,
) -> Result<(Tensor, Tensor)> {
    let rest = (grad * (1. - momentum))?;
    let m = ((m * momentum)? + &rest)?;
    let direction = (rest + (&m * momentum)?)?.reshape((sides[0], sides[1]))?;
    let direction = orthogonal(&direction)?.reshape(theta.shape())?;
    Ok((((theta * keep)? - (direction * size)?)?, m))
}

/// [`super::orthogonalise`] of a matrix, as Jordan et al. 2024 write it: the longer side is that of the columns.
pub fn orthogonal(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let is_tall = rows > columns;
    let x = if is_tall { x.t()?.contiguous()? } else { x.contiguous()? };
    let norm = x.sqr()?.sum_all()?.sqrt()?;
    let mut x = x.broadcast_div(&(norm + LEAST_NORM)?)?;
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let gram = x.matmul(&x.t()?.contiguous()?)?;
        let polynomial = ((&gram * b)? + (gram.matmul(&gram)? * c)?)?;
        x = ((&x * a)? + polynomial.matmul(&x)?)?;
    }
    if is_tall { x.t()?.contiguous() } else { Ok(x) }
}
