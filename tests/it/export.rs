//! A study in the formats of other programs, read back.

use std::process::{Command, Stdio};

use fastrcaps::present::{
    export,
    report::{findings::Findings, view::StudyView},
};
use serde_json::Value;

use crate::charts::studies::{SMALL, trained};

fn study() -> (tempfile::TempDir, StudyView) {
    let folder = tempfile::tempdir().unwrap();
    let view = trained(folder.path(), SMALL);
    (folder, view)
}

#[test]
fn csv_is_read_by_pythons_module_with_every_row_and_text_as_it_was() {
    let (folder, view) = study();
    let files = export::csv(&view, &Findings::of(&view)).unwrap();
    for (name, bytes) in &files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let script = "
import csv, json, sys
tables = {}
for name in ('trials', 'epochs', 'front'):
    with open(f'{sys.argv[1]}/{name}.csv', newline='', encoding='utf-8') as file:
        tables[name] = list(csv.DictReader(file, strict=True))
assert all(None not in row and None not in row.values() for rows in tables.values() for row in rows)
floats = [float(row['validation_accuracy']) for row in tables['epochs']]
print(json.dumps({'counts': {name: len(rows) for name, rows in tables.items()}, 'best': max(floats),
    'errors': [row['error'] for row in tables['trials'] if row['error']]}))
";
    let said = Command::new("python3").args(["-c", script]).arg(folder.path()).stderr(Stdio::inherit()).output();
    let Ok(said) = said else {
        println!("SKIPPED: there is no python3");
        return;
    };
    assert!(said.status.success());
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["counts"]["trials"], view.trials.len());
    assert_eq!(said["counts"]["epochs"], view.epochs.iter().map(Vec::len).sum::<usize>());
    assert_eq!(said["counts"]["front"], Findings::of(&view).wide_front.len());
    let best = view.epochs.iter().flatten().map(|row| row.validation_accuracy).fold(0.0, f64::max);
    assert_eq!(said["best"].as_f64(), Some(best));
    let errors: Vec<&str> = view.records.iter().flatten().filter_map(|record| record.error.as_deref()).collect();
    assert_eq!(said["errors"], serde_json::json!(errors));
}

#[test]
fn json_is_as_its_schema_says_and_the_schema_knows_every_field() {
    let (_folder, view) = study();
    let document: Value = serde_json::from_slice(&export::json(&view, &Findings::of(&view)).unwrap()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/export.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    check("", &document, &schema);
    assert_eq!(document["trials"].as_array().unwrap().len(), view.trials.len());
    assert_eq!(schema["properties"]["version"]["const"], export::VERSION);
}

/// Holds a value against the part of JSON Schema that ours uses; fields that it does not name are errors.
fn check(place: &str, value: &Value, schema: &Value) {
    let is_a = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{place}: no type {other}"),
    };
    match &schema["type"] {
        Value::String(kind) => assert!(is_a(kind), "{place} is no {kind}: {value}"),
        Value::Array(kinds) => assert!(kinds.iter().any(|kind| is_a(kind.as_str().unwrap())), "{place}: {value}"),
        _ => {}
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value}");
    }
    if let Some(only) = schema.get("const") {
        assert_eq!(value, only, "{place}");
    }
    if let Some(fields) = value.as_object() {
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(fields.contains_key(required.as_str().unwrap()), "{place} lacks {required}");
        }
        for (name, field) in fields {
            let of = schema["properties"].get(name).or(schema.get("additionalProperties"));
            check(&format!("{place}.{name}"), field, of.unwrap_or_else(|| panic!("the schema lacks {place}.{name}")));
        }
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&format!("{place}[{at}]"), item, &schema["items"]);
    }
}

#[test]
fn latex_has_a_row_for_each_point_and_prints_any_label() {
    let (_folder, mut view) = study();
    let findings = Findings::of(&view);
    let text = String::from_utf8(export::latex(&view, &findings)).unwrap();
    let rows = text.lines().filter(|line| line.ends_with("\\\\")).count();
    let baseline = usize::from(findings.baseline.is_some_and(|of| !findings.wide_front.contains(&of)));
    assert_eq!(rows, 1 + findings.wide_front.len() + baseline);
    for of in &mut view.expansion.candidates {
        of.label = format!("100 % of A&B_{{c}} #1 $x$ ~^\\ {}", of.label);
    }
    let text = String::from_utf8(export::latex(&view, &Findings::of(&view))).unwrap();
    assert!(
        text.contains(
            "100 \\% of A\\&B\\_\\{c\\} \\#1 \\$x\\$ \\textasciitilde{}\\textasciicircum{}\\textbackslash{} "
        ),
        "{text}"
    );
    // A `&` that parts columns stands alone.
    let cells = |line: &str| line.replace("\\&", "").matches('&').count();
    assert!(text.lines().filter(|line| line.ends_with("\\\\")).all(|line| cells(line) == 6), "{text}");
}

/// Records of an event file, each held against its sums.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let sum = |bytes: &[u8]| {
        let crc = !bytes.iter().fold(!0_u32, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 })
        });
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    };
    // What the format's authors give for 32 zeros, before the mask.
    assert_eq!(sum(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(u32::from_le_bytes(bytes[8..12].try_into().unwrap()), sum(&bytes[..8]));
        let data = &bytes[12..12 + length];
        assert_eq!(u32::from_le_bytes(bytes[12 + length..16 + length].try_into().unwrap()), sum(data));
        records.push(data.to_vec());
        bytes = &bytes[16 + length..];
    }
    records
}

#[test]
fn event_files_have_a_record_for_each_epoch_and_their_names_are_safe() {
    let (_folder, mut view) = study();
    view.expansion.candidates[0].label = "../a/b:c*\u{1}".into();
    let files = export::tensorboard(&view);
    let begun = view.epochs.iter().filter(|rows| !rows.is_empty()).count();
    assert_eq!(files.len(), begun);
    let names: std::collections::BTreeSet<&String> = files.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), begun);
    assert!(names.iter().all(|name| name.matches('/').count() == 1 && !name.starts_with('.')), "{names:?}");
    let epochs: Vec<usize> = view.epochs.iter().map(Vec::len).filter(|len| *len > 0).collect();
    for ((_, bytes), epochs) in files.iter().zip(epochs) {
        let records = records(bytes);
        assert_eq!(records.len(), 1 + epochs);
        assert!(records[0].ends_with(b"brain.Event:2"));
        for (step, record) in records[1..].iter().enumerate() {
            // The wall time, then the step.
            assert_eq!((record[0], record[9], record[10]), (0x09, 0x10, step as u8 + 1));
            let tag = b"validation/accuracy";
            assert!(record.windows(tag.len()).any(|at| at == tag));
        }
    }
}
