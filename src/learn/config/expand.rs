//! A config as a user writes it, with what he leaves out: presets and default policies.

use toml::{Table, Value};

use super::{ConfigError, DEFAULT_POLICY};
use crate::{
    base::{invalid::Invalid, words::short_numbers},
    learn::model::{
        config::{DENSE_CAPSULES, EfficientCapsNetConfig, PRESETS, preset},
        efficient,
    },
};

/// Writes the default policy into a table of a schedule that has none, so that its fields alone may be given; of routing, the one
/// that has fields.
pub(super) fn name_policies(table: &mut Table) {
    let Some(Value::Table(schedule)) = table.get_mut("schedule") else { return };
    for (policies, meant) in [("lr", DEFAULT_POLICY), ("batch", DEFAULT_POLICY), ("routing", "phases")] {
        if let Some(Value::Table(policy)) = schedule.get_mut(policies) {
            policy.entry("policy").or_insert_with(|| meant.into());
        }
    }
}

/// Turns `model = { preset = "tiny", … }` into every field of the network.
pub(super) fn expand_model(table: &mut Table) -> Result<(), ConfigError> {
    let model = table.entry("model").or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(model) = model else {
        let message = format!(
            "expected a table, as in model = {{ preset = \"small\" }}, not {}",
            short_numbers(&model.to_string())
        );
        return Err(ConfigError::Shape { path: "model".into(), value: None, message });
    };
    if model.get("kind").and_then(Value::as_str) == Some(efficient::KIND) {
        return refuse_capsnet_fields(model);
    }
    let allowed = || format!("one of {}", PRESETS.join(", "));
    let name = model
        .get("preset")
        .map_or(Ok("small"), |value| value.as_str().ok_or_else(|| Invalid::new("model.preset", value, allowed())))?;
    let Some(sizes) = preset(name) else {
        return Err(Invalid::new("model.preset", format!("{name:?}"), allowed()).into());
    };
    let is = |key: &str, name: &str| model.get(key).and_then(Value::as_str) == Some(name);
    let sizes = if is("primary", "dense") { sizes.with_dense_primary(DENSE_CAPSULES) } else { sizes };
    let sizes = if is("class_capsules", "homogeneous") { sizes.with_homogeneous_classes() } else { sizes };
    // Numbers, strings and an array: what TOML can hold.
    let mut fields = Table::try_from(sizes).expect("sizes are TOML");
    fields.insert("kind".into(), Value::from("capsnet"));
    fields.extend(std::mem::take(model).into_iter().filter(|(key, _)| key != "preset"));
    *model = fields;
    Ok(())
}

/// Refuses fields that a capsule network has and an Efficient-CapsNet has not: its layers are fixed, and its routing is another.
fn refuse_capsnet_fields(model: &Table) -> Result<(), ConfigError> {
    // As above: sizes are TOML.
    let own = Table::try_from(EfficientCapsNetConfig::default()).expect("sizes are TOML");
    let sizes = preset(PRESETS[0]).map_or_else(Table::new, |sizes| Table::try_from(sizes).expect("sizes are TOML"));
    let foreign =
        |(key, _): &(&String, &Value)| !own.contains_key(*key) && (sizes.contains_key(*key) || *key == "preset");
    match model.iter().find(foreign) {
        None => Ok(()),
        Some((key, value)) => {
            let own: Vec<&str> = own.keys().map(String::as_str).collect();
            let allowed = format!("none, as kind {:?} has no such choice: it has {}", efficient::KIND, own.join(", "));
            Err(Invalid::new(&format!("model.{key}"), value, allowed).into())
        }
    }
}
