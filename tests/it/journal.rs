//! The journal keeps what it is given, and refuses what it cannot read.

use std::{fs, path::Path, time::Duration};

use fastrcaps::{
    learn::{
        config::TrialConfig,
        record::{EpochRow, Fault, Status, TrialRecord},
    },
    search::journal::{Contents, Journal},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::facts::Facts;

fn record(key: &str) -> TrialRecord {
    let config = TrialConfig::resolve("[model]\npreset = 'tiny'".parse().unwrap()).unwrap();
    TrialRecord::pending(key.into(), 0, &config)
}

fn epoch(epoch: usize) -> EpochRow {
    EpochRow {
        epoch,
        learning_rate: 1e-3,
        batch_size: 8,
        train_loss: 0.1 + 0.2,
        train_accuracy: 1.0 / 3.0,
        validation_loss: 1e-300,
        validation_accuracy: 0.9,
        train_seconds_screen: 1.5,
        samples: 100,
        steps: 13,
    }
}

#[test]
fn records_and_epochs_come_back_to_the_bit_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let mut journal = Journal::open(&path).unwrap();
    journal.put(&record("b"), &[]).unwrap();
    journal.put(&record("a"), &[epoch(1)]).unwrap();
    let done = TrialRecord { status: Status::Done, epochs: 2, validation_accuracy: Some(0.1 + 0.2), ..record("b") };
    journal.put(&done, &[epoch(1), epoch(2)]).unwrap();
    drop(journal);
    let journal = Journal::read(&path).unwrap();
    assert_eq!(journal.records().unwrap(), [done, record("a")]);
    let epochs = journal.epochs().unwrap();
    let expected = [("b", 1), ("b", 2), ("a", 1)].map(|(key, number)| (key.to_string(), epoch(number)));
    assert_eq!(epochs, expected);
}

#[test]
fn losses_that_left_the_finite_numbers_come_back_too() {
    let folder = tempfile::tempdir().unwrap();
    let trial = fastrcaps::learn::folder::TrialFolder::new(folder.path());
    let mut journal = Journal::open(&folder.path().join("journal.sqlite")).unwrap();
    let wild = [(f64::NAN, f64::INFINITY), (1e308, f64::NEG_INFINITY)];
    for (number, (train_loss, validation_loss)) in wild.into_iter().enumerate() {
        trial.append_epoch(&EpochRow { train_loss, validation_loss, ..epoch(number + 1) }).unwrap();
    }
    journal.put(&record("a"), &trial.read_epochs().unwrap()).unwrap();
    for ((train_loss, validation_loss), (_, row)) in wild.into_iter().zip(journal.epochs().unwrap()) {
        assert_eq!(row.train_loss.to_bits(), train_loss.to_bits());
        assert_eq!(row.validation_loss, validation_loss);
    }
}

#[test]
fn a_second_writing_replaces_the_epochs_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&folder.path().join("journal.sqlite")).unwrap();
    journal.put(&record("a"), &[epoch(1), epoch(2)]).unwrap();
    journal.put(&record("a"), &[epoch(1)]).unwrap();
    assert_eq!(journal.epochs().unwrap().len(), 1);
}

#[test]
fn the_columns_for_browsers_follow_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let fault = Some(Fault::Timeout);
    let failed = TrialRecord { status: Status::Failed, test_accuracy: Some(0.5), attempts: 3, fault, ..record("a") };
    Journal::open(&path).unwrap().put(&failed, &[]).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let sql = "SELECT status, test_accuracy, attempts, fault FROM trials";
    let found: (String, f64, i64, String) =
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    assert_eq!(found, ("failed".to_string(), 0.5, 3, "timeout".to_string()));
}

#[test]
fn a_journal_of_another_version_or_no_journal_at_all_is_refused_with_its_file_and_a_way_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let name = path.display().to_string();
    Journal::read(&path).err().unwrap().to_string().names([&name[..], "fastrcaps explore"]);
    drop(Journal::open(&path).unwrap());
    for version in [1, 2, 99] {
        rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        for result in [Journal::open(&path), Journal::read(&path)] {
            let message = result.err().unwrap().to_string();
            message.names([&name[..], &format!("version {version}"), "fastrcaps study rebuild", "--out"]);
        }
    }
    std::fs::write(&path, "not a database, but long enough to be taken for one".repeat(100)).unwrap();
    format!("{:#}", Journal::open(&path).err().unwrap()).names([name]);
}

#[test]
fn a_done_trial_comes_with_all_its_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&folder.path().join("journal.sqlite")).unwrap();
    let done = TrialRecord { status: Status::Done, epochs: 2, ..record("a") };
    let said = format!("{:#}", journal.put(&done, &[epoch(1)]).unwrap_err());
    said.names(["2 epochs", "1"]);
    assert_eq!(journal.records().unwrap(), []);
}

#[test]
fn who_reads_and_holds_on_is_told_of_and_the_next_writing_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let mut journal = Journal::open(&path).unwrap();
    journal.set_patience(Duration::from_millis(50)).unwrap();
    journal.put(&record("a"), &[]).unwrap();
    // As a database browser: it holds what it read.
    let browser = rusqlite::Connection::open(&path).unwrap();
    browser.execute_batch("BEGIN; SELECT count(*) FROM trials;").unwrap();
    let count = || browser.query_row("SELECT count(*) FROM trials", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(), 1);
    for _ in 0..2 {
        let error = journal.put(&record("b"), &[epoch(1)]).unwrap_err();
        let kinds = error.chain().filter_map(|cause| Some(cause.downcast_ref::<std::io::Error>()?.kind()));
        assert_eq!(kinds.collect::<Vec<_>>(), [std::io::ErrorKind::ResourceBusy], "{error:#}");
    }
    browser.execute_batch("COMMIT").unwrap();
    journal.put(&record("b"), &[epoch(1)]).unwrap();
    assert_eq!(count(), 2);
    assert_eq!(journal.records().unwrap(), [record("a"), record("b")]);
}

#[test]
fn rows_that_vanish_come_back_or_change_places_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.sqlite");
    let mut journal = Journal::open(&whole).unwrap();
    let done = |key: &str, epochs| TrialRecord { status: Status::Done, epochs, ..record(key) };
    journal.put(&done("a", 2), &[epoch(1), epoch(2)]).unwrap();
    journal.put(&record("b"), &[]).unwrap();
    journal.put(&TrialRecord { status: Status::Failed, epochs: 1, ..record("c") }, &[epoch(1)]).unwrap();
    drop(journal);
    let damaged = folder.path().join("damaged.sqlite");
    for sql in [
        "DELETE FROM trials WHERE key = 'b'",
        "DELETE FROM epochs WHERE key = 'c'",
        "DELETE FROM epochs WHERE epoch = 2",
        "DELETE FROM seals",
        "UPDATE seals SET rows = rows + 1 WHERE name = 'trials'",
        "UPDATE trials SET record = replace(record, '\"pending\"', '\"failed\"')",
        "UPDATE trials SET key = 'd' WHERE key = 'b'",
        "UPDATE epochs SET key = 'b' WHERE key = 'c'",
        "UPDATE epochs SET epoch = 3 WHERE epoch = 2",
        "UPDATE epochs SET row = (SELECT row FROM epochs WHERE epoch = 2) WHERE key = 'c'",
        "INSERT INTO epochs SELECT 'c', 2, row, checksum FROM epochs WHERE key = 'a' AND epoch = 2",
        "UPDATE trials SET checksum = ''",
    ] {
        fs::copy(&whole, &damaged).unwrap();
        assert!(Journal::read(&damaged).unwrap().contents().is_ok());
        rusqlite::Connection::open(&damaged)
            .unwrap()
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}"))
            .unwrap();
        let said = format!("{:#}", Journal::read(&damaged).unwrap().contents().expect_err(sql));
        said.names(["fastrcaps study rebuild"]);
    }
}

/// A small journal, and what is in it.
fn small(path: &Path) -> Contents {
    let mut journal = Journal::open(path).unwrap();
    for (number, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let status = [Status::Done, Status::Diverged, Status::Failed, Status::Running][number];
        let epochs: Vec<EpochRow> = (1..=number + 1).map(epoch).collect();
        let record = TrialRecord { status, epochs: epochs.len(), validation_accuracy: Some(0.1), ..record(key) };
        journal.put(&record, &epochs).unwrap();
    }
    journal.contents().unwrap()
}

/// Opens a journal in both ways, and says whether it was read as `whole`; a wrong value is no answer.
fn reads_as(path: &Path, whole: &Contents) -> bool {
    let read = Journal::read(path).and_then(|journal| journal.contents());
    if let Ok(read) = &read {
        assert!(read == whole, "a wrong value was read");
    }
    let Ok(mut journal) = Journal::open(path) else { return read.is_ok() };
    match journal.contents() {
        Ok(found) if found.0.is_empty() => assert!(read.is_err()),
        Ok(found) => {
            assert!(found == *whole, "a wrong value was read for writing");
            if journal.put(&record("e"), &[epoch(1)]).is_ok()
                && let Ok((records, epochs)) = journal.contents()
            {
                assert!(records[..records.len() - 1] == whole.0 && epochs[..epochs.len() - 1] == whole.1);
            }
        }
        Err(_) => {}
    }
    read.is_ok()
}

#[test]
fn a_journal_cut_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small(&folder.path().join("whole.sqlite"));
    let bytes = fs::read(folder.path().join("whole.sqlite")).unwrap();
    let path = folder.path().join("cut.sqlite");
    let lengths: Vec<usize> = (0..bytes.len()).step_by(16).chain([bytes.len() - 1]).collect();
    for length in &lengths {
        fs::write(&path, &bytes[..*length]).unwrap();
        assert!(!reads_as(&path, &whole), "cut at {length} of {}", bytes.len());
        let _ = fs::remove_file(folder.path().join("cut.sqlite-journal"));
    }
    println!("journal of {} bytes: cut at {} lengths, all refused", bytes.len(), lengths.len());
}

#[test]
fn no_flipped_bit_in_a_journal_is_read_as_another_value() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small(&folder.path().join("whole.sqlite"));
    let bytes = fs::read(folder.path().join("whole.sqlite")).unwrap();
    let path = folder.path().join("flipped.sqlite");
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let (mut accepted, rounds) = (0, 3000);
    for round in 0..rounds {
        let mut flipped = bytes.clone();
        for _ in 0..[1, 1, 1, 4, 64][round % 5] {
            let at = random.random_range(0..bytes.len());
            flipped[at] ^= 1 << random.random_range(0..8);
        }
        fs::write(&path, flipped).unwrap();
        accepted += usize::from(reads_as(&path, &whole));
        let _ = fs::remove_file(folder.path().join("flipped.sqlite-journal"));
    }
    println!("journal of {} bytes: {rounds} with flipped bits, {accepted} read as they were written", bytes.len());
}
