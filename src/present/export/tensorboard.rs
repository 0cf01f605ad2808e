//! The curves of a study as event files of TensorBoard: a run a trial, a step an epoch.
//!
//! An event file is records of TFRecord, each an `Event` message of protocol buffers. Of both we need one shape, which is
//! written here; the crates that write them bring a compiler of protocol buffers, or have not been kept up.

use super::Files;
use crate::base::machine::unix_seconds;
use crate::learn::record::EpochRow;
use crate::present::report::view::StudyView;

/// Letters of a label in a run's name at most.
const LONGEST: usize = 80;

/// An event file of each trial that has an epoch.
pub fn tensorboard(view: &StudyView) -> Files {
    let trials = view.trials.iter().zip(&view.keys).zip(view.records.iter().zip(&view.epochs));
    let begun = trials.filter(|(_, (_, rows))| !rows.is_empty());
    let file = |((trial, key), (record, rows)): ((&crate::search::space::Trial, &String), _)| {
        let (record, rows): (&Option<crate::learn::record::TrialRecord>, &Vec<EpochRow>) = (record, rows);
        let label = &view.expansion.candidates[trial.candidate].label;
        let started = record.as_ref().and_then(|record| record.started.as_deref()).and_then(unix_seconds);
        let run = format!("{} r{} {}", safe(label), trial.replicate, &key[..key.len().min(8)]);
        (format!("{run}/events.out.tfevents.{key}"), events(started.unwrap_or(0.0), rows))
    };
    begun.map(file).collect()
}

/// A label as the name of a folder on any system.
fn safe(label: &str) -> String {
    let is_safe = |letter: char| letter.is_alphanumeric() || " ,.-_+=".contains(letter);
    let name: String = label.chars().map(|of| if is_safe(of) { of } else { '_' }).take(LONGEST).collect();
    name.trim_matches([' ', '.']).to_string()
}

fn events(started: f64, rows: &[EpochRow]) -> Vec<u8> {
    let mut file = Vec::new();
    let version: Vec<u8> = [double(1, started), bytes(3, b"brain.Event:2")].concat();
    record(&mut file, &version);
    for row in rows {
        let scalars = [
            ("validation/accuracy", row.validation_accuracy),
            ("validation/loss", row.validation_loss),
            ("train/accuracy", row.train_accuracy),
            ("train/loss", row.train_loss),
            ("schedule/learning_rate", row.learning_rate),
            ("schedule/batch_size", row.batch_size as f64),
            ("time/train_seconds_screen", row.train_seconds_screen),
        ];
        let value = |(tag, value): (&str, f64)| bytes(1, &[bytes(1, tag.as_bytes()), float(2, value as f32)].concat());
        let summary: Vec<u8> = scalars.into_iter().flat_map(value).collect();
        let wall = double(1, started + row.train_seconds_screen);
        record(&mut file, &[wall, varint(2, row.epoch as u64), bytes(5, &summary)].concat());
    }
    file
}

/// A record of TFRecord: its length, the length's sum, its bytes, their sum.
fn record(file: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked(crc32c(&length)).to_le_bytes());
    file.extend(data);
    file.extend(masked(crc32c(data)).to_le_bytes());
}

fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

/// Fields of protocol buffers: their number with their wire type, then their value.
fn varint(field: u64, value: u64) -> Vec<u8> {
    [number(field << 3), number(value)].concat()
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [number(field << 3 | 1), value.to_le_bytes().to_vec()].concat()
}

fn float(field: u64, value: f32) -> Vec<u8> {
    [number(field << 3 | 5), value.to_le_bytes().to_vec()].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [number(field << 3 | 2), number(value.len() as u64), value.to_vec()].concat()
}

/// Seven bits a byte, the least first.
fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
