//! The layers that Efficient-CapsNet alone has.

/// Each channel of a map, normalised over a batch and all positions: `{name}.weight`, `{name}.bias` and the running statistics
/// `{name}.running_mean`, `{name}.running_var`, `[channels]` each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormLayer {
    pub name: &'static str,
    /// Channels, height and width.
    pub image: [usize; 3],
}

impl BatchNormLayer {
    pub fn channels(&self) -> usize {
        self.image[0]
    }
}

/// A depthwise convolution whose kernel is the whole map, its channels read as squashed capsules `[channels / dim, dim]`:
/// `{name}.weight [channels, height, width]`, `{name}.bias [channels]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthwiseCapsuleLayer {
    pub name: &'static str,
    /// Channels, height and width of what enters.
    pub image: [usize; 3],
    /// Divides the channels.
    pub dim: usize,
}

impl DepthwiseCapsuleLayer {
    /// Values that enter the layer: each meets one of the weight.
    pub fn inputs(&self) -> usize {
        self.image.iter().product()
    }

    /// Values that leave the layer.
    pub fn values(&self) -> usize {
        self.image[0]
    }

    pub fn capsules(&self) -> usize {
        self.values() / self.dim
    }

    /// Dimensions of the weight.
    pub fn weight(&self) -> [usize; 3] {
        self.image
    }
}

/// Votes `û_ij = W_ij u_i` of capsules `[capsules, in_dim]` and their self-attention routing to class capsules `[classes, dim]`:
/// `{name}.weight [capsules, in_dim, classes × dim]`, `{name}.prior [capsules, classes]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionCapsuleLayer {
    pub name: &'static str,
    /// Capsules that vote.
    pub capsules: usize,
    pub in_dim: usize,
    pub classes: usize,
    pub dim: usize,
}

impl AttentionCapsuleLayer {
    /// Values that enter the layer.
    pub fn inputs(&self) -> usize {
        self.capsules * self.in_dim
    }

    /// Values that leave the layer, and that one capsule's votes have.
    pub fn values(&self) -> usize {
        self.classes * self.dim
    }

    /// Dimensions of the weight.
    pub fn weight(&self) -> [usize; 3] {
        [self.capsules, self.in_dim, self.values()]
    }

    /// Values of the weight.
    pub fn weights(&self) -> usize {
        self.weight().iter().product()
    }

    /// Dimensions of the log priors.
    pub fn prior(&self) -> [usize; 2] {
        [self.capsules, self.classes]
    }
}
