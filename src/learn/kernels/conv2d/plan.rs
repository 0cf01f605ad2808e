//! A convolution of slices that keeps its buffers from call to call.

use candle_core::Result;

use super::{
    bias::bias_gradient,
    dft::Dft,
    fourier::{self, Fourier},
    geometry::Geometry,
    options::{Activation, Algorithm},
    unfold::Unfold,
};
use crate::learn::kernels::{real::Real, weight::Weight};

/// A convolution of one shape, with the buffers it needs: after its first passes over each size of batch it allocates nothing.
///
/// x `[batch, in_channels, height, width]`, weight `[filters, in_channels, kh, kw]`, bias `[channels]`, y
/// `[batch, channels, (height−kh)/stride+1, (width−kw)/stride+1]`; see [`super::conv2d()`].
pub struct Conv2dPlan<T: Real> {
    pub(super) g: Geometry,
    activation: Activation,
    /// By choice, rather than by the rule.
    pub(super) fixed: Option<Algorithm>,
    algorithm: Algorithm,
    /// Whether the algorithm holds what a backward pass needs.
    is_ready: bool,
    unfold: Option<Unfold<T>>,
    fourier: Option<Fourier<T>>,
}

impl<T: Real> Conv2dPlan<T> {
    /// A plan by the algorithm that [`Algorithm::choose`] names, from the dimensions of x and weight and the number of biases.
    ///
    /// Errors: shapes that do not fit, a kernel larger than the image, a zero stride.
    pub fn new(
        x: [usize; 4],
        weight: [usize; 4],
        channels: usize,
        stride: usize,
        activation: Activation,
    ) -> Result<Self> {
        let g = Geometry::new(&x, &weight, &[channels], stride)?;
        let algorithm = g.cheapest();
        Ok(Conv2dPlan { g, activation, fixed: None, algorithm, is_ready: false, unfold: None, fourier: None })
    }

    /// A plan by an algorithm of one's own choice; errors as [`Conv2dPlan::new`].
    pub fn by(
        algorithm: Algorithm,
        x: [usize; 4],
        weight: [usize; 4],
        channels: usize,
        stride: usize,
        activation: Activation,
    ) -> Result<Self> {
        let plan = Self::new(x, weight, channels, stride, activation)?;
        Ok(Conv2dPlan { algorithm, fixed: Some(algorithm), ..plan })
    }

    /// Another number of samples (at least 1) from now on, for which the rule may choose the other algorithm. Buffers only grow.
    pub fn set_batch(&mut self, batch: usize) {
        assert!(batch > 0, "a batch of no samples");
        self.g.batch = batch;
        self.is_ready = false;
        self.algorithm = self.fixed.unwrap_or_else(|| self.g.cheapest());
    }

    /// Rows and columns of y.
    pub fn out(&self) -> [usize; 2] {
        self.g.out
    }

    /// Multiply-adds that the algorithm's products do for the output and for the gradients of image and weight.
    pub fn work(&self) -> [u64; 3] {
        let g = &self.g;
        let pass = match self.algorithm {
            Algorithm::Unfold => g.positions() * g.patch(),
            Algorithm::Fourier => g.inputs() * Dft::new(fourier::size(g)).multiplications(),
        };
        [(g.batch * g.filters * pass) as u64; 3]
    }

    /// y, with bias and activation; keeps what [`Conv2dPlan::backward`] needs. Panics if a length does not fit.
    pub fn forward(&mut self, x: &[T], weight: &[T], bias: &[T], y: &mut [T]) {
        let (g, activation) = (&self.g, self.activation);
        g.check(x.len(), weight.len(), y.len(), bias.len());
        match self.algorithm {
            Algorithm::Unfold => {
                self.unfold.get_or_insert_with(|| Unfold::new(g)).forward(g, x, weight, bias, activation, y);
            }
            Algorithm::Fourier => {
                self.fourier.get_or_insert_with(|| Fourier::new(g)).forward(g, x, weight, bias, activation, y);
            }
        }
        self.is_ready = true;
    }

    /// The gradients, after [`Conv2dPlan::forward`] of the same x and weight gave y, whose gradient is `dy`: writes those of image
    /// (where wanted) and bias, and hands over the weight's, blocks of `[filters, in_channels × kh × kw]`.
    ///
    /// Panics if a length does not fit, or without a forward pass before.
    pub fn backward(
        &mut self,
        x: &[T],
        weight: &mut dyn Weight<T>,
        y: &[T],
        dy: &[T],
        dx: Option<&mut [T]>,
        dbias: &mut [T],
    ) {
        assert!(self.is_ready, "a forward pass before");
        let g = &self.g;
        g.check(x.len(), weight.values().len(), y.len(), dbias.len());
        assert_eq!(dy.len(), y.len(), "values of y's gradient");
        assert!(dx.as_ref().is_none_or(|dx| dx.len() == x.len()), "values of the image's gradient");
        let mask = (self.activation == Activation::Relu).then_some(y);
        match self.algorithm {
            Algorithm::Unfold => {
                self.unfold.get_or_insert_with(|| Unfold::new(g)).backward(g, x, weight, mask, dy, dx, dbias);
            }
            Algorithm::Fourier => {
                bias_gradient(g, mask, dy, dbias);
                self.fourier.as_mut().expect("a forward pass before").backward(g, weight, mask, dy, dx);
            }
        }
    }
}

impl Geometry {
    /// Panics unless the numbers of values are those of the operands.
    fn check(&self, x: usize, weight: usize, y: usize, bias: usize) {
        assert_eq!(x, self.batch * self.image(), "values of the image");
        assert_eq!(weight, self.filters * self.patch(), "values of the weight");
        assert_eq!(y, self.batch * self.channels * self.positions(), "values of the output");
        assert_eq!(bias, self.channels, "values of the bias");
    }
}
