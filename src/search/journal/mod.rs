//! The journal of a study: an SQLite database with one writer, the dispatcher.
//!
//! Each record is kept whole, as JSON with a checksum; the columns beside it are derived from it, for who browses the
//! database. Epochs of a trial come in with its last record, in one transaction. What is read is what was written, or it
//! is an error: every row against its checksum, every table against its seal.

mod decisions;
mod tables;

pub use decisions::{Noted, NotedBasis};

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use crate::{
    base::words::plural,
    learn::record::{EpochRow, Status, TrialRecord},
};
use tables::{Changes, Rows, SCHEMA};

/// How long the writer waits for others when it opens the journal.
const OPENING_PATIENCE: Duration = Duration::from_secs(60);
/// How long a commit waits for a moment without readers. One that holds on, as a database browser does, is told of: the
/// dispatcher has a sweep to look after meanwhile, and tries again.
const WRITER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a reader waits for a commit.
const READER_PATIENCE: Duration = Duration::from_secs(10);
/// How long a journal may be without tables, for one that is being made.
const BIRTH: Duration = Duration::from_millis(500);

/// All records in the order of their first writing, and all epochs with the key of their trial, in that order.
pub type Contents = (Vec<TrialRecord>, Vec<(String, EpochRow)>);

/// An open journal.
pub struct Journal {
    connection: Connection,
    path: PathBuf,
}

impl Journal {
    /// Opens the journal for its one writer, and makes it where there is none.
    pub fn open(path: &Path) -> Result<Journal> {
        let connection = Connection::open(path).map_err(of_system);
        let connection = connection.with_context(|| format!("cannot open the journal {}", path.display()))?;
        let mut journal = Journal { connection, path: path.into() };
        journal.prepare_to_write().map_err(|error| journal.explain(error))?;
        Ok(journal)
    }

    fn prepare_to_write(&mut self) -> Result<()> {
        self.connection.busy_timeout(OPENING_PATIENCE)?;
        let is_new = self.is_new()?;
        // A rollback journal with full sync: what is committed survives a power cut, also on network file systems.
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.connection.pragma_update(None, "foreign_keys", true)?;
        self.connection.pragma_update(None, "cell_size_check", true)?;
        if is_new {
            let transaction = self.connection.transaction()?;
            tables::create(&transaction)?;
            transaction.commit()?;
        }
        // Nobody writes into what is damaged: that would make it worse.
        self.check_structure()?;
        self.set_patience(WRITER_PATIENCE)
    }

    /// Opens the journal of a study for reading, beside its writer.
    pub fn read(path: &Path) -> Result<Journal> {
        if !path.exists() {
            bail!("there is no journal {}: is this a study folder, made by `fastrcaps explore`?", path.display());
        }
        let open = |flags| -> Result<Journal> {
            let connection = Connection::open_with_flags(path, flags)
                .with_context(|| format!("cannot open the journal {}", path.display()))?;
            let journal = Journal { connection, path: path.into() };
            journal.prepare_to_read().map_err(|error| journal.explain(error))?;
            Ok(journal)
        };
        // A writer that died within a commit leaves a rollback that only who may write can finish.
        open(OpenFlags::SQLITE_OPEN_READ_ONLY).or_else(|_| open(OpenFlags::SQLITE_OPEN_READ_WRITE))
    }

    fn prepare_to_read(&self) -> Result<()> {
        self.connection.busy_timeout(READER_PATIENCE)?;
        self.connection.pragma_update(None, "cell_size_check", true)?;
        let since = Instant::now();
        while self.is_new()? {
            if since.elapsed() >= BIRTH {
                bail!("it holds no tables");
            }
            // Its writer may be making it at this moment.
            thread::sleep(BIRTH / 20);
        }
        Ok(())
    }

    /// Sets how long a commit waits for a moment without readers.
    pub fn set_patience(&mut self, patience: Duration) -> Result<()> {
        Ok(self.connection.busy_timeout(patience)?)
    }

    /// Whether it has no tables yet. Tables of another version are an error.
    fn is_new(&self) -> Result<bool> {
        let version: i64 = self.connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => Ok(true),
            SCHEMA => Ok(false),
            _ => Err(Refused(format!(
                "the journal {} has version {version}, this binary reads version {SCHEMA}: use the binary that made it, \
                 have `fastrcaps study rebuild` make it again, or explore into another folder with --out",
                self.path.display()
            ))
            .into()),
        }
    }

    /// Has SQLite go over the whole file: pages, order, indices.
    pub fn check_structure(&self) -> Result<()> {
        let check = || -> Result<()> {
            let found: String = self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            if found != "ok" { Err(anyhow!("{}", found.replace('\n', ", "))) } else { Ok(()) }
        };
        check().map_err(|error| self.explain(error))
    }

    /// Writes a record, in the place of an earlier one of the same trial, with its epochs.
    ///
    /// Errors leave the journal as it was, and may be gone the next time: where the system below refused, or another
    /// program holds the journal ([`io::ErrorKind::ResourceBusy`]), an [`io::Error`] in the chain says so.
    pub fn put(&mut self, record: &TrialRecord, epochs: &[EpochRow]) -> Result<()> {
        self.put_all([(record, epochs)])
    }

    /// Writes many records with their epochs, all of them or none.
    pub fn put_all<'a>(&mut self, trials: impl IntoIterator<Item = (&'a TrialRecord, &'a [EpochRow])>) -> Result<()> {
        self.change(|changes| {
            for (record, epochs) in trials {
                if record.status == Status::Done && record.epochs != epochs.len() {
                    let (key, said, given) = (&record.key, record.epochs, epochs.len());
                    let said = plural(said, "epoch");
                    let why = format!("trial {key} is said to have {said}, and comes with {given}");
                    return Err(Refused(why).into());
                }
                changes.remove_epochs(&record.key)?;
                changes.put_trial(&record.key, &serde_json::to_string(record)?)?;
                for row in epochs {
                    changes.put_epoch(&record.key, row.epoch as i64, &serde_json::to_string(row)?)?;
                }
            }
            Ok(())
        })
    }

    /// Forgets trials; gives how many of them it knew.
    pub fn remove(&mut self, keys: &[String]) -> Result<usize> {
        let mut removed = 0;
        self.change(|changes| {
            for key in keys {
                removed += usize::from(changes.remove_trial(key)?);
            }
            Ok(())
        })?;
        Ok(removed)
    }

    fn change(&mut self, change: impl FnOnce(&mut Changes) -> Result<()>) -> Result<()> {
        let write = || -> Result<()> {
            // Immediate: whoever else would write waits here, not in the middle.
            let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let mut changes = Changes::begin(&transaction)?;
            change(&mut changes)?;
            changes.finish()?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| self.explain(error)).context("cannot write to the journal")
    }

    /// All records, in the order of their first writing.
    pub fn records(&self) -> Result<Vec<TrialRecord>> {
        let read = || {
            // The rows and their seal are of one moment.
            let _moment = self.connection.unchecked_transaction()?;
            self.read_records()
        };
        read().map_err(|error| self.explain(error))
    }

    /// All epochs with the key of their trial, in order of trial and epoch.
    pub fn epochs(&self) -> Result<Vec<(String, EpochRow)>> {
        Ok(self.contents()?.1)
    }

    /// All records and all epochs, of one moment.
    pub fn contents(&self) -> Result<Contents> {
        let read = || {
            let _moment = self.connection.unchecked_transaction()?;
            let records = self.read_records()?;
            let epochs = self.read_epochs(&records)?;
            Ok((records, epochs))
        };
        read().map_err(|error| self.explain(error))
    }

    fn read_records(&self) -> Result<Vec<TrialRecord>> {
        let mut statement = self.connection.prepare("SELECT key, record, checksum FROM trials ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        let (mut records, mut found) = (Vec::new(), Rows::default());
        while let Some(row) = rows.next()? {
            let (key, text, checksum): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            check_row(&mut found, &checksum, || tables::of_trial(&key, &text))
                .with_context(|| format!("the record of trial {key:?} was changed or damaged"))?;
            let record: TrialRecord =
                serde_json::from_str(&text).with_context(|| format!("the record of trial {key} is damaged"))?;
            if record.key != key {
                bail!("the record of trial {key} is that of another, {}", record.key);
            }
            records.push(record);
        }
        self.check_seal("trials", found)?;
        Ok(records)
    }

    fn read_epochs(&self, records: &[TrialRecord]) -> Result<Vec<(String, EpochRow)>> {
        let mut statement = self.connection.prepare("SELECT key, epoch, row, checksum FROM epochs ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        let mut of: std::collections::HashMap<String, Vec<EpochRow>> = std::collections::HashMap::new();
        let mut found = Rows::default();
        while let Some(row) = rows.next()? {
            let (key, epoch): (String, i64) = (row.get(0)?, row.get(1)?);
            let (text, checksum): (String, String) = (row.get(2)?, row.get(3)?);
            let what = || format!("epoch {epoch} of trial {key:?} was changed or damaged");
            check_row(&mut found, &checksum, || tables::of_epoch(&key, epoch, &text)).with_context(what)?;
            let row: EpochRow = serde_json::from_str(&text).with_context(what)?;
            of.entry(key).or_default().push(row);
        }
        self.check_seal("epochs", found)?;
        let mut epochs = Vec::new();
        for record in records {
            let mut rows = of.remove(&record.key).unwrap_or_default();
            if record.status == Status::Done && record.epochs != rows.len() {
                let said = plural(record.epochs, "epoch");
                bail!("trial {} has {said} by its record, {} by its rows", record.key, rows.len());
            }
            rows.sort_by_key(|row| row.epoch);
            epochs.extend(rows.into_iter().map(|row| (record.key.clone(), row)));
        }
        match of.keys().next() {
            Some(key) => bail!("it holds epochs of trial {key:?}, which it does not know"),
            None => Ok(epochs),
        }
    }

    fn check_seal(&self, table: &str, found: Rows) -> Result<()> {
        if tables::sealed(&self.connection, table)? != found {
            bail!("rows of its {table} are lost, or of another time");
        }
        Ok(())
    }

    /// Writes a copy of the journal as it is at this moment into the new file `to`.
    pub fn copy_to(&self, to: &Path) -> Result<()> {
        let path = to.to_str().with_context(|| format!("{} is no name in UTF-8", to.display()))?;
        let copied = self.connection.execute("VACUUM INTO ?1", params![path]);
        copied.map_err(|error| self.explain(error.into())).with_context(|| format!("cannot write {path}"))?;
        Ok(())
    }

    /// What an error means, and how to mend it. What the system below refuses (a full disk, one not to be written, a
    /// quota) and what others hold is told apart by the [`io::ErrorKind`] in the chain.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let path = self.path.display();
        if error.is::<Refused>() {
            return error;
        }
        match code(&error) {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => of_system(error).context(format!(
                "another program holds the journal {path}: close its transaction, or the database browser that has it \
                 open"
            )),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => match self.errno() {
                0 => of_system(error),
                errno => anyhow::Error::new(io::Error::from_raw_os_error(errno)).context(format!("{error:#}")),
            }
            .context(format!("the journal {path}")),
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::OutOfMemory) => {
                of_system(error).context(format!("the journal {path}"))
            }
            _ => {
                let study = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let study = study.unwrap_or(Path::new(".")).display();
                error.context(format!(
                    "the journal {path} is damaged: `fastrcaps study rebuild {study}` makes it again from the trials' \
                     folders"
                ))
            }
        }
    }

    /// The system's number of the last error below SQLite; 0 where it has none.
    fn errno(&self) -> i32 {
        // SAFETY: the handle is that of an open connection, which lives through the call.
        unsafe { rusqlite::ffi::sqlite3_system_errno(self.connection.handle()) }
    }
}

/// Holds a row against its checksum, and counts it.
fn check_row(found: &mut Rows, checksum: &str, right: impl FnOnce() -> String) -> Result<()> {
    let right = right();
    if right != checksum {
        bail!("its checksum is {right}, {checksum:?} stands beside it");
    }
    found.add(tables::number(&right)?);
    Ok(())
}

/// An error whose words are whole.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// What kind of error SQLite gave, if it was SQLite.
fn code(error: &anyhow::Error) -> Option<ErrorCode> {
    error.chain().find_map(|cause| cause.downcast_ref::<rusqlite::Error>()?.sqlite_error_code())
}

/// An error of SQLite that is one of the system below, or that others cause, as an [`io::Error`] of its kind.
fn of_system(error: impl Into<anyhow::Error>) -> anyhow::Error {
    let error = error.into();
    let kind = match code(&error) {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => io::ErrorKind::ResourceBusy,
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(ErrorCode::ReadOnly) => io::ErrorKind::ReadOnlyFilesystem,
        Some(ErrorCode::PermissionDenied) => io::ErrorKind::PermissionDenied,
        Some(ErrorCode::OutOfMemory) => io::ErrorKind::OutOfMemory,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => io::ErrorKind::Other,
        _ => return error,
    };
    io::Error::new(kind, error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::config::TrialConfig;

    fn record(key: &str) -> TrialRecord {
        let config = TrialConfig::resolve("[model]\npreset = 'tiny'".parse().unwrap()).unwrap();
        TrialRecord::pending(key.into(), 0, &config)
    }

    fn kind(error: &anyhow::Error) -> Option<io::ErrorKind> {
        error.chain().find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()))
    }

    #[test]
    fn a_full_or_read_only_disk_is_told_by_its_kind_and_the_next_writing_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&folder.path().join("journal.sqlite")).unwrap();
        let pages: i64 = journal.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let long = TrialRecord { error: Some("x".repeat(100_000)), ..record("a") };
        let limit = |journal: &Journal, pages: i64| {
            journal.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap()
        };
        limit(&journal, pages);
        let error = journal.put(&long, &[]).unwrap_err();
        assert_eq!(kind(&error), Some(io::ErrorKind::StorageFull), "{error:#}");
        limit(&journal, 1 << 20);
        journal.put(&long, &[]).unwrap();
        journal.connection.pragma_update(None, "query_only", true).unwrap();
        let error = journal.put(&record("b"), &[]).unwrap_err();
        assert_eq!(kind(&error), Some(io::ErrorKind::ReadOnlyFilesystem), "{error:#}");
        journal.connection.pragma_update(None, "query_only", false).unwrap();
        journal.put(&record("b"), &[]).unwrap();
        assert_eq!(journal.records().unwrap(), [long, record("b")]);
    }

    #[test]
    fn what_the_system_refuses_has_its_own_number_in_the_chain_and_the_next_writing_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&folder.path().join("journal.sqlite")).unwrap();
        // In the way of the rollback, which each commit begins with.
        let in_the_way = folder.path().join("journal.sqlite-journal");
        std::fs::create_dir(&in_the_way).unwrap();
        let error = journal.put(&record("a"), &[]).unwrap_err();
        assert_eq!(kind(&error), Some(io::ErrorKind::IsADirectory), "{error:#}");
        assert!(!format!("{error:#}").contains("damaged"), "{error:#}");
        std::fs::remove_dir(in_the_way).unwrap();
        journal.put(&record("a"), &[]).unwrap();
        assert_eq!(journal.records().unwrap(), [record("a")]);
    }
}
