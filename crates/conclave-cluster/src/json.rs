//! JSON as cluster files use it.
//!
//! Reading is strict where two readers could understand one file differently: a key that occurs twice in an object is
//! refused, and so are keys that differ only in letter case (Go's reader takes either for the other). Numbers are
//! unsigned integers. Unknown keys are ignored. A missing key and `null` are the same thing. A byte order mark is skipped.
//!
//! Writing gives the very bytes that Go's `encoding/json` gives with one blank of indentation and HTML escaping, which
//! is how the other software writes these files.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use conclave_eth::recognise::{why_no_json, without_bom};
use conclave_eth::text::line;

/// Most bytes of an error's place, and of what is said of it.
const MAX_SHOWN: usize = 300;

/// Why a file could not be read: where in the file, and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct JsonError {
    /// The place, such as `operators[2].enr`; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

impl JsonError {
    /// An error at `path`. Both may quote as much of the file as they like.
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        JsonError {
            path: line(&path.into(), MAX_SHOWN),
            what: line(&what.into(), MAX_SHOWN),
        }
    }
}

/// A parsed JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits into 64 bits without a sign.
    Integer(u64),
    /// A number of another kind; no known key has one.
    OtherNumber,
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// An object, in file order.
    Object(Vec<(String, Value)>),
}

/// Parses a whole file of at most `limit` bytes.
///
/// # Errors
/// Larger files, anything that is not JSON, duplicate keys, anything after the value.
pub fn parse(bytes: &[u8], limit: usize) -> Result<Value, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::new("", format!("larger than {limit} bytes")));
    }
    serde_json::from_slice(without_bom(bytes)).map_err(|error| JsonError::new("", why_no_json(&error)))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::OtherNumber)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            // Go folds more than ASCII case (a long s counts as an s, the Kelvin sign as a k).
            let folded = key.to_lowercase().replace('\u{17f}', "s");
            if !seen.insert(folded) {
                return Err(A::Error::custom(format!("the key {key:?} occurs twice")));
            }
            entries.push((key, value));
        }
        Ok(Value::Object(entries))
    }
}

/// One value of a file together with its place, so that errors can name it.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Node<'a> {
    /// The whole file.
    pub fn root(value: &'a Value) -> Self {
        Node {
            value,
            path: String::new(),
        }
    }

    /// An error at this place.
    pub fn error(&self, what: impl Into<String>) -> JsonError {
        JsonError::new(self.path.clone(), what)
    }

    /// The value under `key`; `Null` when the key is missing.
    ///
    /// # Errors
    /// If this is not an object.
    pub fn get(&self, key: &str) -> Result<Node<'a>, JsonError> {
        let Value::Object(entries) = self.value else {
            return Err(self.error("must be an object"));
        };
        let value = entries
            .iter()
            .find(|(name, _)| name == key)
            .map_or(&Value::Null, |(_, value)| value);
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Ok(Node { value, path })
    }

    /// True for `null` and for a missing key.
    pub fn is_absent(&self) -> bool {
        *self.value == Value::Null
    }

    /// The items of a list; none when absent.
    ///
    /// # Errors
    /// If this is no list or has more than `limit` items.
    pub fn list(&self, limit: usize) -> Result<Vec<Node<'a>>, JsonError> {
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::List(items) if items.len() > limit => {
                Err(self.error(format!("has {} items, more than {limit}", items.len())))
            }
            Value::List(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(i, value)| Node {
                    value,
                    path: format!("{}[{i}]", self.path),
                })
                .collect()),
            _ => Err(self.error("must be a list")),
        }
    }

    /// The text; empty when absent.
    ///
    /// # Errors
    /// If this is no text or has more than `limit` bytes.
    pub fn text(&self, limit: usize) -> Result<&'a str, JsonError> {
        match self.value {
            Value::Null => Ok(""),
            Value::Text(text) if text.len() > limit => {
                Err(self.error(format!("has {} bytes, more than {limit}", text.len())))
            }
            Value::Text(text) => Ok(text),
            _ => Err(self.error("must be text")),
        }
    }

    /// The number; 0 when absent.
    ///
    /// # Errors
    /// If this is no integer of 64 bits without a sign.
    pub fn integer(&self) -> Result<u64, JsonError> {
        match self.value {
            Value::Null => Ok(0),
            Value::Integer(number) => Ok(*number),
            _ => Err(self.error("must be a whole number from 0 to 2^64 - 1, without quotes")),
        }
    }

    /// A number that is written in quotes, in decimal digits without leading zeros.
    ///
    /// # Errors
    /// Anything else.
    pub fn quoted_integer(&self) -> Result<u64, JsonError> {
        let wrong = || self.error("must be a whole number in quotes, such as \"32000000000\"");
        let text = self.text(20)?;
        let canonical =
            text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if canonical {
            text.parse().map_err(|_| wrong())
        } else {
            Err(wrong())
        }
    }

    /// True or false; false when absent.
    ///
    /// # Errors
    /// If this is neither.
    pub fn boolean(&self) -> Result<bool, JsonError> {
        match self.value {
            Value::Null => Ok(false),
            Value::Bool(value) => Ok(*value),
            _ => Err(self.error("must be true or false")),
        }
    }

    /// Bytes in hex with `0x` before them; none for the empty text and when absent.
    ///
    /// # Errors
    /// Anything else, and more than `limit` bytes.
    pub fn hex(&self, limit: usize) -> Result<Vec<u8>, JsonError> {
        let text = self.text(2 + 2 * limit)?;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        text.strip_prefix("0x")
            .and_then(|digits| hex::decode(digits).ok())
            .ok_or_else(|| self.error("must be hex digits after 0x"))
    }

    /// Exactly `N` bytes in hex with `0x` before them.
    ///
    /// # Errors
    /// Anything else.
    pub fn hex_exact<const N: usize>(&self) -> Result<[u8; N], JsonError> {
        let bytes = self.hex(N)?;
        let length = bytes.len();
        bytes
            .try_into()
            .map_err(|_| self.error(format!("must be {N} bytes in hex, not {length}")))
    }
}

/// Writes JSON with the bytes that Go's `json.MarshalIndent(value, "", " ")` gives.
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
    /// For every open object or list: whether it has an item yet.
    open: Vec<bool>,
    /// A key was just written, so its value follows on the same line.
    after_key: bool,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes written; no newline at the end.
    pub fn finish(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    /// Writes an object whose members `write` adds with the methods that take a key.
    pub fn object(&mut self, write: impl FnOnce(&mut Self)) {
        self.nested('{', '}', write);
    }

    /// Writes a list of one item for each of `items`.
    pub fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.nested('[', ']', |writer| {
            for item in items {
                write(writer, item);
            }
        });
    }

    /// Writes the key of the value that is written next.
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.before_item();
        self.escaped(key);
        self.out.push_str(": ");
        self.after_key = true;
        self
    }

    /// Writes text.
    pub fn text(&mut self, text: &str) {
        self.before_item();
        self.escaped(text);
    }

    /// Writes `0x` and lower-case hex digits, or the empty text for no bytes.
    pub fn hex(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            self.text("");
        } else {
            self.text(&format!("0x{}", hex::encode(bytes)));
        }
    }

    /// Writes a number.
    pub fn integer(&mut self, number: u64) {
        self.before_item();
        self.out.push_str(&number.to_string());
    }

    /// Writes `true` or `false`.
    pub fn boolean(&mut self, value: bool) {
        self.before_item();
        self.out.push_str(if value { "true" } else { "false" });
    }

    /// Writes `null`.
    pub fn null(&mut self) {
        self.before_item();
        self.out.push_str("null");
    }

    fn nested(&mut self, start: char, end: char, write: impl FnOnce(&mut Self)) {
        self.before_item();
        self.out.push(start);
        self.open.push(false);
        write(self);
        if self.open.pop() == Some(true) {
            self.new_line();
        }
        self.out.push(end);
    }

    /// The comma, the line break and the indentation that stand before a key or a list's item.
    fn before_item(&mut self) {
        if std::mem::take(&mut self.after_key) {
            return;
        }
        if let Some(has_items) = self.open.last_mut() {
            if std::mem::replace(has_items, true) {
                self.out.push(',');
            }
            self.new_line();
        }
    }

    fn new_line(&mut self) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', self.open.len()));
    }

    fn escaped(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                    self.out.push_str("\\u");
                    let code = hex::encode(u32::from(c).to_be_bytes());
                    self.out.extend(code.chars().skip(4));
                }
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_are_refused_in_any_case_and_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"A":1}"#,
            r#"{"x":[{"unknown":1,"unknown":2}]}"#,
            "{\"ks\":1,\"\u{212a}\u{17f}\":2}",
        ] {
            let error = parse(text.as_bytes(), 100).unwrap_err();
            assert!(error.what.contains("occurs twice"), "{text}: {error}");
        }
        assert!(parse(br#"{"a":{"a":1}}"#, 100).is_ok());
    }

    #[test]
    fn garbage_is_refused_without_a_panic() {
        for text in ["", "{", "[1,]", "{\"a\":1} x", "\u{0}", "\"\\ud800\"", "nul"] {
            assert!(parse(text.as_bytes(), 100).is_err(), "{text}");
        }
        assert!(parse(b"[\"\xff\"]", 100).is_err());
        assert!(parse(&b"[".repeat(100_000), 1 << 20).is_err());
        assert_eq!(parse(b"[1,2,3]", 6).unwrap_err().what, "larger than 6 bytes");
    }

    #[test]
    fn values_are_read_strictly_and_errors_name_the_place() {
        let value = parse(br#"{"l":[{"n":1.5}],"q":"01","h":"0xzz","i":-1,"s":"5"}"#, 200).unwrap();
        let root = Node::root(&value);
        let item = root.get("l").unwrap().list(1).unwrap()[0].get("n").unwrap();
        assert_eq!(item.integer().unwrap_err().path, "l[0].n");
        assert!(root.get("l").unwrap().list(0).is_err());
        assert!(root.get("q").unwrap().quoted_integer().is_err());
        assert_eq!(root.get("s").unwrap().quoted_integer(), Ok(5));
        assert!(root.get("missing").unwrap().quoted_integer().is_err());
        assert!(root.get("h").unwrap().hex(32).is_err());
        assert!(root.get("i").unwrap().integer().is_err());
        assert!(root.get("s").unwrap().integer().is_err());
        assert!(root.get("s").unwrap().boolean().is_err());
        assert!(root.get("s").unwrap().get("x").is_err());
        assert!(root.get("missing").unwrap().hex_exact::<20>().is_err());
        assert!(root.get("missing").unwrap().is_absent());
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut writer = Writer::new();
        writer.text("<>&\u{2028}\u{2029}\"\\\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}\u{e9}/");
        let expected =
            "\"\\u003c\\u003e\\u0026\\u2028\\u2029\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}\u{e9}/\"";
        assert_eq!(String::from_utf8(writer.finish()).unwrap(), expected);
    }

    #[test]
    fn nesting_is_indented_by_one_blank() {
        let mut writer = Writer::new();
        writer.object(|w| {
            w.key("empty").list(Vec::<u64>::new(), Writer::integer);
            w.key("list").list([1, 2], Writer::integer);
            w.key("none").null();
            w.key("nothing").hex(&[]);
        });
        let expected =
            "{\n \"empty\": [],\n \"list\": [\n  1,\n  2\n ],\n \"none\": null,\n \"nothing\": \"\"\n}";
        assert_eq!(String::from_utf8(writer.finish()).unwrap(), expected);
    }
}
