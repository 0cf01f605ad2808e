//! The capsule layers of a CapsNet.

use candle_core::Result;

use crate::learn::kernels::{ClassCapsulesPlan, InChannels, Real, Squash};

/// Channels `[types × dim, positions]` of a convolution, squashed to capsules `[types × positions, dim]`: capsule
/// `type × positions + position` is made of the channels `type × dim ..` at one position. Outputs of a dense layer have one position,
/// and every capsule is a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrimaryCapsuleLayer {
    pub types: usize,
    pub dim: usize,
    pub positions: usize,
    pub squash: Squash,
}

impl PrimaryCapsuleLayer {
    /// Capsules of all types at all positions.
    pub fn capsules(&self) -> usize {
        self.types * self.positions
    }

    /// Values that leave the layer.
    pub fn values(&self) -> usize {
        self.capsules() * self.dim
    }

    /// The layer on CPU cores.
    pub(crate) fn in_channels(&self) -> InChannels {
        let PrimaryCapsuleLayer { types, dim, positions, squash } = *self;
        InChannels { types, dim, positions, kind: squash }
    }
}

/// Votes `û_ij = W_ij u_i` of capsules `[capsules, in_dim]` and their routing to class capsules `[classes, dim]`:
/// `{name}.weight [matrices, in_dim, classes × dim]`, `{name}.bias [classes, dim]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassCapsuleLayer {
    pub name: &'static str,
    /// Capsules that vote.
    pub capsules: usize,
    pub in_dim: usize,
    /// Sets of matrices, one matrix a class; each set belongs to `capsules / matrices` capsules that follow one another.
    pub matrices: usize,
    pub classes: usize,
    pub dim: usize,
    pub iterations: usize,
    pub squash: Squash,
}

impl ClassCapsuleLayer {
    /// Values that enter the layer.
    pub fn inputs(&self) -> usize {
        self.capsules * self.in_dim
    }

    /// Values that leave the layer, and that one capsule's votes have.
    pub fn values(&self) -> usize {
        self.classes * self.dim
    }

    /// Values of all votes.
    pub fn votes(&self) -> usize {
        self.capsules * self.values()
    }

    /// Dimensions of the weight.
    pub fn weight(&self) -> [usize; 3] {
        [self.matrices, self.in_dim, self.values()]
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        self.weight().iter().product()
    }

    /// Dimensions of the bias.
    pub fn bias(&self) -> [usize; 2] {
        [self.classes, self.dim]
    }

    /// The layer on CPU cores, for one sample at first.
    ///
    /// Errors: sizes that do not fit.
    pub fn plan<T: Real>(&self) -> Result<ClassCapsulesPlan<T>> {
        let u = [1, self.capsules, self.in_dim];
        ClassCapsulesPlan::new(u, self.weight(), self.bias(), self.iterations, self.squash)
    }
}
