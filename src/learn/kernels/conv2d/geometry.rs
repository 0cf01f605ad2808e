//! The sizes of a convolution.

use candle_core::{Result, bail};

/// The sizes of one convolution.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) in_channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) filters: usize,
    pub(super) channels: usize,
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    pub(super) out: [usize; 2],
}

impl Geometry {
    pub(super) fn new(x: &[usize], weight: &[usize], bias: &[usize], stride: usize) -> Result<Self> {
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
    pub(super) fn positions(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Values under the kernel at one position.
    pub(super) fn patch(&self) -> usize {
        self.in_channels * self.kernel[0] * self.kernel[1]
    }

    pub(super) fn image(&self) -> usize {
        self.in_channels * self.height * self.width
    }

    /// Channels of an image, counted in each phase that the stride divides them into.
    pub(super) fn inputs(&self) -> usize {
        self.in_channels * self.kernel.map(|taps| taps.min(self.stride)).iter().product::<usize>()
    }
}
