//! Convolution with its full backward, by the algorithm that is the cheapest for its shape.

mod dft;
mod fourier;
mod spectrum;
mod unfold;

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{
    lanes::{sum, vectorised},
    reference, relu,
    storage::{Real, cpu_values, for_each_chunk, for_real, is_fast, values},
};
use fourier::{Fourier, Spectra};

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Algorithm {
    /// A copy of the values under the kernel at each position, and one matrix product (im2col).
    Unfold,
    /// A matrix product for each frequency: fewer multiplications, but the kernel is transformed too, once for a whole batch.
    Fourier,
}

/// `y[b,c,i,j] = bias[c] + Σ_{d,p,q} weight[c mod filters, d, p, q] · x[b, d, i·stride+p, j·stride+q]`, without padding.
///
/// x `[batch, in_channels, height, width]`, weight `[filters, in_channels, kh, kw]`, bias `[channels]`; gives
/// `[batch, channels, (height−kh)/stride+1, (width−kw)/stride+1]`. Where `channels` is a multiple of `filters`, the
/// channels share filters: each filter is computed once and every channel adds its own bias.
///
/// Errors: shapes that do not fit, a kernel larger than the image, a zero stride.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    let algorithm = Algorithm::choose(x.dims(), weight.dims(), bias.dims(), stride)?;
    conv2d_by(algorithm, x, weight, bias, stride)
}

/// `max(conv2d(x), 0)`; see [`super::relu()`].
pub fn conv2d_relu(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    let algorithm = Algorithm::choose(x.dims(), weight.dims(), bias.dims(), stride)?;
    apply(algorithm, Activation::Relu, x, weight, bias, stride)
}

/// [`conv2d`] by an algorithm of one's own choice.
pub fn conv2d_by(algorithm: Algorithm, x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    Geometry::new(x.dims(), weight.dims(), bias.dims(), stride)?;
    apply(algorithm, Activation::None, x, weight, bias, stride)
}

fn apply(
    algorithm: Algorithm,
    activation: Activation,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    stride: usize,
) -> Result<Tensor> {
    if !is_fast(x) {
        let y = reference::conv2d(x, weight, bias, stride)?;
        return match activation {
            Activation::None => Ok(y),
            Activation::Relu => reference::relu(&y),
        };
    }
    let tracked = [x, weight, bias].iter().any(|t| t.track_op());
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    for_real!(x.dtype(), T => {
        x.apply_op3(&weight, &bias, Conv2d::<T> { stride, algorithm, activation, tracked, spectra: Mutex::new(None) })
    })
}

impl Algorithm {
    /// The cheaper one for these dimensions, as [`conv2d`] takes them: a rule, so that a shape always gets the same bits.
    pub fn choose(x: &[usize], weight: &[usize], bias: &[usize], stride: usize) -> Result<Algorithm> {
        Ok(Geometry::new(x, weight, bias, stride)?.cheapest())
    }
}

/// The sizes of one convolution.
struct Geometry {
    batch: usize,
    in_channels: usize,
    height: usize,
    width: usize,
    filters: usize,
    channels: usize,
    kernel: [usize; 2],
    stride: usize,
    out: [usize; 2],
}

impl Geometry {
    fn new(x: &[usize], weight: &[usize], bias: &[usize], stride: usize) -> Result<Self> {
        let (&[batch, in_channels, height, width], &[filters, weight_channels, kh, kw], &[channels]) =
            (x, weight, bias)
        else {
            bail!("conv2d: expected image, weight and bias of 4, 4 and 1 dimensions, got {x:?}, {weight:?}, {bias:?}")
        };
        if weight_channels != in_channels {
            bail!("conv2d: the image {x:?} has {in_channels} channels, the weight {weight:?} takes {weight_channels}")
        }
        if filters == 0 || channels == 0 || channels % filters != 0 {
            bail!("conv2d: {channels} biases are no multiple of {filters} filters")
        }
        if batch == 0 || in_channels == 0 {
            bail!("conv2d: the image {x:?} is empty")
        }
        if stride == 0 || kh == 0 || kw == 0 || kh > height || kw > width {
            bail!("conv2d: kernel {kh}×{kw} with stride {stride} does not fit the image {x:?}")
        }
        let out = [(height - kh) / stride + 1, (width - kw) / stride + 1];
        Ok(Geometry { batch, in_channels, height, width, filters, channels, kernel: [kh, kw], stride, out })
    }

    /// Positions of the kernel in an image.
    fn positions(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Values under the kernel at one position.
    fn patch(&self) -> usize {
        self.in_channels * self.kernel[0] * self.kernel[1]
    }

    fn image(&self) -> usize {
        self.in_channels * self.height * self.width
    }

    /// The costs count in multiply-adds of a large product, and are fitted to measurement: all three passes of some twenty shapes.
    fn cheapest(&self) -> Algorithm {
        /// What it costs to copy a value under the kernel, there and back.
        const COPY: usize = 30;
        let unfolded = self.batch * self.positions() * self.patch() * (self.filters + COPY);

        let [rows, columns] = fourier::size(self);
        let inputs = self.in_channels * self.kernel.map(|taps| taps.min(self.stride)).iter().product::<usize>();
        // Half a spectrum, three products for a complex one; a product's operands are smaller, so that it is faster.
        let products = self.batch * inputs * self.filters * rows * columns * 2 / 3;
        let planes = inputs * (self.batch + self.filters) + self.batch * self.filters;
        let transforms = planes * rows * columns * (10 + 2 * (rows + columns));
        if products + transforms < unfolded { Algorithm::Fourier } else { Algorithm::Unfold }
    }

    /// The gradient of the bias: each channel's sum over samples and positions.
    fn bias_gradient<T: Real>(&self, dy: &[T]) -> Vec<T> {
        let positions = self.positions();
        let mut dbias = vec![T::zero(); self.channels];
        for_each_chunk(&mut dbias, 1, dy.len(), |channel, dbias| {
            for sample in dy.chunks(self.channels * positions) {
                dbias[0] += vectorised!(|| sum(&sample[channel * positions..][..positions]));
            }
        });
        dbias
    }
}

#[derive(Clone, Copy, PartialEq)]
enum ImageGradient {
    Wanted,
    Unused,
}

/// What becomes of the sums before they leave the op.
#[derive(Clone, Copy, PartialEq)]
pub enum Activation {
    None,
    Relu,
}

struct Conv2d<T: Real> {
    stride: usize,
    algorithm: Algorithm,
    activation: Activation,
    /// Whether a backward pass may follow.
    tracked: bool,
    /// What the forward pass leaves to the (first) backward pass.
    spectra: Mutex<Option<Spectra<T>>>,
}

impl<T: Real> CustomOp3 for Conv2d<T> {
    fn name(&self) -> &'static str {
        "conv2d"
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
        let g = Geometry::new(lx.dims(), lw.dims(), lb.dims(), self.stride)?;
        let (x, weight, bias) = (values(x, lx)?, values(weight, lw)?, values(bias, lb)?);
        let mut y = match self.algorithm {
            Algorithm::Unfold => g.forward_unfolded::<T>(x, weight, bias),
            Algorithm::Fourier => {
                let (y, spectra) = Fourier::new(&g).forward(x, weight, bias);
                if self.tracked {
                    *self.spectra.lock().unwrap_or_else(PoisonError::into_inner) = Some(spectra);
                }
                y
            }
        };
        if self.activation == Activation::Relu {
            relu::relu_forward(&mut y);
        }
        Ok((T::to_cpu_storage_owned(y), Shape::from((g.batch, g.channels, g.out[0], g.out[1]))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = Geometry::new(x.dims(), weight.dims(), bias.dims(), self.stride)?;
        let wanted = if x.track_op() { ImageGradient::Wanted } else { ImageGradient::Unused };
        let dy = dy.contiguous()?;
        let ((sx, lx), (sw, lw), (sy, ly), (sd, ld)) =
            (x.storage_and_layout(), weight.storage_and_layout(), y.storage_and_layout(), dy.storage_and_layout());
        let (x_values, weight_values) = (cpu_values::<T>(&sx, lx)?, cpu_values::<T>(&sw, lw)?);
        let (y, mut dy) = (cpu_values::<T>(&sy, ly)?, cpu_values::<T>(&sd, ld)?);
        let mut passed;
        if self.activation == Activation::Relu {
            passed = dy.to_vec();
            relu::relu_backward(y, &mut passed);
            dy = &passed;
        }
        let [dx, dweight, dbias] = match self.algorithm {
            Algorithm::Unfold => g.backward_unfolded(x_values, weight_values, dy, wanted),
            Algorithm::Fourier => {
                let kept = self.spectra.lock().unwrap_or_else(PoisonError::into_inner).take();
                let fourier = Fourier::new(&g);
                fourier.backward(kept.unwrap_or_else(|| fourier.spectra(x_values, weight_values)), dy, wanted)
            }
        };
        let dx = match wanted {
            ImageGradient::Wanted => Some(Tensor::from_vec(dx, x.shape(), x.device())?),
            ImageGradient::Unused => None,
        };
        let dweight = Tensor::from_vec(dweight, weight.shape(), x.device())?;
        let dbias = Tensor::from_vec(dbias, bias.shape(), x.device())?;
        Ok((dx, Some(dweight), Some(dbias)))
    }
}
