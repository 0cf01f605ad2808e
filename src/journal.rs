//! The journal of a study: an SQLite database with one writer, the dispatcher.
//!
//! Each record is kept whole, as JSON; the columns beside it are derived from it, for who browses the database.
//! Epochs of a trial come in with its last record, in one transaction.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags, params};

use crate::record::{EpochRow, TrialRecord};

/// Version of the tables below; a journal of another version is refused.
const SCHEMA: i64 = 1;

const TABLES: &str = "
CREATE TABLE trials (
    key TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    status TEXT GENERATED ALWAYS AS (json_extract(record, '$.status')) VIRTUAL,
    replicate INTEGER GENERATED ALWAYS AS (json_extract(record, '$.replicate')) VIRTUAL,
    validation_accuracy REAL GENERATED ALWAYS AS (json_extract(record, '$.validation_accuracy')) VIRTUAL,
    test_accuracy REAL GENERATED ALWAYS AS (json_extract(record, '$.test_accuracy')) VIRTUAL,
    train_seconds REAL GENERATED ALWAYS AS (json_extract(record, '$.train_seconds')) VIRTUAL,
    parameters INTEGER GENERATED ALWAYS AS (json_extract(record, '$.parameters')) VIRTUAL,
    error TEXT GENERATED ALWAYS AS (json_extract(record, '$.error')) VIRTUAL
);
CREATE TABLE epochs (
    key TEXT NOT NULL REFERENCES trials (key) ON DELETE CASCADE,
    epoch INTEGER NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (key, epoch)
);
";

/// An open journal.
pub struct Journal {
    connection: Connection,
}

impl Journal {
    /// Opens the journal for its one writer, and makes it where there is none.
    pub fn open(path: &Path) -> Result<Journal> {
        let connection =
            Connection::open(path).with_context(|| format!("cannot open the journal {}", path.display()))?;
        let mut journal = Journal { connection };
        let version = journal.version(path)?;
        // A rollback journal with full sync: what is committed survives a power cut, also on network file systems.
        journal.connection.pragma_update(None, "synchronous", "FULL")?;
        journal.connection.pragma_update(None, "foreign_keys", true)?;
        journal.connection.busy_timeout(Duration::from_secs(10))?;
        if version == 0 {
            let transaction = journal.connection.transaction()?;
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", SCHEMA)?;
            transaction.commit()?;
        }
        journal.check_version(path)?;
        Ok(journal)
    }

    /// Opens the journal of a study for reading, beside its writer.
    pub fn read(path: &Path) -> Result<Journal> {
        if !path.exists() {
            bail!("there is no journal {}: is this a study folder, made by `fastrcaps explore`?", path.display());
        }
        let open = |flags| -> Result<Journal> {
            let connection = Connection::open_with_flags(path, flags)
                .with_context(|| format!("cannot open the journal {}", path.display()))?;
            connection.busy_timeout(Duration::from_secs(10))?;
            let journal = Journal { connection };
            journal.check_version(path)?;
            Ok(journal)
        };
        // A writer that died within a commit leaves a rollback that only who may write can finish.
        open(OpenFlags::SQLITE_OPEN_READ_ONLY).or_else(|_| open(OpenFlags::SQLITE_OPEN_READ_WRITE))
    }

    fn version(&self, path: &Path) -> Result<i64> {
        self.connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .with_context(|| format!("{} is no SQLite journal, or it is damaged", path.display()))
    }

    fn check_version(&self, path: &Path) -> Result<()> {
        let version = self.version(path)?;
        if version != SCHEMA {
            bail!(
                "the journal {} has version {version}, this binary reads version {SCHEMA}: use the binary that made it, \
                 or explore into another folder with --out",
                path.display()
            );
        }
        Ok(())
    }

    /// Writes a record, in the place of an earlier one of the same trial, with its epochs.
    pub fn put(&mut self, record: &TrialRecord, epochs: &[EpochRow]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute("DELETE FROM epochs WHERE key = ?1", params![record.key])?;
        transaction.execute(
            "INSERT INTO trials (key, record) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET record = excluded.record",
            params![record.key, serde_json::to_string(record)?],
        )?;
        for row in epochs {
            transaction.execute(
                "INSERT INTO epochs (key, epoch, row) VALUES (?1, ?2, ?3)",
                params![record.key, row.epoch as i64, serde_json::to_string(row)?],
            )?;
        }
        transaction.commit().context("cannot write to the journal")
    }

    /// All records, in the order of their first writing.
    pub fn records(&self) -> Result<Vec<TrialRecord>> {
        let mut statement = self.connection.prepare("SELECT record FROM trials ORDER BY rowid")?;
        let texts = statement.query_map([], |row| row.get::<_, String>(0))?;
        texts.map(|text| serde_json::from_str(&text?).context("a record in the journal is damaged")).collect()
    }

    /// All epochs with the key of their trial, in order of trial and epoch.
    pub fn epochs(&self) -> Result<Vec<(String, EpochRow)>> {
        let sql = "SELECT e.key, e.row FROM epochs e JOIN trials t ON t.key = e.key ORDER BY t.rowid, e.epoch";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (key, text) = row?;
            Ok((key, serde_json::from_str(&text).context("an epoch in the journal is damaged")?))
        })
        .collect()
    }
}
