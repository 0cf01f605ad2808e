//! The fully connected layer.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use super::{
    Activation,
    cuda::{self, tensors},
};
use super::{
    matrix::Matrix,
    real::Real,
    reference,
    storage::{cpu_values, for_each_chunk, for_real, is_fast, values},
    tiles::{Products, Start},
};
#[cfg(feature = "cuda")]
use crate::learn::kernels::Precision;

/// `y = x · weightᵀ + bias`: x `[batch, inputs]`, weight `[outputs, inputs]`, bias `[outputs]`; gives `[batch, outputs]`.
///
/// Errors: shapes that do not fit, or without values.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    match (x.dims(), weight.dims(), bias.dims()) {
        (&[batch, inputs], &[outputs, weight_inputs], &[biases])
            if inputs == weight_inputs && outputs == biases && batch * inputs * outputs > 0 => {}
        (x, w, b) => bail!("linear: input {x:?}, weight {w:?} and bias {b:?} do not fit"),
    }
    if is_fast(x) {
        x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Linear)
    } else {
        reference::linear(x, weight, bias)
    }
}

/// A fully connected layer over slices, any number of samples at a time; allocates nothing after its first pass over the largest
/// batch.
pub struct Dense<T: Real> {
    pub inputs: usize,
    pub outputs: usize,
    products: Products<T>,
    /// y, an output in each row.
    by_output: Vec<T>,
}

/// Rows of a product that one task computes.
const ROWS: usize = 32;
/// Outputs that one task computes at most: enough for the samples, which it packs, to be used often.
const OUTPUTS: usize = 128;

impl<T: Real> Dense<T> {
    pub fn new(inputs: usize, outputs: usize) -> Self {
        Dense { inputs, outputs, products: Products::new(), by_output: Vec::new() }
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        self.inputs * self.outputs
    }

    /// `y = x · weightᵀ + bias`
    pub fn forward(&mut self, x: &[T], weight: &[T], bias: &[T], y: &mut [T]) {
        let &mut Dense { inputs, outputs, ref mut products, ref mut by_output } = self;
        let batch = x.len() / inputs;
        assert_eq!([y.len(), bias.len()], [batch * outputs, outputs], "values of the output and of the bias");
        let (weight, x) = (Matrix::new(weight, outputs, inputs), Matrix::new(x, batch, inputs).transposed());
        products.prepare();
        if by_output.len() < y.len() {
            by_output.resize(y.len(), T::zero());
        }
        // Of few outputs there are two tasks all the same: inputs may be many.
        let of_task = OUTPUTS.min(outputs.div_ceil(2).next_multiple_of(ROWS));
        // The weight is the larger, and its rows are what is read fastest: it goes to the left.
        for_each_chunk(&mut by_output[..y.len()], of_task * batch, weight.values() * batch, |chunk, y| {
            let first = chunk * of_task;
            let rows = first..first + y.len() / batch;
            products.multiply(y, weight.rows(rows.clone()), x, Start::Rows(&bias[rows]));
        });
        for (b, y) in y.chunks_exact_mut(outputs).enumerate() {
            let column = by_output[b..].iter().step_by(batch);
            y.iter_mut().zip(column).for_each(|(y, &v)| *y = v);
        }
    }

    /// `dx = dy · weight`
    pub fn input_gradient(&mut self, weight: &[T], dy: &[T], dx: &mut [T]) {
        let &mut Dense { inputs, outputs, ref mut products, .. } = self;
        let weight = Matrix::new(weight, outputs, inputs);
        assert_eq!(dx.len() / inputs, dy.len() / outputs, "samples of the gradients");
        products.prepare();
        for_each_chunk(dx, ROWS * inputs, dy.len() * inputs, |chunk, dx| {
            let rows = dx.len() / inputs;
            let dy = Matrix::new(&dy[chunk * ROWS * outputs..][..rows * outputs], rows, outputs);
            products.multiply(dx, dy, weight, Start::Zero);
        });
    }

    /// `dweight = dyᵀ · x`, and dbias, the sum of dy's rows.
    pub fn weight_gradient(&mut self, x: &[T], dy: &[T], dweight: &mut [T], dbias: &mut [T]) {
        let &mut Dense { inputs, outputs, ref mut products, .. } = self;
        let batch = x.len() / inputs;
        let x = Matrix::new(x, batch, inputs);
        let dy_columns = Matrix::new(dy, batch, outputs).transposed();
        products.prepare();
        for_each_chunk(dweight, ROWS * inputs, dy.len() * inputs, |chunk, dweight| {
            let rows = chunk * ROWS..chunk * ROWS + dweight.len() / inputs;
            products.multiply(dweight, dy_columns.rows(rows), x, Start::Zero);
        });
        sum_samples(dy, dbias);
    }
}

/// Each output's sum over the samples.
pub(super) fn sum_samples<T: Real>(dy: &[T], dbias: &mut [T]) {
    dbias.fill(T::zero());
    for row in dy.chunks(dbias.len()) {
        dbias.iter_mut().zip(row).for_each(|(b, &d)| *b += d);
    }
}

struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((batch, inputs), (outputs, _)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        for_real!(candle_core::backend::BackendStorage::dtype(x), T => {
            let mut y = vec![0 as T; batch * outputs];
            Dense::new(inputs, outputs).forward(values(x, lx)?, values(weight, lw)?, values(bias, lb)?, &mut y);
            Ok((candle_core::WithDType::to_cpu_storage_owned(y), Shape::from((batch, outputs))))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        lx: &Layout,
        weight: &candle_core::CudaStorage,
        lw: &Layout,
        bias: &candle_core::CudaStorage,
        lb: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let gpu = cuda::Gpu::of_cuda(candle_core::backend::BackendStorage::device(x))?;
        let ((batch, inputs), (outputs, _)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        let [x, weight, bias] = [(x, lx), (weight, lw), (bias, lb)].map(|(s, l)| tensors::input(s, l));
        let (y, kind) = (gpu.zeros(batch * outputs)?, Activation::None);
        cuda::linear_forward(&gpu, Precision::F32, batch, inputs, outputs, x?, weight?, bias?, kind, y.output())?;
        Ok((tensors::wrap(&gpu, y), Shape::from((batch, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((_, inputs), (outputs, _)) = (x.dims2()?, weight.dims2()?);
        let dy = dy.contiguous()?;
        let ((sx, lx), (sw, lw), (sd, ld)) =
            (x.storage_and_layout(), weight.storage_and_layout(), dy.storage_and_layout());
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let gpu = cuda::Gpu::of(x.device())?;
            let (x_at, weight_at) = (tensors::held_input(&sx, lx)?, tensors::held_input(&sw, lw)?);
            let dy_at = tensors::held_input(&sd, ld)?;
            let (dx, dweight, dbias) =
                (gpu.zeros(x.elem_count())?, gpu.zeros(weight.elem_count())?, gpu.zeros(outputs)?);
            cuda::linear_backward(
                &gpu,
                Precision::F32,
                x.dim(0)?,
                inputs,
                outputs,
                x_at,
                weight_at,
                cuda::OutputGradient::Plain(dy_at),
                Some(dx.output()),
                dweight.output(),
                dbias.output(),
            )?;
            return Ok((
                Some(tensors::tensor(&gpu, dx, x.shape())),
                Some(tensors::tensor(&gpu, dweight, weight.shape())),
                Some(tensors::tensor(&gpu, dbias, bias.shape())),
            ));
        }
        for_real!(x.dtype(), T => {
            let (x_values, weight_values) = (cpu_values::<T>(&sx, lx)?, cpu_values::<T>(&sw, lw)?);
            let dy = cpu_values(&sd, ld)?;
            let mut dx = vec![0 as T; x_values.len()];
            let mut dweight = vec![0 as T; weight_values.len()];
            let mut dbias = vec![0 as T; outputs];
            let mut layer = Dense::new(inputs, outputs);
            layer.input_gradient(weight_values, dy, &mut dx);
            layer.weight_gradient(x_values, dy, &mut dweight, &mut dbias);
            Ok((
                Some(Tensor::from_vec(dx, x.shape(), x.device())?),
                Some(Tensor::from_vec(dweight, weight.shape(), x.device())?),
                Some(Tensor::from_vec(dbias, bias.shape(), x.device())?),
            ))
        })
    }
}
