//! What all JSON files here have in common: bounded reading, one-blank indentation, hexadecimal text.

use serde::{Serialize, de::DeserializeOwned};

/// Reads a JSON value of at most `max` bytes. The error says where and why.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<T, String> {
    if bytes.len() > max {
        return Err(format!("it has more than {max} bytes"));
    }
    serde_json::from_slice(without_bom(bytes)).map_err(|error| one_line(&error.to_string()))
}

/// A file without the byte order mark that some editors put before it.
pub(crate) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The beginning of a parser's message, on one line: it may quote as much of the file as it likes.
pub(super) fn one_line(message: &str) -> String {
    const MOST: usize = 200;
    let mut line: String = message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MOST + 1)
        .collect();
    if let Some((cut, _)) = line.char_indices().nth(MOST) {
        line.truncate(cut);
        line.push_str(" ...");
    }
    line
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
        let error = read::<Nothing>(file.as_bytes(), 1 << 20).unwrap_err();
        assert!(
            error.starts_with("unknown field") && error.chars().count() == 204,
            "{error}"
        );
        assert_eq!(one_line("a\nb\u{1b}c"), "a b c");
    }
}
