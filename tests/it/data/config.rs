//! What `[data]` accepts.

use fastrcaps::learn::data::{DataConfig, DatasetName};
use proptest::prelude::*;

fn rejected(config: DataConfig) -> String {
    config.validate().unwrap_err().to_string()
}

#[test]
fn the_defaults_of_every_data_set_are_valid() {
    for name in DatasetName::all() {
        assert_eq!(DataConfig { name, ..DataConfig::default() }.validate(), Ok(()));
    }
}

#[test]
fn every_data_set_is_found_by_its_name_and_has_a_label_for_each_class() {
    for set in DatasetName::all() {
        assert_eq!(DatasetName::named(set.as_str()), Some(set));
        let written = serde_json::to_value(DataConfig { name: set, ..DataConfig::default() }).unwrap();
        assert_eq!(written["name"], set.as_str());
        assert_eq!(serde_json::from_value::<DataConfig>(written).unwrap().name, set);
        // A label is a byte.
        assert!((2..=256).contains(&set.classes()), "{set:?}");
        assert_eq!(set.class_name(set.classes()), set.classes().to_string());
    }
    assert_eq!(DatasetName::named("fashion-mnist").unwrap().class_name(9), "ankle boot");
    let error = serde_json::from_str::<DataConfig>("{\"name\":\"letters\"}").unwrap_err().to_string();
    assert!(error.contains("unknown variant `letters`, expected one of `glyphs`, `mnist`"), "{error}");
}

#[test]
fn a_bad_value_is_named_with_what_is_allowed() {
    let base = DataConfig::default;
    for fraction in [0.0, -0.1, 0.51, f64::NAN, f64::INFINITY] {
        let error = rejected(DataConfig { validation_fraction: fraction, ..base() });
        assert_eq!(
            error,
            format!("data.validation_fraction = {fraction} is not allowed; expected a share above 0 and at most 0.5")
        );
    }
    for samples in [0, 19, 1_000_001, usize::MAX] {
        let error = rejected(DataConfig { train_samples: Some(samples), ..base() });
        assert!(
            error.starts_with(&format!("data.train_samples = {samples} is not allowed; expected 20 to 1000000 images")),
            "{error}"
        );
    }
    for samples in [0, 9, 10_001] {
        let error =
            rejected(DataConfig { name: DatasetName::named("mnist").unwrap(), test_samples: Some(samples), ..base() });
        assert!(
            error.starts_with(&format!(
                "data.test_samples = {samples} is not allowed; expected 10 to 10000 images of mnist"
            )),
            "{error}"
        );
    }
    let error = rejected(DataConfig { train_samples: Some(50), ..base() });
    assert!(
        error.starts_with("data.validation_fraction = 0.1 is not allowed; expected at least 0.2 of 50 training images"),
        "{error}"
    );
    let error = rejected(DataConfig { shift: 14, ..base() });
    assert_eq!(error, "data.shift = 14 is not allowed; expected 0 to 13 pixels: less than half of the image");
}

#[test]
fn a_number_left_out_and_the_same_number_written_out_are_one_config() {
    let written = DataConfig { train_samples: Some(5000), test_samples: Some(1000), ..DataConfig::default() };
    assert_eq!(DataConfig::default().canonical(), written);
    assert_eq!(written.clone().canonical(), written);
    let mnist = DataConfig { name: DatasetName::named("mnist").unwrap(), ..DataConfig::default() };
    assert_eq!(mnist.clone().canonical().train_samples, Some(60_000));
    assert_eq!(mnist.clone().canonical().counts(), mnist.counts());
}

proptest! {
    #[test]
    fn a_valid_config_has_images_for_every_class_in_every_split(
        samples in 0_usize..3000, fraction in 0.0_f64..0.6, test in 0_usize..200
    ) {
        let config = DataConfig {
            train_samples: Some(samples),
            test_samples: Some(test),
            validation_fraction: fraction,
            ..DataConfig::default()
        };
        let counts = config.counts();
        prop_assert_eq!(counts.train + counts.validation, samples);
        if config.validate().is_ok() {
            prop_assert!(counts.train >= 10 && counts.validation >= 10 && counts.test >= 10);
        }
    }
}
