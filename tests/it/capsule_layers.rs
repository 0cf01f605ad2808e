//! The layers of a CapsNet that can be chosen: what is refused beside them, how they are spelled, and where they train.

use candle_core::{Result, Tensor};
use fastrcaps::learn::{
    config::{ConfigError, TrialConfig},
    kernels::{HomogeneousPlan, Squash, reference},
    model::config::{CapsNetConfig, ModelConfig, Primary},
};
use toml::Value;

use crate::{
    facts::Facts,
    tensors::{assert_close, values, var},
};

fn read(model: &str) -> std::result::Result<TrialConfig, ConfigError> {
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
        ("class_capsules = 'homogeneous', class_dim = 16", "model.class_dim", "homogeneous"),
        ("class_capsules = 'homogeneous', routing_iterations = 1", "model.routing_iterations", "homogeneous"),
        ("class_capsules = 'grown'", "model.class_capsules", "routed"),
        ("routing_iterations = 0", "model.routing_iterations", "10"),
        ("kind = 'efficient-capsnet', class_capsules = 'homogeneous'", "model.class_capsules", "decoder"),
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
        ("tiny", ", class_capsules = 'routed'", ""),
        (
            "small",
            ", class_capsules = 'homogeneous', class_sharing = 'by-type'",
            ", class_capsules = 'homogeneous', class_sharing = 'by-type', class_dim = 0",
        ),
        ("paper", ", primary = 'dense', primary_dim = 4", ", primary = 'dense', primary_dim = 4, primary_kernel = 0"),
    ] {
        let config = of_preset(name, extra);
        assert_eq!(config.key(""), of_preset(name, same).key(""), "{name}{extra}");
        assert_eq!(resolve_again(&config), config, "{name}{extra}");
    }
    let dense = of_preset("small", ", primary = 'dense'");
    assert_eq!((capsnet(&dense).primary, capsnet(&dense).primary_capsules), (Primary::Dense, 8));
    let keys = [
        "",
        ", primary = 'dense'",
        ", primary = 'dense', primary_capsules = 9",
        ", class_capsules = 'homogeneous'",
        ", class_capsules = 'homogeneous', primary = 'dense'",
    ];
    let keys: std::collections::BTreeSet<String> = keys.map(|extra| of_preset("small", extra).key("")).into();
    assert_eq!(keys.len(), 5);
}

fn resolve_again(config: &TrialConfig) -> TrialConfig {
    TrialConfig::resolve(config.to_toml().parse().unwrap()).unwrap()
}

#[test]
fn a_default_layer_is_shown_and_not_written() {
    let plain = resolve("preset = 'tiny'");
    let written = serde_json::to_string(&plain).unwrap();
    for field in ["\"primary\"", "primary_capsules", "class_capsules"] {
        assert!(!written.contains(field), "{field} in {written}");
    }
    assert_eq!(plain.to_table()["model"]["primary"], Value::from("convolution"));
    assert_eq!(plain.to_table()["model"]["class_capsules"], Value::from("routed"));
    // A network has no sizes of a layer that it has not.
    let dense = serde_json::to_string(&resolve("primary = 'dense'")).unwrap();
    for field in ["primary_types", "primary_kernel", "primary_stride", "primary_sharing"] {
        assert!(!dense.contains(field), "{field} in {dense}");
    }
    let homogeneous = resolve("class_capsules = 'homogeneous'");
    let written = homogeneous.to_toml();
    for field in ["class_dim", "routing"] {
        assert!(!written.contains(field), "{field} in {written}");
    }
}

#[test]
fn chosen_layers_train_on_cpu_cores_alone() {
    for (model, path) in
        [("primary = 'dense'", "model.primary"), ("class_capsules = 'homogeneous'", "model.class_capsules")]
    {
        let config = resolve(model);
        config.check_for_cpu().unwrap();
        let error = config.check_for_gpu().unwrap_err();
        assert_eq!(error.path, path);
        error.allowed.names(["CPU"]);
    }
    resolve("preset = 'tiny'").check_for_gpu().unwrap();
}

#[test]
fn homogeneous_class_capsules_are_not_routed_by_a_schedule() {
    let with = |policy: &str| {
        let text = format!(
            "model = {{ class_capsules = 'homogeneous' }}\nschedule = {{ routing = {{ policy = '{policy}' }} }}\n"
        );
        TrialConfig::resolve(text.parse().unwrap())
    };
    assert_eq!(with("model").unwrap(), resolve("class_capsules = 'homogeneous'"));
    let error = with("phases").unwrap_err();
    assert_eq!(error.path(), "schedule.routing.policy");
    error.to_string().names(["homogeneous"]);
}

/// Forward pass and gradients of a plan are those of plain tensor code, after another batch.
fn assert_is_the_reference(
    [batch, capsules, dim]: [usize; 3],
    classes: usize,
    vectors: usize,
    kind: Squash,
) -> Result<()> {
    let u = var("u", &[batch, capsules, dim]);
    let weight = var("weight", &[classes, vectors, dim]);
    let bias = var("bias", &[classes, dim]);
    let v = reference::homogeneous_capsules(&u, &weight, &bias, kind)?;
    let dv = var("dv", v.dims());
    let gradients = (&v * dv.as_tensor())?.sum_all()?.backward()?;
    let of = |tensor: &Tensor| values(tensor);
    let (u_values, w, b) = (of(&u), of(&weight), of(&bias));
    let mut plan = HomogeneousPlan::<f64>::new(capsules, [classes, vectors, dim], kind)?;
    let twice = [&u_values[..], &u_values[..]].concat();
    plan.forward(&twice, &w, &b, &mut vec![0.; 2 * batch * classes * dim]);
    let mut got = vec![0.; batch * classes * dim];
    plan.forward(&u_values, &w, &b, &mut got);
    let what = format!("{batch}×{capsules}×{dim} to {classes} by {vectors}");
    assert_close(&what, &got, &of(&v), 1e-11);
    let [mut du, mut dw, mut db] = [&u_values, &w, &b].map(|of| vec![f64::NAN; of.len()]);
    plan.backward(&u_values, &w, &of(&dv), &mut du, &mut dw, &mut db);
    for (name, operand, got) in [("u", &u, du), ("weight", &weight, dw), ("bias", &bias, db)] {
        assert_close(&format!("{what}: {name}"), &got, &of(gradients.get(operand).unwrap()), 1e-11);
    }
    Ok(())
}

#[test]
fn homogeneous_class_capsules_are_those_of_plain_tensor_code_in_any_shape() {
    for (shape, classes, vectors) in [
        ([1, 1, 1], 1, 1),
        ([3, 70, 1], 2, 70),
        ([2, 21, 3], 10, 7),
        ([5, 40, 8], 3, 40),
        ([2, 36, 8], 10, 4),
        ([2, 9, 17], 4, 9),
        ([3, 5, 63], 2, 5),
        ([3, 6, 64], 2, 2),
        ([2, 4, 65], 3, 4),
        ([2, 3, 256], 2, 3),
    ] {
        for kind in [Squash::Exact, Squash::Approximate] {
            assert_is_the_reference(shape, classes, vectors, kind).unwrap();
        }
    }
    for (capsules, weight) in [(5, [2, 2, 8]), (0, [2, 2, 8]), (4, [2, 0, 8]), (4, [2, 4, 257])] {
        assert!(HomogeneousPlan::<f32>::new(capsules, weight, Squash::Exact).is_err(), "{capsules} {weight:?}");
    }
}
