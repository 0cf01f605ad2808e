//! The layers of a CapsNet that can be chosen: what is refused beside them, how they are spelled, and where they train.

use fastrcaps::learn::{
    config::{ConfigError, TrialConfig},
    model::config::{CapsNetConfig, ModelConfig, Primary},
};
use toml::Value;

use crate::facts::Facts;

fn read(model: &str) -> Result<TrialConfig, ConfigError> {
    TrialConfig::resolve(format!("model = {{ {model} }}\n").parse().unwrap())
}

fn resolve(model: &str) -> TrialConfig {
    read(model).unwrap_or_else(|error| panic!("{model}: {error}"))
}

fn capsnet(config: &TrialConfig) -> &CapsNetConfig {
    let ModelConfig::Capsnet(model) = &config.model else { panic!("{:?} is no CapsNet", config.model) };
    model
}

#[test]
fn choices_that_a_layer_has_not_are_refused_by_name() {
    for (model, path, names) in [
        ("primary = 'dense', primary_types = 8", "model.primary_types", "dense"),
        ("primary = 'dense', primary_kernel = 5", "model.primary_kernel", "dense"),
        ("primary = 'dense', primary_stride = 2", "model.primary_stride", "dense"),
        ("primary = 'dense', primary_sharing = 1", "model.primary_sharing", "dense"),
        ("primary = 'dense', class_sharing = 'by-type'", "model.class_sharing", "dense"),
        ("primary = 'dense', primary_capsules = 0", "model.primary_capsules", "1024"),
        ("primary = 'dense', primary_dim = 0", "model.primary_dim", "256"),
        ("primary = 'dense', primary_capsules = 1024, primary_dim = 256, class_dim = 256", "model", "parameters"),
        ("primary_capsules = 8", "model.primary_capsules", "convolution"),
        ("primary = 'convolution', primary_capsules = 8", "model.primary_capsules", "convolution"),
        ("primary_kernel = 0", "model.primary_kernel", "10"),
        ("primary = 'pooling'", "model.primary", "dense"),
        ("kind = 'efficient-capsnet', primary = 'dense'", "model.primary", "decoder"),
    ] {
        let error = read(model).expect_err(model);
        assert_eq!(error.path(), path, "{model}: {error}");
        error.to_string().names([names]);
    }
}

#[test]
fn a_configuration_of_chosen_layers_has_one_spelling_that_is_read_again() {
    let of_preset = |name: &str, extra: &str| resolve(&format!("preset = '{name}'{extra}"));
    for (name, extra, same) in [
        ("small", ", primary = 'dense'", ", primary = 'dense', primary_capsules = 8"),
        ("tiny", ", primary = 'convolution'", ""),
        ("paper", ", primary = 'dense', primary_dim = 4", ", primary = 'dense', primary_dim = 4, primary_kernel = 0"),
    ] {
        let config = of_preset(name, extra);
        assert_eq!(config.key(""), of_preset(name, same).key(""), "{name}{extra}");
        assert_eq!(resolve_again(&config), config, "{name}{extra}");
    }
    let dense = of_preset("small", ", primary = 'dense'");
    assert_eq!((capsnet(&dense).primary, capsnet(&dense).primary_capsules), (Primary::Dense, 8));
    let keys = ["", ", primary = 'dense'", ", primary = 'dense', primary_capsules = 9"];
    let keys: std::collections::BTreeSet<String> = keys.map(|extra| of_preset("small", extra).key("")).into();
    assert_eq!(keys.len(), 3);
}

fn resolve_again(config: &TrialConfig) -> TrialConfig {
    TrialConfig::resolve(config.to_toml().parse().unwrap()).unwrap()
}

#[test]
fn a_default_layer_is_shown_and_not_written() {
    let plain = resolve("preset = 'tiny'");
    let written = serde_json::to_string(&plain).unwrap();
    for field in ["\"primary\"", "primary_capsules"] {
        assert!(!written.contains(field), "{field} in {written}");
    }
    assert_eq!(plain.to_table()["model"]["primary"], Value::from("convolution"));
    // A network has no sizes of a layer that it has not.
    let dense = serde_json::to_string(&resolve("primary = 'dense'")).unwrap();
    for field in ["primary_types", "primary_kernel", "primary_stride", "primary_sharing"] {
        assert!(!dense.contains(field), "{field} in {dense}");
    }
}

#[test]
fn chosen_layers_train_on_cpu_cores_alone() {
    for (model, path) in [("primary = 'dense'", "model.primary")] {
        let config = resolve(model);
        config.check_for_cpu().unwrap();
        let error = config.check_for_gpu().unwrap_err();
        assert_eq!(error.path, path);
        error.allowed.names(["CPU"]);
    }
    resolve("preset = 'tiny'").check_for_gpu().unwrap();
}
