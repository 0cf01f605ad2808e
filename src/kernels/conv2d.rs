//! Convolution as im2col and one matrix product per chunk of samples, with its full backward.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::{
    product::{Into, Matrix, product},
    reference,
    storage::{Real, cpu_values, for_each_chunk, for_real, is_fast, values},
};

/// `y[b,c,i,j] = bias[c] + Σ_{d,p,q} weight[c mod filters, d, p, q] · x[b, d, i·stride+p, j·stride+q]`, without padding.
///
/// x `[batch, in_channels, height, width]`, weight `[filters, in_channels, kh, kw]`, bias `[channels]`; gives
/// `[batch, channels, (height−kh)/stride+1, (width−kw)/stride+1]`. Where `channels` is a multiple of `filters`, the
/// channels share filters: each filter is computed once and every channel adds its own bias.
///
/// Errors: shapes that do not fit, a kernel larger than the image, a zero stride.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Tensor> {
    Geometry::new(x.dims(), weight.dims(), bias.dims(), stride)?;
    if is_fast(x) {
        x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Conv2d { stride })
    } else {
        reference::conv2d(x, weight, bias, stride)
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

    /// Samples taken together: enough columns for an efficient product, few enough to bound the unfolded copy.
    fn chunk(&self) -> usize {
        const ENOUGH_COLUMNS: usize = 384;
        const CACHED_VALUES: usize = 1 << 18;
        let cached = CACHED_VALUES / (self.patch() * self.positions());
        cached.max(ENOUGH_COLUMNS.div_ceil(self.positions())).min(self.batch)
    }

    /// The offset in an image plane of the first value of row `i` of the values under kernel element (p, q).
    fn row_start(&self, i: usize, p: usize, q: usize) -> usize {
        (i * self.stride + p) * self.width + q
    }

    /// Copies the values under the kernel: `columns [patch, samples × positions]` of `x [samples, in_channels, h, w]`.
    fn unfold<T: Real>(&self, x: &[T], columns: &mut [T]) {
        let ([kh, kw], [_, out_w], positions) = (self.kernel, self.out, self.positions());
        let row_len = x.len() / self.image() * positions;
        for_each_chunk(columns, row_len, self.patch() * row_len, |row, columns| {
            let (channel, p, q) = (row / (kh * kw), row / kw % kh, row % kw);
            for (image, columns) in x.chunks(self.image()).zip(columns.chunks_mut(positions)) {
                let plane = &image[channel * self.height * self.width..][..self.height * self.width];
                for (i, columns) in columns.chunks_mut(out_w).enumerate() {
                    let source = &plane[self.row_start(i, p, q)..];
                    match self.stride {
                        1 => columns.copy_from_slice(&source[..out_w]),
                        stride => columns.iter_mut().zip(source.iter().step_by(stride)).for_each(|(c, &v)| *c = v),
                    }
                }
            }
        });
    }

    /// The adjoint of [`Geometry::unfold`]: adds every column's value to the image value it was copied from.
    fn fold<T: Real>(&self, columns: &[T], x: &mut [T]) {
        let ([kh, kw], [_, out_w], positions) = (self.kernel, self.out, self.positions());
        let plane_len = self.height * self.width;
        let row_len = x.len() / self.image() * positions;
        for_each_chunk(x, plane_len, columns.len(), |plane_index, plane| {
            let (sample, channel) = (plane_index / self.in_channels, plane_index % self.in_channels);
            for (p, q) in (0..kh).flat_map(|p| (0..kw).map(move |q| (p, q))) {
                let row = (channel * kh + p) * kw + q;
                let columns = &columns[row * row_len + sample * positions..][..positions];
                for (i, columns) in columns.chunks(out_w).enumerate() {
                    let target = plane[self.row_start(i, p, q)..].iter_mut().step_by(self.stride);
                    target.zip(columns).for_each(|(t, &v)| *t += v);
                }
            }
        });
    }

    fn forward<T: Real>(&self, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let (positions, patch, chunk) = (self.positions(), self.patch(), self.chunk());
        let mut y = vec![T::zero(); self.batch * self.channels * positions];
        let mut columns = vec![T::zero(); patch * chunk * positions];
        let mut filtered = vec![T::zero(); self.filters * chunk * positions];
        for (x, y) in x.chunks(chunk * self.image()).zip(y.chunks_mut(chunk * self.channels * positions)) {
            let n = x.len() / self.image() * positions;
            let (columns, filtered) = (&mut columns[..patch * n], &mut filtered[..self.filters * n]);
            self.unfold(x, columns);
            let (left, right) = (Matrix::new(weight, self.filters, patch), Matrix::new(columns, patch, n));
            product(filtered, left, right, Into::Overwrite);
            for (row, y) in y.chunks_mut(positions).enumerate() {
                let (sample, channel) = (row / self.channels, row % self.channels);
                let from = &filtered[channel % self.filters * n + sample * positions..][..positions];
                y.iter_mut().zip(from).for_each(|(y, &f)| *y = f + bias[channel]);
            }
        }
        y
    }

    /// The gradients of image (if `wanted`), weight and bias.
    fn backward<T: Real>(&self, x: &[T], weight: &[T], dy: &[T], wanted: ImageGradient) -> [Vec<T>; 3] {
        let (positions, patch, chunk) = (self.positions(), self.patch(), self.chunk());
        let mut dx = match wanted {
            ImageGradient::Wanted => vec![T::zero(); x.len()],
            ImageGradient::Unused => vec![],
        };
        let mut dweight = vec![T::zero(); weight.len()];
        let mut dbias = vec![T::zero(); self.channels];
        let mut columns = vec![T::zero(); patch * chunk * positions];
        let mut dfiltered = vec![T::zero(); self.filters * chunk * positions];
        for (c, (x, dy)) in x.chunks(chunk * self.image()).zip(dy.chunks(chunk * self.channels * positions)).enumerate()
        {
            let n = x.len() / self.image() * positions;
            let (columns, dfiltered) = (&mut columns[..patch * n], &mut dfiltered[..self.filters * n]);
            dfiltered.fill(T::zero());
            for (row, dy) in dy.chunks(positions).enumerate() {
                let (sample, channel) = (row / self.channels, row % self.channels);
                let to = &mut dfiltered[channel % self.filters * n + sample * positions..][..positions];
                to.iter_mut().zip(dy).for_each(|(t, &d)| *t += d);
                dbias[channel] += dy.iter().copied().sum::<T>();
            }
            self.unfold(x, columns);
            let (left, right) = (Matrix::new(dfiltered, self.filters, n), Matrix::new(columns, patch, n));
            product(&mut dweight, left, right.transposed(), Into::Add);
            if wanted == ImageGradient::Wanted {
                let (left, right) = (Matrix::new(weight, self.filters, patch), Matrix::new(dfiltered, self.filters, n));
                product(columns, left.transposed(), right, Into::Overwrite);
                let start = c * chunk * self.image();
                self.fold(columns, &mut dx[start..start + x.len()]);
            }
        }
        [dx, dweight, dbias]
    }
}

#[derive(Clone, Copy, PartialEq)]
enum ImageGradient {
    Wanted,
    Unused,
}

struct Conv2d {
    stride: usize,
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d-im2col"
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
        let shape = Shape::from((g.batch, g.channels, g.out[0], g.out[1]));
        for_real!(candle_core::backend::BackendStorage::dtype(x), T => {
            let y = g.forward::<T>(values(x, lx)?, values(weight, lw)?, values(bias, lb)?);
            Ok((candle_core::WithDType::to_cpu_storage_owned(y), shape))
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
        let g = Geometry::new(x.dims(), weight.dims(), bias.dims(), self.stride)?;
        let wanted = if x.track_op() { ImageGradient::Wanted } else { ImageGradient::Unused };
        let dy = dy.contiguous()?;
        let ((sx, lx), (sw, lw), (sd, ld)) =
            (x.storage_and_layout(), weight.storage_and_layout(), dy.storage_and_layout());
        for_real!(x.dtype(), T => {
            let [dx, dweight, dbias] =
                g.backward::<T>(cpu_values(&sx, lx)?, cpu_values(&sw, lw)?, cpu_values(&sd, ld)?, wanted);
            let dx = match wanted {
                ImageGradient::Wanted => Some(Tensor::from_vec(dx, x.shape(), x.device())?),
                ImageGradient::Unused => None,
            };
            let dweight = Tensor::from_vec(dweight, weight.shape(), x.device())?;
            let dbias = Tensor::from_vec(dbias, bias.shape(), x.device())?;
            Ok((dx, Some(dweight), Some(dbias)))
        })
    }
}
