//! What a training step on a GPU takes at least, launch by launch: bytes and multiply-adds follow from the sizes alone, and a
//! device's published figures say what they take. Nothing here is measured, and no GPU is needed.
//!
//! The launches are those of [`crate::learn::kernels`] on CUDA, in the order of a step. Each operand counts as read once and each result as written
//! once by every launch, whatever a cache holds from one to the next.

use anyhow::{Result, bail};

use super::Bound;
use crate::learn::{
    config::TrialConfig,
    kernels::{Activation, UnfoldedConv2d},
    model::{
        config::{ModelConfig, Precision},
        layout::{CapsNetLayers, ClassCapsuleLayer, ClassLayer, DenseLayer, PrimaryLayer},
        pass::{Stage, Work},
        scope::{Frozen, Scope},
    },
    train::laps::Part,
};

/// What a device can do by its maker.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    pub name: &'static str,
    pub full_name: &'static str,
    /// Floating-point operations a second in f32, TF32 and bf16; dense, a multiply-add being two.
    flops: [f64; 3],
    /// Bytes a second from and to its memory.
    pub bandwidth: f64,
}

/// By NVIDIA's data sheets of these products.
pub const PUBLISHED: [Published; 3] = [
    Published { name: "h100", full_name: "H100 SXM", flops: [67e12, 494.5e12, 989e12], bandwidth: 3.35e12 },
    Published { name: "h200", full_name: "H200 SXM", flops: [67e12, 494.5e12, 989e12], bandwidth: 4.8e12 },
    Published { name: "a100", full_name: "A100 SXM 80 GB", flops: [19.5e12, 156e12, 312e12], bandwidth: 2.04e12 },
];

impl Published {
    pub fn flops(&self, precision: Precision) -> f64 {
        self.flops[precision as usize]
    }

    /// Seconds that a launch takes at least, and whether multiply-adds or bytes take them.
    pub fn least_seconds(&self, launch: &Launch) -> (f64, Bound) {
        let compute = 2.0 * launch.multiply_adds as f64 / self.flops(launch.precision);
        let memory = launch.bytes as f64 / self.bandwidth;
        (compute.max(memory), if compute > memory { Bound::Compute } else { Bound::Memory })
    }
}

/// A kernel of a step, or a product.
#[derive(Clone, Debug)]
pub struct Launch {
    pub part: Part,
    pub name: &'static str,
    /// How many there are of it, one after another; the figures are of all of them.
    pub count: usize,
    /// What the multiply-adds are computed in.
    pub precision: Precision,
    pub multiply_adds: u64,
    pub bytes: u64,
}

impl Launch {
    pub fn work(&self) -> Work {
        let Launch { multiply_adds, bytes, .. } = *self;
        Work { multiply_adds, direct_multiply_adds: multiply_adds, bytes }
    }
}

/// Every launch of a training step within `scope` on `batch` samples.
///
/// Errors: another network than a capsule network; sizes that no kernel takes; what a GPU cannot train.
pub fn launches(config: &TrialConfig, scope: Scope, batch: usize) -> Result<Vec<Launch>> {
    let ModelConfig::Capsnet(model) = &config.model else { bail!("launches are known of capsule networks alone") };
    config.check_for_gpu()?;
    let mut layers = model.layers(config.data.name.image_shape(), config.data.name.classes());
    let trained = layers.trained(scope);
    if let ClassLayer::Routed(classes) = &mut layers.classes {
        classes.iterations = scope.iterations.unwrap_or(classes.iterations);
    }
    layers.decoder = layers.decoder.filter(|_| !scope.skips_decoder);
    let mut list = List { launches: Vec::new(), precision: config.train.precision, batch };
    list.step(&layers, scope.frozen, trained)?;
    Ok(list.launches)
}

const F32: usize = size_of::<f32>();

struct List {
    launches: Vec<Launch>,
    precision: Precision,
    batch: usize,
}

impl List {
    fn step(&mut self, layers: &CapsNetLayers, frozen: Frozen, trained: usize) -> Result<()> {
        let batch = self.batch;
        let CapsNetLayers { conv1, primary, capsules, classes, decoder } = layers;
        let PrimaryLayer::Convolution(primary) = primary else { bail!("a dense primary layer has no launches") };
        let ClassLayer::Routed(classes) = classes else { bail!("homogeneous class capsules have no launches") };
        let (pixels, squashed) = (batch * layers.pixels(), batch * capsules.values());
        let (conv1, primary) = (conv1.unfolded()?, primary.unfolded()?);

        // Where Conv1 reads it and where the reconstruction does.
        self.moves(Part::Batch, "batch_gather", pixels + 2 * pixels * F32);
        self.convolution(Part::Pass(Stage::Conv1), &conv1);
        self.convolution(Part::Pass(Stage::PrimaryCapsules), &primary);
        self.moves(Part::Pass(Stage::PrimaryCapsules), "squash_forward", 2 * squashed * F32);
        self.class_capsules(classes);
        let masked = batch * decoder.map_or(0, |decoder| decoder.mask.values());
        self.moves(Part::Pass(Stage::ClassCapsules), "loss_margin", (2 * batch * classes.values() + masked) * F32);
        if let Some(decoder) = decoder {
            for layer in &decoder.dense {
                self.linear(layer);
            }
            self.moves(Part::Pass(Stage::Loss), "loss_reconstruction", 3 * pixels * F32);
            for layer in decoder.dense.iter().rev() {
                self.linear_backward(layer);
            }
            let part = Part::Pass(Stage::DecoderBackward);
            self.moves(part, "loss_unmask", 3 * batch * decoder.mask.dim * F32);
        }
        self.class_capsules_backward(classes);
        if frozen < Frozen::Primary {
            let part = Part::Pass(Stage::PrimaryCapsulesBackward);
            self.moves(part, "squash_backward", 3 * squashed * F32);
            self.convolution_backward(part, &primary, false, frozen.is_nothing());
        }
        if frozen.is_nothing() {
            self.convolution_backward(Part::Pass(Stage::Conv1Backward), &conv1, true, false);
        }
        self.moves(Part::Optimizer, "loss_end_of_step", 2 * batch * F32);
        // Values and both moments are read and written, gradients read.
        self.moves(Part::Optimizer, "adam_step", 7 * trained * F32);
        Ok(())
    }

    /// A kernel whose multiply-adds are not worth counting.
    fn moves(&mut self, part: Part, name: &'static str, bytes: usize) {
        self.add(part, name, 1, Precision::F32, 0, bytes);
    }

    fn add(
        &mut self,
        part: Part,
        name: &'static str,
        count: usize,
        precision: Precision,
        multiply_adds: usize,
        bytes: usize,
    ) {
        let (multiply_adds, bytes) = (multiply_adds as u64, bytes as u64);
        self.launches.push(Launch { part, name, count, precision, multiply_adds, bytes });
    }

    /// Bytes of a factor of a convolution's products.
    fn factor(&self) -> usize {
        if self.precision == Precision::Bf16 { size_of::<u16>() } else { F32 }
    }

    /// Unfolded values that the products of phase `p` read.
    fn seen(&self, of: &UnfoldedConv2d, p: usize) -> usize {
        (of.out[0] + of.rows_of_phase(p) - 1) * of.out[1] * self.batch * of.columns()
    }

    fn convolution(&mut self, part: Part, of: &UnfoldedConv2d) {
        let (batch, factor, positions) = (self.batch, self.factor(), of.positions(self.batch));
        let x = batch * of.in_channels * of.height * of.width;
        self.moves(part, "unfolded_unfold", x * F32 + of.values(batch) * factor);
        if self.precision == Precision::Bf16 {
            self.moves(part, "unfolded_convert", of.weights() * (F32 + factor));
        }
        let unfolded: usize = (0..of.phases()).map(|p| self.seen(of, p)).sum();
        let out = of.products() * positions * of.filters;
        let bytes = (unfolded + of.weights()) * factor + out * F32;
        let multiply_adds = positions * of.weights();
        self.add(part, "product: outputs", of.phases(), self.precision, multiply_adds, bytes);
        self.moves(part, "linear_finish", (out + positions * of.channels + of.channels) * F32);
    }

    fn convolution_backward(&mut self, part: Part, of: &UnfoldedConv2d, is_rectified: bool, needs_image: bool) {
        let (batch, factor, positions) = (self.batch, self.factor(), of.positions(self.batch));
        let (y, dz) = (positions * of.channels, positions * of.filters);
        // dy is read; with a rectifier so is y, and what it leaves is written, as is a copy in bf16.
        let left = match (is_rectified, self.precision) {
            (_, Precision::Bf16) if !of.is_shared() => y * factor,
            (true, _) => y * F32,
            (false, _) => 0,
        };
        self.add(part, "sums", 2, Precision::F32, 0, y * F32 * (1 + usize::from(is_rectified)) + left);
        if of.is_shared() {
            self.moves(part, "unfolded_shared_gradient", y * F32 + dz * factor);
        }
        let unfolded: usize = (0..of.phases()).map(|p| self.seen(of, p)).sum();
        let bytes = (unfolded + of.phases() * dz) * factor + of.weights() * F32;
        let multiply_adds = positions * of.weights();
        self.add(part, "product: weight gradient", of.phases(), self.precision, multiply_adds, bytes);
        if !needs_image {
            return;
        }
        let (values, written) = (of.values(batch), of.phases() * positions * of.columns());
        self.moves(part, "unfolded_clear", (values - written.min(values)) * F32);
        let rounds = of.products().div_ceil(of.stride);
        // All rounds but the first add to what is there.
        let out = positions * of.columns();
        let sums = of.products() * out + (of.products() - of.phases()) * out;
        let bytes = (rounds * dz + of.weights()) * factor + sums * F32;
        self.add(part, "product: image gradient", rounds, self.precision, multiply_adds, bytes);
        let x = batch * of.in_channels * of.height * of.width;
        self.moves(part, "unfolded_fold", (values + x) * F32);
    }

    /// A decoder's products are in TF32 where a convolution's are in bf16.
    fn linear_precision(&self) -> Precision {
        if self.precision == Precision::F32 { Precision::F32 } else { Precision::Tf32 }
    }

    fn linear(&mut self, &DenseLayer { inputs, outputs, .. }: &DenseLayer) {
        let (part, batch) = (Part::Pass(Stage::Decoder), self.batch);
        let bytes = (batch * (inputs + outputs) + inputs * outputs) * F32;
        self.add(part, "product: layer", 1, self.linear_precision(), batch * inputs * outputs, bytes);
        self.moves(part, "linear_finish", (2 * batch * outputs + outputs) * F32);
    }

    fn linear_backward(&mut self, &DenseLayer { inputs, outputs, activation, .. }: &DenseLayer) {
        let (part, batch) = (Part::Pass(Stage::DecoderBackward), self.batch);
        let moved = if activation == Activation::Relu { 3 } else { 1 };
        self.moves(part, "sums", batch * outputs * F32 * moved);
        let bytes = 2 * (batch * (inputs + outputs) + inputs * outputs) * F32;
        self.add(part, "product: layer gradients", 2, self.linear_precision(), 2 * batch * inputs * outputs, bytes);
    }

    fn class_capsules(&mut self, of: &ClassCapsuleLayer) {
        let (part, batch) = (Part::Pass(Stage::ClassCapsules), self.batch);
        let (later, votes, row) = (of.iterations - 1, batch * of.votes(), batch * of.values());
        let (operands, sums) = (of.weights() + batch * of.inputs(), sums(of, batch));
        self.add(part, "class_capsules_first", 1, Precision::F32, votes * of.in_dim, (operands + sums) * F32);
        if later > 0 {
            let bytes = later * (operands + row + couplings(of, batch) + sums) * F32;
            let multiply_adds = later * votes * (of.in_dim + 2);
            self.add(part, "class_capsules_sweep", later, Precision::F32, multiply_adds, bytes);
        }
        let bytes = of.iterations * (sums + 3 * row) * F32;
        self.add(part, "class_capsules_finish", of.iterations, Precision::F32, 0, bytes);
    }

    fn class_capsules_backward(&mut self, of: &ClassCapsuleLayer) {
        let (part, batch) = (Part::Pass(Stage::ClassCapsulesBackward), self.batch);
        let (later, votes, row) = (of.iterations - 1, batch * of.votes(), batch * of.values());
        let (u, sums, couplings) = (batch * of.inputs(), sums(of, batch), couplings(of, batch));
        let operands = of.weights() + u;
        let bytes = of.iterations * 4 * row * F32 + later * sums * F32;
        self.add(part, "class_capsules_finish_back", of.iterations, Precision::F32, 0, bytes);
        if later > 0 {
            let bytes = later * (operands + row + 2 * couplings + sums) * F32;
            let multiply_adds = later * votes * (of.in_dim + 3);
            self.add(part, "class_capsules_back", later, Precision::F32, multiply_adds, bytes);
        }
        let of_iterations = 2 * of.iterations - 1;
        let read = operands + of_iterations * row + 2 * later * couplings;
        let alone = of.inputs() * of.values();
        let bytes = (read + u + alone) * F32;
        let multiply_adds = votes * (2 * of.in_dim + of_iterations);
        self.add(part, "class_capsules_gradient", 1, Precision::F32, multiply_adds, bytes);
        if alone != of.weights() {
            self.moves(part, "class_capsules_share", (alone + of.weights()) * F32);
        }
        self.moves(part, "class_capsules_bias", of.iterations * row * F32);
    }
}

fn couplings(of: &ClassCapsuleLayer, batch: usize) -> usize {
    batch * of.capsules * of.classes
}

/// What blocks hand on: a row for each sample of each chunk of capsules, as the launcher of these kernels cuts them.
fn sums(of: &ClassCapsuleLayer, batch: usize) -> usize {
    let chunk = if batch <= 64 { 8 } else { 16 };
    of.capsules.div_ceil(chunk.max(of.capsules.div_ceil(144))) * batch * of.values()
}
