//! In what two declared spaces differ, in words.

use std::collections::{BTreeMap, BTreeSet};

use crate::{base::words::plural, search::space::Space};

/// In what the configurations of two declared spaces differ, each called by its name, in brackets: what only the first has
/// comes first. Empty where that is in nothing.
pub fn difference((one_name, one): (&str, &Space), (other_name, other): (&str, &Space)) -> String {
    let declared = |space: &Space| {
        let mut keys = BTreeMap::new();
        for (key, value) in space.declaration() {
            // What else a space declares decides about no configuration.
            if ["base", "axes", "exclude"].contains(&key.as_str()) {
                leaves(key, value, &mut keys);
            }
        }
        keys
    };
    let (of_one, of_other) = (declared(one), declared(other));
    let paths: BTreeSet<&String> = of_one.keys().chain(of_other.keys()).collect();
    let mut differing: Vec<(bool, String)> = Vec::new();
    for path in paths {
        let (here, there) = (of_one.get(path), of_other.get(path));
        // A range has no list: it is called by its ends, as other values are.
        let is_list = here.or(there).is_some_and(toml::Value::is_array);
        if path.starts_with("axes.") && is_list {
            // The values that an axis has on one side alone, whatever their order.
            let alone = |of: Option<&toml::Value>, than: Option<&toml::Value>| {
                let items =
                    |value: Option<&toml::Value>| value.and_then(toml::Value::as_array).cloned().unwrap_or_default();
                let than = items(than);
                let alone = items(of).into_iter().filter(|value| !than.contains(value));
                alone.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
            };
            let of = |values: &str, name: &str| format!("{values} in {name} alone");
            match (alone(here, there), alone(there, here)) {
                (one, other) if one.is_empty() && other.is_empty() => {}
                (one, other) if one.is_empty() => differing.push((true, format!("{path}: {}", of(&other, other_name)))),
                (one, other) if other.is_empty() => differing.push((false, format!("{path}: {}", of(&one, one_name)))),
                (one, other) => {
                    differing.push((false, format!("{path}: {}, {}", of(&one, one_name), of(&other, other_name))))
                }
            }
        } else if here != there {
            let show = |value: Option<&toml::Value>| value.map_or("absent".to_string(), ToString::to_string);
            let both = format!("{path}: {} in {one_name}, {} in {other_name}", show(here), show(there));
            differing.push((false, both));
        }
    }
    differing.sort_by_key(|(is_addition, _)| *is_addition);
    let told: Vec<&str> = differing.iter().take(3).map(|(_, text)| text.as_str()).collect();
    match differing.len() {
        0 => String::new(),
        1..=3 => format!(" ({})", told.join("; ")),
        more => format!(" ({}; and {})", told.join("; "), plural(more - 3, "more difference")),
    }
}

/// Every value below a table, by its dotted path.
fn leaves(path: &str, value: &toml::Value, into: &mut BTreeMap<String, toml::Value>) {
    match value {
        toml::Value::Table(table) => {
            for (key, inner) in table {
                leaves(&format!("{path}.{key}"), inner, into);
            }
        }
        other => {
            into.insert(path.to_string(), other.clone());
        }
    }
}
