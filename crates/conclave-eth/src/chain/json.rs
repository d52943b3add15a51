//! The Beacon API's JSON: numbers are decimal text in quotes, bytes are `0x` and hexadecimal digits.
//!
//! For `#[serde(with = "json::number")]` and `#[serde(with = "json::bytes")]`. Nothing but the one spelling is
//! read, in quotes or, as some nodes and proxies write numbers, without: what is signed must not depend on how somebody reads
//! `"0x1"`.

use std::fmt;

use serde::{
    Deserializer as D, Serializer as S,
    de::{Error as E, Visitor},
};
use serde_json::Value;

pub use crate::json::or_default;

/// Reads a decimal number of 64 bits: digits only, no sign, no leading zero.
pub fn parse_number(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

/// The digits of a number that is not negative, in quotes or without.
pub fn digits(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        _ => None,
    }
}

/// Reads exactly N bytes: `0x` and 2N hexadecimal digits in upper or lower case.
pub fn parse_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut bytes).ok()?;
    Some(bytes)
}

/// Writes bytes as the Beacon API does.
pub fn hex_text(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn text<'de, T: D<'de>>(deserializer: T) -> Result<String, T::Error> {
    serde::Deserialize::deserialize(deserializer)
}

/// For numbers in quotes and without.
struct Number;

impl Visitor<'_> for Number {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_str<T: E>(self, text: &str) -> Result<u64, T> {
        parse_number(text).ok_or_else(|| T::custom("it has a text where there should be a whole number"))
    }

    fn visit_u64<T: E>(self, number: u64) -> Result<u64, T> {
        Ok(number)
    }
}

/// A `u64`, written in quotes and read with or without.
pub mod number {
    use super::{D, Number, S};

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: S>(value: &u64, serializer: T) -> Result<T::Ok, T::Error> {
        serializer.collect_str(value)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Anything but decimal digits of a 64 bit number.
    pub fn deserialize<'de, T: D<'de>>(deserializer: T) -> Result<u64, T::Error> {
        deserializer.deserialize_any(Number)
    }
}

/// `[u8; N]` as hexadecimal text.
pub mod bytes {
    use super::{D, E, S};

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: S, const N: usize>(value: &[u8; N], serializer: T) -> Result<T::Ok, T::Error> {
        serializer.serialize_str(&super::hex_text(value))
    }

    /// Reads it.
    ///
    /// # Errors
    /// Anything but 0x and exactly 2N hexadecimal digits.
    pub fn deserialize<'de, T: D<'de>, const N: usize>(deserializer: T) -> Result<[u8; N], T::Error> {
        super::parse_bytes(&super::text(deserializer)?).ok_or_else(|| {
            T::Error::custom(format_args!(
                "it has a text where there should be 0x and {} hexadecimal digits",
                2 * N
            ))
        })
    }
}

/// Bytes of any length as hexadecimal text.
pub mod blob {
    use super::{D, E, S};

    /// Writes them.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: S>(value: &[u8], serializer: T) -> Result<T::Ok, T::Error> {
        serializer.serialize_str(&super::hex_text(value))
    }

    /// Reads them.
    ///
    /// # Errors
    /// Anything but 0x and an even number of hexadecimal digits.
    pub fn deserialize<'de, T: D<'de>>(deserializer: T) -> Result<Vec<u8>, T::Error> {
        let text = super::text(deserializer)?;
        text.strip_prefix("0x")
            .and_then(|digits| hex::decode(digits).ok())
            .ok_or_else(|| T::Error::custom("it has a text where there should be 0x and hexadecimal digits"))
    }
}
