//! Decisions of a searcher, in their order, with what they were based on.

use anyhow::{Context, Result, bail};
use rusqlite::{Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::{
    Journal,
    tables::{Rows, number, sealed},
};
use crate::base::seal;

/// Made with the first decision: a journal without is as it ever was.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS decisions (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    decision TEXT NOT NULL,
    checksum TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS decisions_by_key ON decisions (key);
INSERT OR IGNORE INTO seals VALUES ('decisions', 0, '0000000000000000');
";

/// A decision about a trial. Units are in the names; what is unknown is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    /// Of the trial.
    pub key: String,
    /// The round of decisions that it belongs to.
    pub round: usize,
    /// Epochs up to which it is trained; absent where it is not trained on.
    pub epochs: Option<usize>,
    /// Why, in a word.
    pub why: String,
    /// What was decided and why, in a sentence.
    pub words: String,
    pub basis: Option<NotedBasis>,
}

/// What a decision was based on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotedBasis {
    pub trained_epochs: usize,
    pub validation_accuracy: f64,
    pub point_epochs: usize,
    pub point_seconds: f64,
    pub expected_accuracy: f64,
    pub possible_accuracy: f64,
    pub accuracy_to_beat: f64,
}

impl Journal {
    /// Writes decisions from number `from` on, in the place of all that have that number or a later one.
    pub fn note(&mut self, from: usize, decisions: &[Noted]) -> Result<()> {
        let mut write = || -> Result<()> {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(TABLE)?;
            let mut rows = sealed(&transaction, "decisions")?;
            forget(&transaction, from, &mut rows)?;
            for (number_of, decision) in (from..).zip(decisions) {
                let text = serde_json::to_string(decision)?;
                let checksum = of_decision(number_of, &decision.key, &text);
                rows.add(number(&checksum)?);
                let sql = "INSERT INTO decisions (number, key, decision, checksum) VALUES (?1, ?2, ?3, ?4)";
                let values = params![number_of as i64, decision.key, text, checksum];
                transaction.prepare_cached(sql)?.execute(values)?;
            }
            rows.seal(&transaction, "decisions")?;
            Ok(transaction.commit()?)
        };
        write().map_err(|error| self.explain(error)).context("cannot write to the journal")
    }

    /// All decisions, in order.
    pub fn decisions(&self) -> Result<Vec<Noted>> {
        let read = || -> Result<Vec<Noted>> {
            let _moment = self.connection.unchecked_transaction()?;
            let there = "SELECT count(*) FROM sqlite_master WHERE name = 'decisions'";
            if self.connection.query_row(there, [], |row| row.get::<_, i64>(0))? == 0 {
                return Ok(Vec::new());
            }
            let mut statement =
                self.connection.prepare("SELECT number, key, decision, checksum FROM decisions ORDER BY number")?;
            let mut rows = statement.query([])?;
            let (mut decisions, mut found) = (Vec::new(), Rows::default());
            while let Some(row) = rows.next()? {
                let (at, key): (i64, String) = (row.get(0)?, row.get(1)?);
                let (text, checksum): (String, String) = (row.get(2)?, row.get(3)?);
                if of_decision(at as usize, &key, &text) != checksum {
                    bail!("decision {at} was changed or damaged");
                }
                found.add(number(&checksum)?);
                decisions.push(serde_json::from_str(&text).with_context(|| format!("decision {at} is damaged"))?);
            }
            self.check_seal("decisions", found)?;
            Ok(decisions)
        };
        read().map_err(|error| self.explain(error))
    }
}

fn forget(transaction: &Transaction, from: usize, rows: &mut Rows) -> Result<()> {
    let mut statement = transaction.prepare_cached("DELETE FROM decisions WHERE number >= ?1 RETURNING checksum")?;
    for checksum in statement.query_map(params![from as i64], |row| row.get::<_, String>(0))? {
        rows.remove(number(&checksum?)?);
    }
    Ok(())
}

fn of_decision(number: usize, key: &str, text: &str) -> String {
    seal::checksum(format!("{number} {key}\n{text}").as_bytes())
}
