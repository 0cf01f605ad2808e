//! An op on tensors of a CUDA device against the same op on those of the CPU.

use candle_core::{Device, Result, Tensor, Var};

use super::{assert_near, gpu, random};

/// Asserts that an op gives the same on the device as on the CPU, to `tolerance` of the largest value, and so the gradients of all
/// its operands, which are tensors on the CPU.
#[track_caller]
pub fn assert_ops_agree(operands: &[Tensor], tolerance: f32, op: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let run = |device: &Device| -> Result<Vec<Vec<f32>>> {
        let vars = operands.iter().map(|t| Var::from_tensor(&t.to_device(device)?)).collect::<Result<Vec<_>>>()?;
        let y = op(&vars.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>())?;
        let weights = Tensor::from_vec(random("weights of the sum", y.elem_count()), y.shape(), device)?;
        let gradients = (&y * weights)?.sum_all()?.backward()?;
        let of_operands = vars.iter().map(|var| gradients.get(var).expect("a gradient").clone());
        std::iter::once(y).chain(of_operands).map(|tensor| tensor.flatten_all()?.to_vec1()).collect()
    };
    let [got, expected] = [Device::Cuda(gpu().device().clone()), Device::Cpu].map(|device| run(&device).unwrap());
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let what = if i == 0 { "value".into() } else { format!("gradient of operand {}", i - 1) };
        assert_near(&what, got, expected, tolerance);
    }
}
