//! SSZ by a schema that is known at run time: limits of lists come from the beacon node's preset.
//!
//! Values stay what they are on the wire, bytes. A schema checks them (every offset, every limit, every stray bit:
//! there is one encoding of a value), hashes them, finds fields, and writes and reads the Beacon API's JSON. How deep
//! it descends depends on the schema alone. Source: consensus-specs, `ssz/simple-serialize.md`.

use serde_json::{Map, Value};

use conclave_crypto::hash::Hash;

use super::{
    json::{digits, hex_text, parse_number},
    merkle::{CHUNK, chunks_root, container_root, list_root, with_length},
};

/// Bytes of an offset.
const OFFSET: usize = 4;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// An unsigned number of 64 bits.
    Number,
    /// An unsigned number of 256 bits.
    Number256,
    /// `ByteVector`: so many bytes.
    Bytes(usize),
    /// `ByteList`: at most so many bytes.
    ByteList(usize),
    /// `Bitvector`: so many bits.
    Bitvector(usize),
    /// `Bitlist`: at most so many bits.
    Bitlist(usize),
    /// So many of the same.
    Vector(Box<Schema>, usize),
    /// At most so many of the same.
    List(Box<Schema>, usize),
    /// Named fields.
    Container(Vec<(&'static str, Schema)>),
}

/// Bytes or JSON that are no value of the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SszError {
    /// The wrong number of bytes.
    #[error("a part of it has another length than such a part has")]
    Length,
    /// An offset points elsewhere than where the value before it ends.
    #[error("its parts are not where it says that they are")]
    Offset,
    /// More elements than there may be.
    #[error("a list in it has more than the {0} entries that it can have")]
    Limit(usize),
    /// Bits set beyond the end, or no end.
    #[error("a list of marks in it has no end, or marks behind its end")]
    Bits,
    /// JSON that is no such value.
    #[error("{0} is missing in it, or is not what it should be")]
    Json(String),
}

type Part<'a> = (&'a Schema, &'a [u8]);

impl Schema {
    /// A list of at most `limit` elements.
    pub fn list(element: Self, limit: usize) -> Self {
        Self::List(Box::new(element), limit)
    }

    /// Bytes of every value, if they are always the same number.
    fn fixed(&self) -> Option<usize> {
        match self {
            Self::Number => Some(8),
            Self::Number256 => Some(32),
            Self::Bytes(length) => Some(*length),
            Self::Bitvector(bits) => Some(bits.div_ceil(8)),
            Self::ByteList(_) | Self::Bitlist(_) | Self::List(..) => None,
            Self::Vector(element, length) => element.fixed()?.checked_mul(*length),
            Self::Container(fields) => fields
                .iter()
                .try_fold(0_usize, |sum, (_, field)| sum.checked_add(field.fixed()?)),
        }
    }

    /// Takes a container, vector or list apart; everything else has no parts.
    fn parts<'a>(&'a self, bytes: &'a [u8]) -> Result<Vec<Part<'a>>, SszError> {
        match self {
            Self::Container(fields) => split(fields.iter().map(|(_, field)| field), bytes),
            Self::Vector(element, length) => split(std::iter::repeat_n(&**element, *length), bytes),
            Self::List(element, limit) => {
                let count = match element.fixed() {
                    Some(size) if size > 0 && bytes.len().is_multiple_of(size) => bytes.len() / size,
                    Some(_) => return Err(SszError::Length),
                    // The first offset tells where the first element begins, so how many offsets there are.
                    None => match bytes.split_first_chunk::<OFFSET>() {
                        None if bytes.is_empty() => 0,
                        None => return Err(SszError::Length),
                        Some((first, _)) => {
                            let first = u32::from_le_bytes(*first) as usize;
                            if first == 0 || !first.is_multiple_of(OFFSET) || first > bytes.len() {
                                return Err(SszError::Offset);
                            }
                            first / OFFSET
                        }
                    },
                };
                if count > *limit {
                    return Err(SszError::Limit(*limit));
                }
                split(std::iter::repeat_n(&**element, count), bytes)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Hash tree root, 32 bytes. Checks the whole value on the way.
    ///
    /// # Errors
    /// [`SszError`] for anything but the one encoding of a value.
    pub fn root(&self, bytes: &[u8]) -> Result<Hash, SszError> {
        match self {
            Self::Number | Self::Number256 | Self::Bytes(_) => {
                let length = self.fixed().unwrap_or(0);
                if bytes.len() != length {
                    return Err(SszError::Length);
                }
                Ok(chunks_root(bytes, length.div_ceil(CHUNK)))
            }
            Self::ByteList(limit) => {
                if bytes.len() > *limit {
                    return Err(SszError::Limit(*limit));
                }
                Ok(with_length(
                    chunks_root(bytes, limit.div_ceil(CHUNK)),
                    bytes.len(),
                ))
            }
            Self::Bitvector(bits) => {
                if bytes.len() != bits.div_ceil(8) {
                    return Err(SszError::Length);
                }
                let stray = bytes
                    .last()
                    .is_some_and(|last| bits % 8 != 0 && last >> (bits % 8) != 0);
                if stray {
                    return Err(SszError::Bits);
                }
                Ok(chunks_root(bytes, bits.div_ceil(256)))
            }
            Self::Bitlist(limit) => {
                let (last, rest) = bytes.split_last().ok_or(SszError::Bits)?;
                let mark = last.checked_ilog2().ok_or(SszError::Bits)?;
                let length = rest.len() * 8 + mark as usize;
                if length > *limit {
                    return Err(SszError::Limit(*limit));
                }
                let mut bits = rest.to_vec();
                if mark > 0 {
                    bits.push(last ^ (1 << mark));
                }
                Ok(with_length(chunks_root(&bits, limit.div_ceil(256)), length))
            }
            Self::Vector(element, length) if self.is_packed(element) => {
                if self.fixed() != Some(bytes.len()) {
                    return Err(SszError::Length);
                }
                Ok(chunks_root(bytes, (length * 8).div_ceil(CHUNK)))
            }
            Self::List(element, limit) if self.is_packed(element) => {
                let count = self.parts(bytes)?.len();
                let root = chunks_root(bytes, limit.saturating_mul(8).div_ceil(CHUNK));
                Ok(with_length(root, count))
            }
            Self::Container(_) | Self::Vector(..) => Ok(container_root(&self.part_roots(bytes)?)),
            Self::List(_, limit) => Ok(list_root(&self.part_roots(bytes)?, *limit)),
        }
    }

    /// Numbers of 64 bits share chunks.
    #[allow(clippy::unused_self, reason = "reads better in guards")]
    fn is_packed(&self, element: &Self) -> bool {
        *element == Self::Number
    }

    fn part_roots(&self, bytes: &[u8]) -> Result<Vec<Hash>, SszError> {
        let parts = self.parts(bytes)?;
        parts
            .into_iter()
            .map(|(schema, bytes)| schema.root(bytes))
            .collect()
    }

    /// Whether the bytes are a value.
    ///
    /// # Errors
    /// [`SszError`] for anything but the one encoding of a value.
    pub fn check(&self, bytes: &[u8]) -> Result<(), SszError> {
        match self {
            Self::Container(_) | Self::Vector(..) | Self::List(..) => {
                let mut parts = self.parts(bytes)?.into_iter();
                parts.try_for_each(|(schema, bytes)| schema.check(bytes))
            }
            // Large blobs are not hashed for this.
            Self::Bytes(length) if bytes.len() == *length => Ok(()),
            _ => self.root(bytes).map(|_| ()),
        }
    }

    /// A field of a container, by its name.
    ///
    /// # Errors
    /// [`SszError`] when the container is not well formed; no field of this name is [`SszError::Json`].
    pub fn field<'a>(&'a self, bytes: &'a [u8], name: &str) -> Result<Part<'a>, SszError> {
        let missing = || SszError::Json(name.to_owned());
        let Self::Container(fields) = self else {
            return Err(missing());
        };
        let place = fields
            .iter()
            .position(|(field, _)| *field == name)
            .ok_or_else(missing)?;
        self.parts(bytes)?.get(place).copied().ok_or_else(missing)
    }

    /// The elements of a vector or list, or the fields of a container.
    ///
    /// # Errors
    /// [`SszError`] when the value is not well formed.
    pub fn elements<'a>(&'a self, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, SszError> {
        Ok(self.parts(bytes)?.into_iter().map(|(_, bytes)| bytes).collect())
    }

    /// The Beacon API's JSON of a value.
    ///
    /// # Errors
    /// [`SszError`] when the bytes are not a value.
    pub fn to_json(&self, bytes: &[u8]) -> Result<Value, SszError> {
        Ok(match self {
            Self::Number => {
                let number = bytes.try_into().map_err(|_| SszError::Length)?;
                Value::String(u64::from_le_bytes(number).to_string())
            }
            Self::Number256 => Value::String(decimal(bytes.try_into().map_err(|_| SszError::Length)?)),
            Self::Bytes(_) | Self::ByteList(_) | Self::Bitvector(_) | Self::Bitlist(_) => {
                self.check(bytes)?;
                Value::String(hex_text(bytes))
            }
            Self::Vector(..) | Self::List(..) => {
                let parts = self.parts(bytes)?.into_iter();
                let values: Result<_, _> = parts.map(|(schema, bytes)| schema.to_json(bytes)).collect();
                Value::Array(values?)
            }
            Self::Container(fields) => {
                let mut object = Map::new();
                for ((name, _), (schema, bytes)) in fields.iter().zip(self.parts(bytes)?) {
                    object.insert((*name).to_owned(), schema.to_json(bytes)?);
                }
                Value::Object(object)
            }
        })
    }

    /// Reads the Beacon API's JSON; gives SSZ, checked. `name` is for the error.
    ///
    /// # Errors
    /// [`SszError`] for anything that is no value.
    pub fn from_json(&self, name: &str, value: &Value) -> Result<Vec<u8>, SszError> {
        let error = || SszError::Json(name.to_owned());
        let bytes = match self {
            Self::Number => {
                let number = digits(value).and_then(|digits| parse_number(&digits));
                let number = number.ok_or_else(error)?;
                number.to_le_bytes().to_vec()
            }
            Self::Number256 => from_decimal(&digits(value).ok_or_else(error)?)
                .ok_or_else(error)?
                .to_vec(),
            Self::Bytes(_) | Self::ByteList(_) | Self::Bitvector(_) | Self::Bitlist(_) => {
                let text = value.as_str().and_then(|text| text.strip_prefix("0x"));
                let bytes = hex::decode(text.ok_or_else(error)?).map_err(|_| error())?;
                self.check(&bytes).map_err(|_| error())?;
                bytes
            }
            // A list without items, as many programs write it.
            Self::List(..) if value.is_null() => Vec::new(),
            Self::Vector(element, _) | Self::List(element, _) => {
                let values = value.as_array().ok_or_else(error)?;
                match self {
                    Self::Vector(_, length) if values.len() != *length => return Err(error()),
                    Self::List(_, limit) if values.len() > *limit => return Err(SszError::Limit(*limit)),
                    _ => {}
                }
                let is_fixed = element.fixed().is_some();
                let parts: Result<Vec<_>, _> = values
                    .iter()
                    .map(|value| Ok((is_fixed, element.from_json(name, value)?)))
                    .collect();
                join(&parts?)
            }
            Self::Container(fields) => {
                let object = value.as_object().ok_or_else(error)?;
                let mut parts = Vec::with_capacity(fields.len());
                for (name, field) in fields {
                    let value = object
                        .get(*name)
                        .ok_or_else(|| SszError::Json((*name).to_owned()))?;
                    parts.push((field.fixed().is_some(), field.from_json(name, value)?));
                }
                join(&parts)
            }
        };
        Ok(bytes)
    }
}

/// Takes bytes apart by the types of the parts, and checks that nothing is left, missing or twice.
fn split<'a>(
    schemas: impl Iterator<Item = &'a Schema> + Clone,
    bytes: &'a [u8],
) -> Result<Vec<Part<'a>>, SszError> {
    // First the fixed part, with an offset for each part of variable length.
    let mut rest = bytes;
    let mut parts: Vec<(&Schema, Result<&[u8], usize>)> = Vec::new();
    for schema in schemas {
        let (part, after) = rest
            .split_at_checked(schema.fixed().unwrap_or(OFFSET))
            .ok_or(SszError::Length)?;
        rest = after;
        let part = if schema.fixed().is_some() {
            Ok(part)
        } else {
            let offset = part.try_into().map_err(|_| SszError::Length)?;
            Err(u32::from_le_bytes(offset) as usize)
        };
        parts.push((schema, part));
    }
    // Then the parts that the offsets point to, each to where the next begins.
    let mut ends = parts
        .iter()
        .filter_map(|(_, part)| part.err())
        .skip(1)
        .chain([bytes.len()])
        .collect::<Vec<_>>()
        .into_iter();
    let mut next = bytes.len() - rest.len();
    let mut out = Vec::with_capacity(parts.len());
    let mut variable = false;
    for (schema, part) in parts {
        let part = match part {
            Ok(part) => part,
            Err(offset) => {
                variable = true;
                let end = ends.next().ok_or(SszError::Offset)?;
                if offset != next {
                    return Err(SszError::Offset);
                }
                next = end;
                bytes.get(offset..end).ok_or(SszError::Offset)?
            }
        };
        out.push((schema, part));
    }
    if variable || rest.is_empty() {
        Ok(out)
    } else {
        Err(SszError::Length)
    }
}

/// Puts parts together: fixed ones in place, the others behind, with offsets.
pub(super) fn join<T: AsRef<[u8]>>(parts: &[(bool, T)]) -> Vec<u8> {
    let fixed: usize = parts
        .iter()
        .map(|(is_fixed, bytes)| if *is_fixed { bytes.as_ref().len() } else { OFFSET })
        .sum();
    let (mut head, mut tail) = (Vec::with_capacity(fixed), Vec::new());
    for (is_fixed, bytes) in parts {
        let bytes = bytes.as_ref();
        if *is_fixed {
            head.extend_from_slice(bytes);
        } else {
            // Answers are bounded far below 4 GiB.
            let offset = u32::try_from(fixed + tail.len()).unwrap_or(u32::MAX);
            head.extend_from_slice(&offset.to_le_bytes());
            tail.extend_from_slice(bytes);
        }
    }
    head.append(&mut tail);
    head
}

/// A number of 256 bits, little-endian, in decimal.
fn decimal(mut number: [u8; 32]) -> String {
    let mut digits = Vec::new();
    while number != [0; 32] {
        let mut rest = 0_u16;
        for byte in number.iter_mut().rev() {
            let value = rest << 8 | u16::from(*byte);
            // A quotient of at most 255: the remainder before it was below 10.
            *byte = u8::try_from(value / 10).unwrap_or(u8::MAX);
            rest = value % 10;
        }
        digits.push(char::from(b'0' + u8::try_from(rest).unwrap_or(0)));
    }
    if digits.is_empty() {
        return "0".to_owned();
    }
    digits.into_iter().rev().collect()
}

/// Reads a decimal number of 256 bits: digits only, no leading zero.
fn from_decimal(text: &str) -> Option<[u8; 32]> {
    let canonical = !text.is_empty() && text.len() <= 78 && (text == "0" || !text.starts_with('0'));
    let mut number = [0; 32];
    for digit in text.bytes() {
        let mut carry = u16::from(
            char::from(digit)
                .to_digit(10)
                .and_then(|d| u8::try_from(d).ok())?,
        );
        for byte in &mut number {
            let value = u16::from(*byte) * 10 + carry;
            *byte = value.to_le_bytes()[0];
            carry = value >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    canonical.then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn example() -> Schema {
        Schema::Container(vec![
            ("a", Schema::Number),
            ("b", Schema::list(Schema::ByteList(4), 3)),
            ("c", Schema::Bitlist(9)),
            ("d", Schema::Vector(Box::new(Schema::Bytes(2)), 2)),
        ])
    }

    fn value() -> Value {
        json!({ "a": "7", "b": ["0x0102", "0x", "0x03"], "c": "0xff02", "d": ["0x0405", "0x0607"] })
    }

    #[test]
    fn there_is_one_encoding_of_a_value() {
        let schema = example();
        let bytes = schema.from_json("x", &value()).unwrap();
        assert_eq!(schema.to_json(&bytes).unwrap(), value());
        // Some write numbers without quotes.
        let mut bare = value();
        bare["a"] = json!(7);
        assert_eq!(schema.from_json("x", &bare).unwrap(), bytes);
        for number in [json!(-7), json!(7.0), json!(true), json!("07")] {
            bare["a"] = number;
            schema.from_json("x", &bare).unwrap_err();
        }
        schema.check(&bytes).unwrap();
        for end in 0..bytes.len() {
            // Shorter bytes may only be another value where a list at the end has become shorter.
            if let Ok(other) = schema.to_json(&bytes[..end]) {
                assert_eq!(schema.from_json("x", &other).unwrap(), bytes[..end]);
            }
        }
        // An offset that leaves a gap, or overlaps.
        for change in [1, 255] {
            let mut other = bytes.clone();
            other[8] = other[8].wrapping_add(change);
            assert_eq!(schema.check(&other), Err(SszError::Offset));
        }
        assert_eq!(schema.field(&bytes, "d").unwrap().1, [4, 5, 6, 7]);
        assert!(schema.field(&bytes, "e").is_err());
        assert!(Schema::Number.field(&bytes, "a").is_err());
    }

    #[test]
    fn a_list_without_items_may_be_null_and_nothing_else() {
        let schema = example();
        for key in ["a", "b", "c", "d"] {
            let with = |new| {
                let mut other = value();
                other[key] = new;
                schema.from_json("x", &other)
            };
            let null = with(Value::Null);
            if key == "b" {
                assert_eq!(null, with(json!([])));
                schema.check(&null.unwrap()).unwrap();
            } else {
                assert!(null.is_err(), "{key}");
            }
        }
    }

    #[test]
    fn limits_hold() {
        let schema = example();
        for (key, other) in [
            ("a", json!(7.5)),
            ("a", json!("18446744073709551616")),
            ("b", json!(["0x", "0x", "0x", "0x"])),
            ("b", json!(["0x0102030405"])),
            ("b", json!({})),
            ("c", json!("0xff04")),
            ("c", json!("0x00")),
            ("c", json!("0x")),
            ("d", json!(["0x0405"])),
            ("d", json!(["0x0405", "0x06"])),
            ("d", json!(["0405", "0x0607"])),
        ] {
            let mut wrong = value();
            wrong[key] = other.clone();
            assert!(schema.from_json("x", &wrong).is_err(), "{key} {other}");
        }
        let mut less = value();
        less.as_object_mut().unwrap().remove("c");
        assert_eq!(schema.from_json("x", &less), Err(SszError::Json("c".into())));
        let bits = Schema::Bitvector(4);
        bits.check(&[0b1111]).unwrap();
        assert_eq!(bits.check(&[0b1_0000]), Err(SszError::Bits));
        assert_eq!(bits.check(&[0, 0]), Err(SszError::Length));
    }

    #[test]
    fn large_numbers_are_written_in_decimal() {
        let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
        assert_eq!(decimal([255; 32]), max);
        assert_eq!(from_decimal(max), Some([255; 32]));
        assert_eq!(from_decimal("0"), Some([0; 32]));
        assert_eq!(decimal([0; 32]), "0");
        let over = max.replace("935", "936");
        for text in ["", "00", "+1", "1.", over.as_str(), "9".repeat(79).as_str()] {
            assert_eq!(from_decimal(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let schema = example();
            let root = schema.root(&bytes);
            prop_assert_eq!(root.is_ok(), schema.check(&bytes).is_ok());
            if let Ok(json) = schema.to_json(&bytes) {
                prop_assert_eq!(schema.from_json("x", &json), Ok(bytes));
            }
        }

        #[test]
        fn a_changed_value_is_another_value(at in 0_usize..40, byte: u8) {
            let schema = example();
            let bytes = schema.from_json("x", &value()).unwrap();
            let mut other = bytes.clone();
            if let Some(place) = other.get_mut(at) {
                *place = byte;
            }
            if let Ok(root) = schema.root(&other) {
                prop_assert_eq!(root == schema.root(&bytes).unwrap(), other == bytes);
            }
        }
    }
}
