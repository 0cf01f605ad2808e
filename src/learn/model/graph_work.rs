//! How much work a training step through candle's graph is, counted from the layers of the network, whichever they are.

use candle_core::Result;

use super::{
    layout::Layer,
    pass::{Work, convolution_work},
    scope::Scope,
};

/// Multiply-adds of a layer's output and of the gradients by its input and by its weight; the last are those of one of these by
/// definition.
struct Products {
    output: u64,
    input: u64,
    weight: u64,
    direct: u64,
}

impl Products {
    /// A layer whose three products are alike.
    fn alike(count: usize) -> Products {
        let count = count as u64;
        Products { output: count, input: count, weight: count, direct: count }
    }

    fn of(layer: &Layer, batch: usize) -> Result<Products> {
        Ok(match layer {
            Layer::Convolution(layer) => {
                let ([output, input, weight], direct) = convolution_work::<f32>(layer, batch)?;
                Products { output, input, weight, direct }
            }
            layer => Products::alike(batch * layer.multiply_adds()),
        })
    }
}

/// The work of both passes of a step within `scope` on `batch` samples (at least 1), the loss and the optimizer aside. Each operand
/// of a layer is read once a pass and each result written once.
///
/// Errors: sizes that do not fit.
pub fn work(layers: &[Layer], scope: Scope, batch: usize) -> Result<Work> {
    let mut all = Work::default();
    let (mut frozen, mut has_gradient_below) = (scope.frozen.layers(), false);
    for layer in computed(layers, scope) {
        let Products { output, input, weight, direct } = Products::of(layer, batch)?;
        let (entering, leaving) = (batch * layer.inputs(), batch * layer.values());
        let mut add = |multiply_adds: u64, passes: u64, values: usize| {
            let bytes = (values * size_of::<f32>()) as u64;
            all = all + Work { multiply_adds, direct_multiply_adds: passes * direct, bytes };
        };
        add(output, 1, entering + layer.parameters() + leaving);
        let has_weight = layer.parameters() > 0;
        if frozen > 0 {
            frozen -= usize::from(has_weight);
            continue;
        }
        if has_weight {
            add(weight, 1, 0);
        }
        if has_gradient_below {
            add(input, 1, entering + layer.parameters());
        }
        has_gradient_below |= has_weight;
        if has_gradient_below {
            add(0, 0, entering + leaving);
        }
    }
    Ok(all)
}

/// The layers that a step within `scope` computes.
pub(crate) fn computed(layers: &[Layer], scope: Scope) -> impl Iterator<Item = &Layer> {
    layers.iter().take_while(move |layer| !(scope.skips_decoder && matches!(layer, Layer::Mask(_))))
}

/// Names of the layers that a step within `scope` does not train.
pub fn untrained(layers: &[Layer], scope: Scope) -> Vec<&'static str> {
    // Of those that can be frozen and those of a decoder.
    let name = |layer: &Layer| match layer {
        Layer::Convolution(layer) => Some(layer.name),
        Layer::Dense(layer) => Some(layer.name),
        _ => None,
    };
    let skipped = layers[computed(layers, scope).count()..].iter().filter_map(name);
    layers.iter().filter_map(name).take(scope.frozen.layers()).chain(skipped).collect()
}
