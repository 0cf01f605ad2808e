//! LeNet-5 on a device: see [`crate::learn::model::lenet`].

use candle_core::Result;

use super::{Core, Ended, Layers, Place, Purpose, Variables, convolution};
use crate::learn::{
    kernels::cuda::{
        Buffer, Gpu, Input, Output,
        adam::Flat,
        conv2d::Conv2d,
        linear::{OutputGradient, linear_backward, linear_forward},
        max_pool::Images,
        permute::permute_4d,
    },
    model::{
        config::Precision,
        layout::{ConvolutionLayer, DenseLayer, MaxPoolLayer},
        lenet::LeNetLayers,
        scope::{Frozen, Scope},
    },
};

/// A convolution with its ReLU, and the pooling behind it.
struct Convolution {
    layer: Variables,
    conv: Conv2d,
    pool: MaxPoolLayer,
    /// `[height][width][batch][channels]`, and the same pooled; their gradients.
    map: Buffer<f32>,
    pooled: Buffer<f32>,
    dmap: Buffer<f32>,
    dpooled: Buffer<f32>,
}

/// The layers of a LeNet-5 and what is between them.
pub(super) struct LeNet {
    convolutions: [Convolution; 2],
    connected: [(Variables, DenseLayer); 3],
    /// Names of the convolutions.
    names: [&'static str; 2],
    /// What enters each fully connected layer, and the logits: `[batch][width]`; their gradients.
    values: [Buffer<f32>; 4],
    gradients: [Buffer<f32>; 4],
    precision: Precision,
}

impl LeNet {
    pub(super) fn new(
        gpu: &Gpu,
        layers: &LeNetLayers,
        places: &[Place],
        precision: Precision,
        most: usize,
    ) -> Result<Self> {
        let [first, second] = &layers.convolutions;
        let of = |(layer, pool): &(ConvolutionLayer, MaxPoolLayer), needs_input_gradient| {
            let (map, pooled) = (most * layer.values(), most * pool.map().iter().product::<usize>());
            Ok::<_, candle_core::Error>(Convolution {
                layer: Variables::find(places, layer.name)?,
                conv: convolution(gpu, layer, precision, needs_input_gradient, most)?,
                pool: *pool,
                map: gpu.zeros(map)?,
                pooled: gpu.zeros(pooled)?,
                dmap: gpu.zeros(map)?,
                dpooled: gpu.zeros(pooled)?,
            })
        };
        let connected = |layer: DenseLayer| Ok::<_, candle_core::Error>((Variables::find(places, layer.name)?, layer));
        let [fc1, fc2, fc3] = layers.dense;
        let values = || {
            let widths = [fc1.inputs, fc2.inputs, fc3.inputs, fc3.outputs];
            let [features, first, second, logits] = widths.map(|width| gpu.zeros(most * width));
            Ok::<_, candle_core::Error>([features?, first?, second?, logits?])
        };
        Ok(LeNet {
            convolutions: [of(first, false)?, of(second, true)?],
            names: [first.0.name, second.0.name],
            connected: [connected(fc1)?, connected(fc2)?, connected(fc3)?],
            values: values()?,
            gradients: values()?,
            precision,
        })
    }

    /// Dimensions of what the last pooling gives: height, width, batch, channels.
    fn pooled(&self, batch: usize) -> [usize; 4] {
        let [channels, height, width] = self.convolutions[1].pool.map();
        [height, width, batch, channels]
    }
}

impl Convolution {
    /// The map as pooling sees it: pixels apart by all channels of all samples.
    fn images(&self, batch: usize) -> Images {
        let [channels, height, width] = self.pool.image;
        Images { planes: 1, height, width, inner: batch * channels }
    }

    fn forward(&self, gpu: &Gpu, flat: &Flat, batch: usize, x: Input<f32>) -> Result<()> {
        let (weight, bias) = self.layer.values(flat);
        self.conv.forward(gpu, batch, x, weight, bias, self.map.output())?;
        self.images(batch).max_pool_forward(gpu, self.map.input(), self.pooled.output())
    }

    /// From the gradient by what was pooled.
    fn backward(&self, gpu: &Gpu, flat: &Flat, batch: usize, dx: Option<Output<f32>>) -> Result<()> {
        let ((weight, _), (dweight, dbias)) = (self.layer.values(flat), self.layer.gradients(flat));
        let (map, dmap) = (self.map.input(), self.dmap.output());
        self.images(batch).max_pool_backward(gpu, map, self.dpooled.input(), dmap)?;
        self.conv.backward(gpu, batch, weight, map, dmap, dx, dweight, dbias)
    }
}

impl Layers for LeNet {
    fn forward(&self, core: &Core, batch: usize, purpose: Purpose, _ended: Ended) -> Result<()> {
        let Core { gpu, flat, images, losses } = core;
        let [first, second] = &self.convolutions;
        first.forward(gpu, flat, batch, images.map.input())?;
        second.forward(gpu, flat, batch, first.pooled.input())?;
        permute_4d(gpu, self.pooled(batch), [2, 3, 0, 1], second.pooled.input(), self.values[0].output())?;
        for (index, (layer, size)) in self.connected.iter().enumerate() {
            let (weight, bias) = layer.values(flat);
            let DenseLayer { inputs, outputs, activation, .. } = *size;
            let (x, y) = (self.values[index].input(), self.values[index + 1].output());
            linear_forward(gpu, self.precision, batch, inputs, outputs, x, weight, bias, activation, y)?;
        }
        let is_trained = matches!(purpose, Purpose::Training(_));
        losses.cross_entropy(gpu, batch, self.values[3].output(), &images.labels, is_trained)
    }

    fn backward(&self, core: &Core, batch: usize, scope: Scope, _ended: Ended) -> Result<()> {
        let Core { gpu, flat, .. } = core;
        for (index, (layer, size)) in self.connected.iter().enumerate().rev() {
            let ((weight, _), (dweight, dbias)) = (layer.values(flat), layer.gradients(flat));
            let DenseLayer { inputs, outputs, activation, .. } = *size;
            let (x, y) = (self.values[index].input(), &self.values[index + 1]);
            // The logits have become their gradient.
            let dy = if index == 2 { y } else { &self.gradients[index + 1] };
            linear_backward(
                gpu,
                self.precision,
                batch,
                inputs,
                outputs,
                x,
                weight,
                OutputGradient::new(activation, y.input(), dy.output()),
                Some(self.gradients[index].output()),
                dweight,
                dbias,
            )?;
        }
        if scope.frozen == Frozen::Primary {
            return Ok(());
        }
        let [first, second] = &self.convolutions;
        let [height, width, batch, channels] = self.pooled(batch);
        let dims = [batch, channels, height, width];
        permute_4d(gpu, dims, [2, 3, 0, 1], self.gradients[0].input(), second.dpooled.output())?;
        if scope.frozen == Frozen::Conv1 {
            return second.backward(gpu, flat, batch, None);
        }
        second.backward(gpu, flat, batch, Some(first.dpooled.output()))?;
        first.backward(gpu, flat, batch, None)
    }

    fn untrained(&self, scope: Scope) -> Vec<&'static str> {
        self.names.into_iter().take(scope.frozen.layers()).collect()
    }
}
