//! Class capsules: votes and their routing in one operation, so that the votes, the largest values of a network, never leave it.

use std::{
    any::Any,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use super::cuda::{
    Gpu,
    class_capsules::{CapsuleOrder, ClassCapsules as CudaClassCapsules},
    tensors,
};
use super::{
    capsule_plan::{self, ClassCapsulesPlan},
    reference,
    storage::{cpu_values, for_real, is_fast, values},
};
use crate::learn::kernels::Squash;

/// Primary capsules u `[batch, capsules, in_dim]` to class capsules v `[batch, classes, dim]`; weight
/// `[matrices, in_dim, classes × dim]`, bias `[classes, dim]`.
///
/// Votes `û_i = u_i · weight[i div (capsules/matrices)]`: with one matrix per capsule nothing is shared; with one per capsule type,
/// the capsules of a type follow one another and share it. Routing starts with logits b = 0; `iterations` times:
/// `c_i = softmax_j(b_i)`, `s_j = Σ_i c_ij û_ij + bias_j`, `v_j = squash(s_j)`, and, but for the last time, `b_ij += û_ij · v_j`.
/// Gradients flow through every iteration.
///
/// Errors: shapes that do not fit, capsules that are no multiple of the matrices, no iterations.
pub fn class_capsules(u: &Tensor, weight: &Tensor, bias: &Tensor, iterations: usize, kind: Squash) -> Result<Tensor> {
    capsule_plan::check(u.dims(), weight.dims(), bias.dims(), iterations)?;
    if is_fast(u) {
        aligned(u)?.apply_op3(
            &aligned(weight)?,
            &bias.contiguous()?,
            ClassCapsules { iterations, kind, plan: Mutex::new(None) },
        )
    } else {
        reference::class_capsules(u, weight, bias, iterations, kind)
    }
}

/// The tensor, its values one after the other, on a GPU from a multiple of 16 bytes on.
fn aligned(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.contiguous()?;
    let is_aligned = tensor.device().is_cpu() || tensor.layout().start_offset().is_multiple_of(4);
    if is_aligned { Ok(tensor) } else { tensor.force_contiguous() }
}

struct ClassCapsules {
    iterations: usize,
    kind: Squash,
    /// What the forward pass was done by, for the backward pass to go on with: a `ClassCapsulesPlan<T>`, or on a GPU what stands for
    /// it there.
    plan: Mutex<Option<Box<dyn Any + Send>>>,
}

impl ClassCapsules {
    fn held(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CustomOp3 for ClassCapsules {
    fn name(&self) -> &'static str {
        "class-capsules"
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        lu: &Layout,
        weight: &CpuStorage,
        lw: &Layout,
        bias: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, capsules, in_dim) = lu.shape().dims3()?;
        let (classes, dim) = lb.shape().dims2()?;
        let (u_shape, weight_shape) = ([batch, capsules, in_dim], lw.shape().dims3()?.into());
        for_real!(candle_core::backend::BackendStorage::dtype(u), T => {
            let mut v = vec![0 as T; batch * classes * dim];
            let mut plan =
                ClassCapsulesPlan::<T>::new(u_shape, weight_shape, [classes, dim], self.iterations, self.kind)?;
            plan.forward(values(u, lu)?, values(weight, lw)?, values(bias, lb)?, &mut v);
            *self.held() = Some(Box::new(plan));
            Ok((candle_core::WithDType::to_cpu_storage_owned(v), Shape::from((batch, classes, dim))))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        u: &CudaStorage,
        lu: &Layout,
        weight: &CudaStorage,
        lw: &Layout,
        bias: &CudaStorage,
        lb: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (batch, capsules, _) = lu.shape().dims3()?;
        let (classes, dim) = lb.shape().dims2()?;
        let gpu = Gpu::of_cuda(&u.device)?;
        let (weight_shape, order) = (lw.shape().dims3()?.into(), CapsuleOrder::BySample);
        let (iterations, kind) = (self.iterations, self.kind);
        let plan =
            CudaClassCapsules::new(&gpu, batch, capsules, weight_shape, [classes, dim], iterations, kind, order)?;
        let v = gpu.zeros(batch * classes * dim)?;
        let (u, weight) = (tensors::input(u, lu)?, tensors::input(weight, lw)?);
        plan.forward(&gpu, batch, None, u, weight, tensors::input(bias, lb)?, v.output())?;
        *self.held() = Some(Box::new(plan));
        Ok((tensors::wrap(&gpu, v), Shape::from((batch, classes, dim))))
    }

    fn bwd(
        &self,
        u: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _v: &Tensor,
        dv: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dv = dv.contiguous()?;
        let ((su, lu), (sw, lw), (sb, lb), (sd, ld)) =
            (u.storage_and_layout(), weight.storage_and_layout(), bias.storage_and_layout(), dv.storage_and_layout());
        #[cfg(feature = "cuda")]
        if u.device().is_cuda() {
            let gpu = Gpu::of(u.device())?;
            let held = self.held();
            let plan = held.as_ref().and_then(|plan| plan.downcast_ref::<CudaClassCapsules>());
            let Some(plan) = plan else { bail!("class_capsules: a gradient without a forward pass") };
            let zeros = |operand: &Tensor| gpu.zeros(operand.elem_count());
            let (du, dweight, dbias) = (zeros(u)?, zeros(weight)?, zeros(bias)?);
            let (u_values, weight_values) = (tensors::held_input(&su, lu)?, tensors::held_input(&sw, lw)?);
            let (dv, results) = (tensors::held_input(&sd, ld)?, (du.output(), dweight.output(), dbias.output()));
            plan.backward(&gpu, u.dim(0)?, None, u_values, weight_values, dv, results.0, results.1, results.2)?;
            let gradient = |buffer, operand: &Tensor| Some(tensors::tensor(&gpu, buffer, operand.shape()));
            return Ok((gradient(du, u), gradient(dweight, weight), gradient(dbias, bias)));
        }
        for_real!(u.dtype(), T => {
            let (u_values, weight_values) = (cpu_values::<T>(&su, lu)?, cpu_values(&sw, lw)?);
            let [mut du, mut dweight, mut dbias] = [u, weight, bias].map(|operand| vec![0 as T; operand.elem_count()]);
            let mut held = self.held();
            let plan = held.as_mut().and_then(|plan| plan.downcast_mut::<ClassCapsulesPlan<T>>());
            let Some(plan) = plan else { bail!("class_capsules: a gradient without a forward pass") };
            let (bias, dv) = (cpu_values(&sb, lb)?, cpu_values(&sd, ld)?);
            plan.backward(u_values, weight_values, bias, dv, &mut du, &mut dweight, &mut dbias);
            Ok((
                Some(Tensor::from_vec(du, u.shape(), u.device())?),
                Some(Tensor::from_vec(dweight, weight.shape(), u.device())?),
                Some(Tensor::from_vec(dbias, lb.shape(), u.device())?),
            ))
        })
    }
}
