//! Networks take height, width, channels and number of classes from the data set, whatever they are.

use candle_core::Device;
use fastrcaps::learn::{
    config::TrialConfig,
    data::{Dataset, ImageShape, Images},
    train::Trainer,
};

const IMAGES: usize = 30;

fn data(shape: ImageShape, classes: usize) -> Dataset {
    let images = || Images {
        pixels: (0..IMAGES * shape.pixels()).map(|at| (at * 97 % 251) as u8).collect(),
        labels: (0..IMAGES).map(|at| (at % classes) as u8).collect(),
    };
    Dataset { shape, classes, train: images(), validation: images(), test: images(), fingerprint: String::new() }
}

#[test]
fn networks_train_on_images_of_any_shape_in_any_number_of_classes() {
    let indices: Vec<u32> = (0..IMAGES as u32).collect();
    let shape = |channels, height, width| ImageShape { channels, height, width };
    for (shape, classes) in [(shape(1, 28, 28), 2), (shape(2, 17, 30), 7), (shape(3, 40, 20), 26)] {
        let data = data(shape, classes);
        for kind in ["kind = 'lenet5'", "preset = 'tiny'"] {
            let config = TrialConfig::resolve(toml::from_str(&format!("model = {{ {kind} }}")).unwrap()).unwrap();
            config.model.validate(shape, classes).unwrap();
            let mut trainer = Trainer::new(&config, &data, &Device::Cpu).unwrap();
            let what = format!("{kind}, {shape:?}, {classes} classes");
            assert_eq!(trainer.parameters.count(), config.model.parameters(shape, classes), "{what}");
            let losses: Vec<f64> = (0..20).map(|_| trainer.step(&data, &indices, 0, 1e-3).unwrap().loss).collect();
            assert!(losses[19] < losses[0], "{what}: {losses:?}");
            if kind.contains("lenet5") {
                // Cross-entropy of a network that knows nothing yet.
                assert!((losses[0] - (classes as f64).ln()).abs() < 0.3, "{what}: {losses:?}");
            }
        }
    }
}

#[test]
fn the_limits_of_a_network_count_with_the_classes_there_are() {
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let config = TrialConfig::resolve(toml::from_str("model = { preset = 'paper' }").unwrap()).unwrap();
    config.model.validate(shape, 200).unwrap();
    let error = config.model.validate(shape, 256).unwrap_err();
    assert_eq!(error.path, "model.primary_types");
}
