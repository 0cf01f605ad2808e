//! The decoder's part of a pass.

use candle_core::Result;

use super::{Gradients, Samples, Stage, Variables};
use crate::learn::{
    kernels::{Dense, DenseOfChosen, Real, loss, relu_backward, relu_forward},
    model::{
        layout::{DecoderLayers, DenseLayer},
        parameters::Parameters,
    },
};

/// The decoder of a network, with what its passes leave behind.
pub(super) struct Decoder<T: Real> {
    first: DenseOfChosen,
    second: Dense<T>,
    last: Dense<T>,
    layers: [Variables<T>; 3],
    pub(super) values: Decoded<T>,
    pub(super) gradients: Decoded<T>,
    pub(super) reconstruction_weight: f64,
}

/// What leaves the decoder's layers, or its gradient.
pub(super) struct Decoded<T: Real> {
    hidden: [Samples<T>; 2],
    pub(super) image: Samples<T>,
}

impl<T: Real> Decoded<T> {
    pub(super) fn set_batch(&mut self, batch: usize) {
        let [first, second] = &mut self.hidden;
        [first, second, &mut self.image].into_iter().for_each(|values| values.set_batch(batch));
    }
}

impl<T: Real> Decoder<T> {
    pub(super) fn new(layers: &DecoderLayers, parameters: &Parameters) -> Result<Self> {
        let [first, second, last] = &layers.dense;
        let values = || Decoded {
            hidden: [first, second].map(|layer| Samples::of(layer.outputs)),
            image: Samples::of(last.outputs),
        };
        let variables = |layer: &DenseLayer| Variables::new(parameters, layer.name, &layer.weight());
        Ok(Decoder {
            first: layers.first(),
            second: Dense::new(second.inputs, second.outputs),
            last: Dense::new(last.inputs, last.outputs),
            layers: [variables(first)?, variables(second)?, variables(last)?],
            values: values(),
            gradients: values(),
            reconstruction_weight: layers.mask.reconstruction_weight,
        })
    }

    pub(super) fn forward(&mut self, classes: &[T], chosen: &[u32]) -> Result<()> {
        let Decoder { first, second, last, values, layers, .. } = self;
        let Decoded { hidden: [a, b], image } = values;
        layers[0].with(|weight, bias| first.forward(classes, chosen, weight, bias, a))?;
        relu_forward(a);
        layers[1].with(|weight, bias| second.forward(a, weight, bias, b))?;
        relu_forward(b);
        layers[2].with(|weight, bias| last.forward(b, weight, bias, image))?;
        loss::sigmoid(image);
        Ok(())
    }

    /// Writes the reconstruction's gradient by the class capsules.
    pub(super) fn backward(
        &mut self,
        images: &[T],
        classes: &[T],
        chosen: &[u32],
        dclasses: &mut [T],
        dweight: &mut [T],
        gradients: &mut dyn Gradients<T>,
    ) -> Result<()> {
        let Decoder { first, second, last, values, layers: [layer0, layer1, layer2], .. } = self;
        let Decoded { hidden: [a, b], image } = values;
        let Decoded { hidden: [da, db], image: dimage } = &mut self.gradients;
        loss::reconstruction_backward(image, images, chosen.len(), self.reconstruction_weight, dimage);
        gradients.ended(Stage::Loss);
        layer2.gradients(gradients, |weight, _, dbias| {
            let dweight = &mut dweight[..last.weights()];
            last.input_gradient(weight.values(), dimage, db);
            last.weight_gradient(b, dimage, dweight, dbias);
            weight.whole(dweight);
        })?;
        relu_backward(b, db);
        layer1.gradients(gradients, |weight, _, dbias| {
            let dweight = &mut dweight[..second.weights()];
            second.input_gradient(weight.values(), db, da);
            second.weight_gradient(a, db, dweight, dbias);
            weight.whole(dweight);
        })?;
        relu_backward(a, da);
        layer0.gradients(gradients, |weight, _, dbias| {
            let dweight = &mut dweight[..first.inputs() * first.outputs];
            first.input_gradient(chosen, weight.values(), da, dclasses);
            first.weight_gradient(classes, chosen, da, dweight, dbias);
            weight.whole(dweight);
        })?;
        gradients.ended(Stage::DecoderBackward);
        Ok(())
    }
}
