//! Class capsules: votes and their routing in one operation, so that the votes, the largest values of a network, never leave it.

use std::{
    any::Any,
    sync::{Mutex, MutexGuard, PoisonError},
};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{
    capsule_plan::{self, ClassCapsulesPlan},
    reference,
    storage::{cpu_values, for_real, is_fast, values},
};
use crate::model::config::Squash;

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
        u.contiguous()?.apply_op3(
            &weight.contiguous()?,
            &bias.contiguous()?,
            ClassCapsules { iterations, kind, plan: Mutex::new(None) },
        )
    } else {
        reference::class_capsules(u, weight, bias, iterations, kind)
    }
}

struct ClassCapsules {
    iterations: usize,
    kind: Squash,
    /// The plan of the forward pass, a `ClassCapsulesPlan<T>`, for the backward pass to go on with.
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
