//! The fully connected layer.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{
    product::{Into, Matrix, product},
    reference,
    storage::{Real, cpu_values, for_real, is_fast, values},
};

/// `y = x · weightᵀ + bias`: x `[batch, inputs]`, weight `[outputs, inputs]`, bias `[outputs]`; gives `[batch, outputs]`.
///
/// Errors: shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    match (x.dims(), weight.dims(), bias.dims()) {
        (&[_, inputs], &[outputs, weight_inputs], &[biases])
            if inputs == weight_inputs && outputs == biases && outputs > 0 => {}
        (x, w, b) => bail!("linear: input {x:?}, weight {w:?} and bias {b:?} do not fit"),
    }
    if is_fast(x) {
        x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Linear)
    } else {
        reference::linear(x, weight, bias)
    }
}

struct Linear;

fn forward<T: Real>(x: &[T], weight: &[T], bias: &[T], [batch, inputs, outputs]: [usize; 3]) -> Vec<T> {
    let mut y: Vec<T> = bias.iter().copied().cycle().take(batch * outputs).collect();
    let (x, weight) = (Matrix::new(x, batch, inputs), Matrix::new(weight, outputs, inputs));
    product(&mut y, x, weight.transposed(), Into::Add);
    y
}

fn backward<T: Real>(x: &[T], weight: &[T], dy: &[T], [batch, inputs, outputs]: [usize; 3]) -> [Vec<T>; 3] {
    let mut dx = vec![T::zero(); x.len()];
    let mut dweight = vec![T::zero(); weight.len()];
    let mut dbias = vec![T::zero(); outputs];
    for row in dy.chunks(outputs) {
        dbias.iter_mut().zip(row).for_each(|(b, &d)| *b += d);
    }
    let (x, weight) = (Matrix::new(x, batch, inputs), Matrix::new(weight, outputs, inputs));
    let dy = Matrix::new(dy, batch, outputs);
    product(&mut dx, dy, weight, Into::Overwrite);
    product(&mut dweight, dy.transposed(), x, Into::Overwrite);
    [dx, dweight, dbias]
}

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
            let y = forward::<T>(values(x, lx)?, values(weight, lw)?, values(bias, lb)?, [batch, inputs, outputs]);
            Ok((candle_core::WithDType::to_cpu_storage_owned(y), Shape::from((batch, outputs))))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((batch, inputs), (outputs, _)) = (x.dims2()?, weight.dims2()?);
        let dy = dy.contiguous()?;
        let ((sx, lx), (sw, lw), (sd, ld)) =
            (x.storage_and_layout(), weight.storage_and_layout(), dy.storage_and_layout());
        for_real!(x.dtype(), T => {
            let (x_values, weight_values) = (cpu_values(&sx, lx)?, cpu_values(&sw, lw)?);
            let [dx, dweight, dbias] =
                backward::<T>(x_values, weight_values, cpu_values(&sd, ld)?, [batch, inputs, outputs]);
            Ok((
                Some(Tensor::from_vec(dx, x.shape(), x.device())?),
                Some(Tensor::from_vec(dweight, weight.shape(), x.device())?),
                Some(Tensor::from_vec(dbias, bias.shape(), x.device())?),
            ))
        })
    }
}
