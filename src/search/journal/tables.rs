//! The tables of the journal, and what proves that nothing in them is missing.

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::base::seal;

/// Version of the tables below, the first that is released. Another one is refused.
pub const SCHEMA: i64 = 3;

/// `checksum` is over the row's whole content. `seals` holds, for each table, how many rows it has and the XOR of their
/// checksums, so that a row that vanished, or came back from an earlier time, shows too.
const TABLES: &str = "
CREATE TABLE trials (
    key TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    checksum TEXT NOT NULL,
    status TEXT GENERATED ALWAYS AS (json_extract(record, '$.status')) VIRTUAL,
    attempts INTEGER GENERATED ALWAYS AS (json_extract(record, '$.attempts')) VIRTUAL,
    replicate INTEGER GENERATED ALWAYS AS (json_extract(record, '$.replicate')) VIRTUAL,
    validation_accuracy REAL GENERATED ALWAYS AS (json_extract(record, '$.validation_accuracy')) VIRTUAL,
    test_accuracy REAL GENERATED ALWAYS AS (json_extract(record, '$.test_accuracy')) VIRTUAL,
    train_seconds_screen REAL GENERATED ALWAYS AS (json_extract(record, '$.train_seconds_screen')) VIRTUAL,
    parameters INTEGER GENERATED ALWAYS AS (json_extract(record, '$.parameters')) VIRTUAL,
    fault TEXT GENERATED ALWAYS AS (json_extract(record, '$.fault')) VIRTUAL,
    error TEXT GENERATED ALWAYS AS (json_extract(record, '$.error')) VIRTUAL
);
CREATE TABLE epochs (
    key TEXT NOT NULL REFERENCES trials (key) ON DELETE CASCADE,
    epoch INTEGER NOT NULL,
    row TEXT NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (key, epoch)
);
CREATE TABLE seals (
    name TEXT PRIMARY KEY,
    rows INTEGER NOT NULL,
    sum TEXT NOT NULL
);
INSERT INTO seals VALUES ('trials', 0, '0000000000000000'), ('epochs', 0, '0000000000000000');
";

/// Rows of a table: how many, and the XOR of their checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    count: i64,
    sum: u64,
}

impl Rows {
    /// Takes a row in.
    pub fn add(&mut self, checksum: u64) {
        self.count += 1;
        self.sum ^= checksum;
    }

    /// Takes a row out.
    pub fn remove(&mut self, checksum: u64) {
        self.count -= 1;
        self.sum ^= checksum;
    }

    /// Writes them as the seal of a table.
    pub fn seal(self, transaction: &Transaction, table: &str) -> Result<()> {
        let sql = "UPDATE seals SET rows = ?2, sum = ?3 WHERE name = ?1";
        let changed = transaction.execute(sql, params![table, self.count, format!("{:016x}", self.sum)])?;
        if changed != 1 {
            bail!("the seal of its {table} is lost");
        }
        Ok(())
    }
}

/// The checksum of a trial's row.
pub fn of_trial(key: &str, record: &str) -> String {
    seal::checksum(format!("{key}\n{record}").as_bytes())
}

/// The checksum of an epoch's row.
pub fn of_epoch(key: &str, epoch: i64, row: &str) -> String {
    seal::checksum(format!("{key} {epoch}\n{row}").as_bytes())
}

/// A checksum as a number.
pub fn number(checksum: &str) -> Result<u64> {
    u64::from_str_radix(checksum, 16).with_context(|| format!("{checksum:?} is no checksum"))
}

/// Makes the tables in an empty database.
pub fn create(transaction: &Transaction) -> rusqlite::Result<()> {
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "user_version", SCHEMA)
}

/// What the seal of a table says that it holds.
pub fn sealed(connection: &Connection, table: &str) -> Result<Rows> {
    let sql = "SELECT rows, sum FROM seals WHERE name = ?1";
    let found = connection.query_row(sql, params![table], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
    let (count, sum) = found.optional()?.with_context(|| format!("the seal of its {table} is lost"))?;
    Ok(Rows { count, sum: number(&sum)? })
}

/// Changes within one transaction, with the seals that follow them.
pub struct Changes<'a> {
    transaction: &'a Transaction<'a>,
    trials: Rows,
    epochs: Rows,
}

impl<'a> Changes<'a> {
    pub fn begin(transaction: &'a Transaction<'a>) -> Result<Changes<'a>> {
        Ok(Changes { trials: sealed(transaction, "trials")?, epochs: sealed(transaction, "epochs")?, transaction })
    }

    /// Writes a trial's record in the place of an earlier one, which keeps its place in the order.
    pub fn put_trial(&mut self, key: &str, record: &str) -> Result<()> {
        let checksum = of_trial(key, record);
        if let Some(old) = self.checksum_of(key)? {
            self.trials.remove(old);
        }
        self.trials.add(number(&checksum)?);
        let sql = "INSERT INTO trials (key, record, checksum) VALUES (?1, ?2, ?3)
                   ON CONFLICT (key) DO UPDATE SET record = excluded.record, checksum = excluded.checksum";
        self.transaction.prepare_cached(sql)?.execute(params![key, record, checksum])?;
        Ok(())
    }

    pub fn put_epoch(&mut self, key: &str, epoch: i64, row: &str) -> Result<()> {
        let checksum = of_epoch(key, epoch, row);
        self.epochs.add(number(&checksum)?);
        let sql = "INSERT INTO epochs (key, epoch, row, checksum) VALUES (?1, ?2, ?3, ?4)";
        self.transaction.prepare_cached(sql)?.execute(params![key, epoch, row, checksum])?;
        Ok(())
    }

    pub fn remove_epochs(&mut self, key: &str) -> Result<()> {
        let mut statement = self.transaction.prepare_cached("DELETE FROM epochs WHERE key = ?1 RETURNING checksum")?;
        let removed = statement.query_map(params![key], |row| row.get::<_, String>(0))?;
        for checksum in removed {
            self.epochs.remove(number(&checksum?)?);
        }
        Ok(())
    }

    /// Removes a trial with its epochs; false where there was none.
    pub fn remove_trial(&mut self, key: &str) -> Result<bool> {
        self.remove_epochs(key)?;
        let Some(old) = self.checksum_of(key)? else { return Ok(false) };
        self.trials.remove(old);
        self.transaction.execute("DELETE FROM trials WHERE key = ?1", params![key])?;
        Ok(true)
    }

    fn checksum_of(&self, key: &str) -> Result<Option<u64>> {
        let mut statement = self.transaction.prepare_cached("SELECT checksum FROM trials WHERE key = ?1")?;
        let old = statement.query_row(params![key], |row| row.get::<_, String>(0)).optional()?;
        old.map(|old| number(&old)).transpose()
    }

    /// Writes the seals.
    pub fn finish(self) -> Result<()> {
        for (table, rows) in [("trials", self.trials), ("epochs", self.epochs)] {
            rows.seal(self.transaction, table)?;
        }
        Ok(())
    }
}
