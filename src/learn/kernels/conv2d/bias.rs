//! The gradient of the biases of a convolution.

use super::{geometry::Geometry, options::Activation};
use crate::learn::kernels::{
    lanes::{sum, vectorised},
    real::Real,
    storage::for_each_chunk,
};

/// Each channel's sum over samples and positions.
pub(super) fn bias_gradient<T: Real>(g: &Geometry, mask: Option<&[T]>, dy: &[T], dbias: &mut [T]) {
    let positions = g.positions();
    for_each_chunk(dbias, 1, dy.len(), |channel, dbias| {
        dbias[0] = T::zero();
        for sample in 0..g.batch {
            let at = (sample * g.channels + channel) * positions;
            let dy = &dy[at..][..positions];
            dbias[0] += match mask {
                None => vectorised!(|| sum(dy)),
                Some(y) => dy.iter().zip(&y[at..]).map(|(&dy, &y)| Activation::Relu.gradient(y, dy)).sum(),
            };
        }
    });
}
