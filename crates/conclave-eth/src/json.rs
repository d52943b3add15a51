//! What all JSON files here have in common: bounded reading, one-blank indentation, hexadecimal text.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::{
    recognise::{self, Content},
    text::line,
};

/// Most bytes of a name that is repeated.
const MAX_NAME: usize = 60;

/// Reads a JSON value of at most `max` bytes, which should be what is `wanted`. The error says what is wrong with the file.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], max: usize, wanted: &Content) -> Result<T, String> {
    if bytes.len() > max {
        return Err(format!("it has more than {max} bytes"));
    }
    let value = recognise::json(bytes, wanted)?;
    // Whatever is ignored must not be something that another reader takes for what is read here.
    recognise::json::<Distinct>(bytes, wanted)?;
    Ok(value)
}

/// A value in no object of which a name stands twice, or differs from another only in the case of its letters: programs differ in which of them
/// they take.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            if !names.insert(name.to_lowercase()) {
                return Err(A::Error::custom(format!(
                    "it has \"{}\" twice",
                    line(&name, MAX_NAME)
                )));
            }
            fields.next_value::<Self>()?;
        }
        Ok(self)
    }
}

/// For `#[serde(default, deserialize_with = "...")]` of everything that may be left out: `null` is absent. Many programs
/// write it for what they do not know, and for lists without items.
///
/// # Errors
/// Anything else that is no such value.
pub fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Writes a JSON value with one blank per level and no newline at the end.
pub(super) fn write<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    // Plain structs of text and numbers into memory: there is nothing that could fail.
    value.serialize(&mut serializer).expect("serialising to memory");
    bytes
}

/// Reads exactly N bytes in hexadecimal, without `0x`. `what` names the value in the error.
pub(super) fn hex_array<const N: usize>(what: &str, text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(format!("{what} is not {} hexadecimal digits", 2 * N)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_do_not_quote_whole_files() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let file = format!("{{\"{}\": 1}}", "\u{e9}".repeat(5000));
        let error = read::<Nothing>(file.as_bytes(), 1 << 20, &Content::Keystore).unwrap_err();
        assert!(
            error.contains(" ...\", which does not belong there") && error.len() <= 200,
            "{error}"
        );
    }
}
