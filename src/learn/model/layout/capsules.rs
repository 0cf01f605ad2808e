//! The capsule layers of a CapsNet.

use candle_core::Result;

use crate::learn::kernels::{ClassCapsulesPlan, HomogeneousPlan, InChannels, Real, Squash};

/// Channels `[types × dim, positions]` of a convolution, squashed to capsules `[types × positions, dim]`: capsule
/// `type × positions + position` is made of the channels `type × dim ..` at one position. Outputs of a dense layer have one
/// position, and every capsule is a type.
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

/// Votes `û_ij = w_ij ⊙ u_i` of capsules `[capsules, dim]` and class capsules `[classes, dim]`, which are their squashed sums:
/// `{name}.weight [classes, vectors, dim]`, `{name}.bias [classes, dim]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HomogeneousCapsuleLayer {
    pub name: &'static str,
    /// Capsules that vote.
    pub capsules: usize,
    /// Vectors of a class, each of which belongs to `capsules / vectors` capsules that follow one another.
    pub vectors: usize,
    pub classes: usize,
    pub dim: usize,
    pub squash: Squash,
}

impl HomogeneousCapsuleLayer {
    /// Values that enter the layer.
    pub fn inputs(&self) -> usize {
        self.capsules * self.dim
    }

    /// Values that leave the layer, and that one capsule's votes have.
    pub fn values(&self) -> usize {
        self.classes * self.dim
    }

    /// Dimensions of the weight.
    pub fn weight(&self) -> [usize; 3] {
        [self.classes, self.vectors, self.dim]
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        self.weight().iter().product()
    }

    /// Dimensions of the bias.
    pub fn bias(&self) -> [usize; 2] {
        [self.classes, self.dim]
    }

    /// The layer on CPU cores.
    ///
    /// Errors: sizes that do not fit.
    pub fn plan<T: Real>(&self) -> Result<HomogeneousPlan<T>> {
        HomogeneousPlan::new(self.capsules, self.weight(), self.squash)
    }
}

/// The layer that makes the class capsules of a CapsNet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClassLayer {
    Routed(ClassCapsuleLayer),
    Homogeneous(HomogeneousCapsuleLayer),
}

impl ClassLayer {
    pub fn name(&self) -> &'static str {
        match self {
            ClassLayer::Routed(layer) => layer.name,
            ClassLayer::Homogeneous(layer) => layer.name,
        }
    }

    /// Class capsules and their dimension.
    pub fn capsules(&self) -> [usize; 2] {
        match self {
            ClassLayer::Routed(layer) => layer.bias(),
            ClassLayer::Homogeneous(layer) => layer.bias(),
        }
    }

    /// Values that leave the layer, and that one capsule's votes have.
    pub fn values(&self) -> usize {
        self.capsules().iter().product()
    }

    /// Values of all votes.
    pub fn votes(&self) -> usize {
        match self {
            ClassLayer::Routed(layer) => layer.votes(),
            ClassLayer::Homogeneous(layer) => layer.capsules * layer.values(),
        }
    }

    /// Dimensions of the weight.
    pub fn weight(&self) -> [usize; 3] {
        match self {
            ClassLayer::Routed(layer) => layer.weight(),
            ClassLayer::Homogeneous(layer) => layer.weight(),
        }
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        self.weight().iter().product()
    }

    /// Routing iterations of a step that takes `scoped`, or the layer's own number; none where nothing is routed.
    pub fn iterations(&self, scoped: Option<usize>) -> usize {
        match self {
            ClassLayer::Routed(layer) => scoped.unwrap_or(layer.iterations),
            ClassLayer::Homogeneous(_) => 0,
        }
    }
}
