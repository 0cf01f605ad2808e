//! Small files that know when they were damaged: JSON objects and TOML tables that carry a checksum of what they say.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use anyhow::{Context, Result, bail};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The key under which a sealed object keeps its checksum.
const KEY: &str = "checksum";

/// The SHA-256 of `bytes`, in 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The same of all that `reader` gives, which is never in memory as a whole.
///
/// # Errors
/// What reading fails with.
pub fn sha256_of(mut reader: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// Two lower-case digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first 16 of those digits.
pub fn checksum(bytes: &[u8]) -> String {
    sha256(bytes)[..16].to_string()
}

/// `value`, which must be an object in JSON, indented and with a last key `checksum`.
pub fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut object = serde_json::to_value(value)?;
    let sum = checksum(object.to_string().as_bytes());
    match &mut object {
        Value::Object(keys) => keys.insert(KEY.into(), Value::from(sum)),
        other => bail!("only an object can be sealed, not {other}"),
    };
    Ok(serde_json::to_vec_pretty(&object)?)
}

/// Reads what [`to_json`] wrote.
///
/// Errors: no JSON; no checksum, or not that of what is there; another shape than T's.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut object: Value = serde_json::from_slice(bytes).context("it is no JSON")?;
    let Some(Value::String(sum)) = object.as_object_mut().and_then(|keys| keys.remove(KEY)) else {
        bail!("it has no checksum");
    };
    if checksum(object.to_string().as_bytes()) != sum {
        bail!("it was changed or damaged: its checksum is not that of its content");
    }
    Ok(serde_json::from_value(object)?)
}

/// `value`, which must be a table in TOML, with a key `checksum`.
pub fn to_toml(value: &impl Serialize) -> Result<String> {
    let mut table = toml::Table::try_from(value)?;
    table.insert(KEY.into(), of_table(&table)?.into());
    Ok(toml::to_string_pretty(&table)?)
}

/// Reads what [`to_toml`] wrote.
///
/// Errors: no TOML; no checksum, or not that of what is there; another shape than T's.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T> {
    let mut table: toml::Table = toml::from_str(text)?;
    let Some(toml::Value::String(sum)) = table.remove(KEY) else { bail!("it has no checksum") };
    if of_table(&table)? != sum {
        bail!("it was changed or damaged: its checksum is not that of its content");
    }
    Ok(table.try_into()?)
}

/// The checksum of a table, whatever the order of its keys.
fn of_table(table: &toml::Table) -> Result<String> {
    let keys: BTreeMap<&String, &toml::Value> = table.iter().collect();
    Ok(checksum(serde_json::to_string(&keys)?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_changed_byte_is_read_as_another_value() {
        let value: BTreeMap<String, f64> = [("a".into(), 0.1 + 0.2), ("b".into(), 1e-300), ("c".into(), -0.0)].into();
        let sealed = to_json(&value).unwrap();
        assert_eq!(from_json::<BTreeMap<String, f64>>(&sealed).unwrap(), value);
        for at in 0..sealed.len() {
            assert!(from_json::<BTreeMap<String, f64>>(&sealed[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = sealed.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(read) = from_json::<BTreeMap<String, f64>>(&damaged) {
                    assert_eq!(read, value, "byte {at} bit {bit}");
                }
            }
        }
    }
}
