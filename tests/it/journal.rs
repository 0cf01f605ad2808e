//! The journal keeps what it is given, and refuses what it cannot read.

use fastrcaps::{
    config::TrialConfig,
    journal::Journal,
    record::{EpochRow, Status, TrialRecord},
};

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
        train_seconds: 1.5,
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
    let done = TrialRecord { status: Status::Done, validation_accuracy: Some(0.1 + 0.2), ..record("b") };
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
    let trial = fastrcaps::folder::TrialFolder::new(folder.path());
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
    let done = TrialRecord { status: Status::Done, test_accuracy: Some(0.5), ..record("a") };
    Journal::open(&path).unwrap().put(&done, &[]).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let row = |sql: &str| connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let found: (String, f64) = row("SELECT status, test_accuracy FROM trials");
    assert_eq!(found, ("done".to_string(), 0.5));
}

#[test]
fn a_journal_of_another_version_or_no_journal_at_all_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    assert!(Journal::read(&path).err().unwrap().to_string().contains("fastrcaps explore"));
    drop(Journal::open(&path).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for result in [Journal::open(&path), Journal::read(&path)] {
        let message = result.err().unwrap().to_string();
        assert!(message.contains("version 99") && message.contains("--out"), "{message}");
    }
    std::fs::write(&path, "not a database, but long enough to be taken for one".repeat(100)).unwrap();
    assert!(format!("{:#}", Journal::open(&path).err().unwrap()).contains("journal"));
}
