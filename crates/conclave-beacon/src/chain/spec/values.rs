//! The named values of a specification.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use conclave_eth::{chain::json, recognise::why_no_json};

use super::SpecError;

#[derive(Deserialize)]
struct SpecFile {
    data: BTreeMap<String, Value>,
}

/// The named values of a specification.
#[derive(Default)]
pub(super) struct Values(BTreeMap<String, Value>);

impl Values {
    /// Reads the answer to `/eth/v1/config/spec`, whose length was looked at before.
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, SpecError> {
        let file: SpecFile =
            serde_json::from_slice(bytes).map_err(|error| SpecError::Malformed(why_no_json(&error)))?;
        Ok(Self(file.data))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// A number, quoted as the Beacon API says, or bare as some tools write it.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, SpecError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => json::parse_number(text)
                .map(Some)
                .ok_or_else(|| SpecError::Range(key.to_owned())),
            Some(Value::Number(number)) => number
                .as_u64()
                .map(Some)
                .ok_or_else(|| SpecError::Range(key.to_owned())),
            Some(_) => Err(SpecError::Range(key.to_owned())),
        }
    }

    pub(super) fn version(&self, key: &str) -> Result<[u8; 4], SpecError> {
        let text = self.text(key).ok_or_else(|| SpecError::Missing(key.to_owned()))?;
        json::parse_bytes(text).ok_or_else(|| SpecError::Range(key.to_owned()))
    }

    pub(super) fn required(&self, key: &str, min: u64, max: u64) -> Result<u64, SpecError> {
        let value = self
            .number(key)?
            .ok_or_else(|| SpecError::Missing(key.to_owned()))?;
        in_range(key, value, min, max)
    }
}

pub(super) fn in_range(key: &str, value: u64, min: u64, max: u64) -> Result<u64, SpecError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(SpecError::Range(key.to_owned()))
    }
}
