//! What a file is, by its content, and what is wrong with one that cannot be read: in words for people who know no parser.
//!
//! People give a lock where a definition is wanted, save the error page of a server under the name of a file, and carry files through
//! mail programs and full disks. A parser would only say which field is missing, or where it met a character that it did not expect.

use std::fmt;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::error::Category;

/// Most characters of a server's message that are repeated.
const MAX_MESSAGE: usize = 100;

/// Most characters of a name or a value that is repeated.
const MAX_QUOTED: usize = 60;

/// So many bytes at its beginning tell whether a file is text.
const BEGINNING: usize = 4096;

/// Larger files are not looked at when they cannot be read as what they should be.
const LOOKED_AT: usize = 16 << 20;

/// What a file holds, at first sight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing, or only blanks.
    Empty,
    /// Zero bytes only.
    Zeros,
    /// Text in UTF-16.
    Utf16,
    /// A file that a program packed; which kind.
    Packed(&'static str),
    /// An archive of a folder, encrypted.
    Archive,
    /// A transcript or evidence.
    Record,
    /// No text.
    Binary,
    /// A cluster lock.
    Lock,
    /// A cluster definition.
    Definition,
    /// A keystore (EIP-2335).
    Keystore,
    /// A list of deposits.
    Deposits,
    /// One operator's part of a voluntary exit.
    ExitPart,
    /// A signed voluntary exit.
    Exit,
    /// A slashing protection history (EIP-3076).
    History,
    /// A web page.
    Page,
    /// The answer of a server that could not do what it was asked; its words, cut and on one line.
    ErrorAnswer(String),
    /// A ceremony plan, or another TOML file.
    Toml,
}

impl Content {
    /// Looks at a file; `None` when it is nothing that is known here.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Shape {
            cluster_definition: Option<IgnoredAny>,
            config_hash: Option<IgnoredAny>,
            num_validators: Option<IgnoredAny>,
            crypto: Option<IgnoredAny>,
            partial_signature: Option<IgnoredAny>,
            metadata: Option<IgnoredAny>,
            #[serde(default)]
            message: serde_json::Value,
            #[serde(default)]
            error: serde_json::Value,
        }
        if let Some(other) = Self::of_no_text(bytes) {
            return Some(other);
        }
        let bytes = without_bom(bytes).trim_ascii();
        match bytes.first() {
            None => return Some(Self::Empty),
            Some(b'<') => return Some(Self::Page),
            Some(b'{' | b'[') => {}
            Some(_) => return toml_like(bytes).then_some(Self::Toml),
        }
        // A list of TOML tables begins like one of JSON.
        if bytes.starts_with(b"[[") && toml_like(bytes) {
            return Some(Self::Toml);
        }
        if bytes.starts_with(b"[") {
            let whole = serde_json::from_slice::<Vec<IgnoredAny>>(bytes);
            return whole.is_ok().then_some(Self::Deposits);
        }
        let shape: Shape = serde_json::from_slice(bytes).ok()?;
        let said = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Object(inner) => inner.get("message")?.as_str().map(str::to_owned),
            _ => None,
        };
        match shape {
            Shape {
                cluster_definition: Some(_),
                ..
            } => Some(Self::Lock),
            Shape {
                config_hash: Some(_), ..
            }
            | Shape {
                num_validators: Some(_),
                ..
            } => Some(Self::Definition),
            Shape { crypto: Some(_), .. } => Some(Self::Keystore),
            Shape {
                partial_signature: Some(_),
                ..
            } => Some(Self::ExitPart),
            Shape { message, .. } if message.get("validator_index").is_some() => Some(Self::Exit),
            Shape {
                metadata: Some(_), ..
            } => Some(Self::History),
            Shape { message, error, .. } => said(&message)
                .or_else(|| said(&error))
                .map(|text| Self::ErrorAnswer(crate::text::line(&text, MAX_MESSAGE))),
        }
    }
}

impl Content {
    /// What a file is that nobody wrote as text in UTF-8.
    fn of_no_text(bytes: &[u8]) -> Option<Self> {
        let begins = |beginnings: &[&[u8]]| beginnings.iter().any(|beginning| bytes.starts_with(beginning));
        if bytes.is_empty() {
            return Some(Self::Empty);
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Some(Self::Zeros);
        }
        // With its mark, or as ASCII is without one.
        if begins(&[b"\xff\xfe", b"\xfe\xff"])
            || matches!(bytes, [0, b' '..=b'~', 0, ..] | [b' '..=b'~', 0, _, 0, ..])
        {
            return Some(Self::Utf16);
        }
        for (kind, beginning) in [
            ("gzip", &b"\x1f\x8b"[..]),
            ("zip", b"PK\x03\x04"),
            ("xz", b"\xfd7zXZ\0"),
            ("zstd", b"\x28\xb5\x2f\xfd"),
            ("bzip2", b"BZh"),
            ("7z", b"7z\xbc\xaf\x27\x1c"),
        ] {
            if begins(&[beginning]) {
                return Some(Self::Packed(kind));
            }
        }
        if begins(&[b"age-encryption.org/", b"-----BEGIN AGE ", b"conclave/export/"]) {
            return Some(Self::Archive);
        }
        if begins(&[b"conclave/transcript/", b"conclave/evidence/"]) {
            return Some(Self::Record);
        }
        let is_control = |byte: &u8| matches!(byte, 0..=8 | 14..=26 | 28..=31);
        let beginning = bytes.get(..BEGINNING).unwrap_or(bytes);
        beginning.iter().any(is_control).then_some(Self::Binary)
    }

    /// Whether a copy of the file that is wanted may have become this on its way or on a disk: it is none of the other files that
    /// people have.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Empty
                | Self::Zeros
                | Self::Utf16
                | Self::Packed(_)
                | Self::Binary
                | Self::Page
                | Self::ErrorAnswer(_)
        )
    }

    /// What a file is that could not be read as what was `wanted`, if it is something else. Large files are not looked at again.
    pub fn instead_of(wanted: &Self, bytes: &[u8]) -> Option<Self> {
        let small = bytes.get(..LOOKED_AT).is_none();
        small.then(|| Self::of(bytes))?.filter(|found| found != wanted)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("an empty file"),
            Self::Zeros => {
                f.write_str("a file of nothing but zero bytes, as a crash or a full disk leaves one behind")
            }
            Self::Utf16 => f.write_str(
                "text in UTF-16, as some editors and shells of Windows write it (save it as UTF-8)",
            ),
            Self::Packed(kind) => write!(f, "a packed file ({kind}; unpack it first)"),
            Self::Archive => f.write_str("the encrypted archive of a folder"),
            Self::Record => f.write_str("a transcript of a ceremony, or evidence of a fault in one"),
            Self::Binary => f.write_str("a file of another kind, or a damaged one: it holds no text"),
            Self::Lock => f.write_str("a cluster lock (what a ceremony made)"),
            Self::Definition => f.write_str("a cluster definition (what a ceremony is to make)"),
            Self::Keystore => f.write_str("a keystore"),
            Self::Deposits => f.write_str("a deposit file"),
            Self::ExitPart => f.write_str("one operator's part of a voluntary exit"),
            Self::Exit => f.write_str("a signed voluntary exit"),
            Self::History => f.write_str("a slashing protection history (EIP-3076)"),
            Self::Page => f.write_str("a web page that a server sent instead of the file"),
            Self::ErrorAnswer(said) => {
                write!(f, "a server's answer that something went wrong ({said:?})")
            }
            Self::Toml => f.write_str("a TOML file, such as a plan"),
        }
    }
}

/// Reads a JSON file; a byte order mark before it does not matter. `wanted` is what it should be.
///
/// # Errors
/// What is wrong with the file, in words for people.
pub fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8], wanted: &Content) -> Result<T, String> {
    serde_json::from_slice(without_bom(bytes)).map_err(|error| why_unread(bytes, wanted, &error))
}

/// What is wrong with a JSON file of which a parser says `error`: it is another file, or none at all, or it is cut off, or else where it
/// is damaged or what does not belong there.
pub fn why_unread(bytes: &[u8], wanted: &Content, error: &serde_json::Error) -> String {
    match Content::instead_of(wanted, bytes) {
        Some(other) => format!("it is {other}"),
        None => why_no_json(error),
    }
}

/// What a parser of JSON says, in words for people, on one line.
pub fn why_no_json(error: &serde_json::Error) -> String {
    let place = match error.line() {
        0 => String::new(),
        line => format!(" (line {line}, column {})", error.column()),
    };
    match error.classify() {
        Category::Eof => format!("it is cut off: it ends in the middle{place}"),
        Category::Syntax => {
            let said = error.to_string();
            let why = if said.starts_with("trailing characters") {
                "something stands after its end"
            } else if said.starts_with("recursion limit") {
                "it is nested deeper than any such file"
            } else {
                "it is no JSON, or it was damaged: something stands there that does not belong there"
            };
            format!("{why}{place}")
        }
        Category::Data | Category::Io => {
            let said = error.to_string();
            let message = said
                .rfind(" at line ")
                .and_then(|end| said.get(..end))
                .unwrap_or(&said);
            format!("{}{place}", plain(message))
        }
    }
}

/// What is wrong with a TOML file of which a parser says `error`, and in which line.
pub fn why_no_toml(text: &str, error: &toml::de::Error) -> String {
    if let Some(other) = Content::instead_of(&Content::Toml, text.as_bytes()) {
        return format!("it is {other}");
    }
    let start = error.span().map_or(0, |span| span.start);
    let line = 1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count();
    let ends = start > 0 && start >= text.trim_end().len() && error.message().starts_with("unclosed");
    if ends {
        format!("line {line}: it is cut off: it ends in the middle")
    } else if toml::from_str::<toml::Table>(text).is_err() {
        let written = text.lines().nth(line - 1).unwrap_or_default();
        let value = written.split_once('=').map_or("", |(_, value)| value).trim();
        let is_word = value.starts_with(char::is_alphabetic)
            && value.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        let why = if let Some(quote) = written.chars().find(|c| crate::text::is_typographic_quote(*c)) {
            return format!(
                "line {line}: it has a typographic quote ({quote}), as word processors and chats make them: write plain ones (\")"
            );
        } else if is_word {
            return format!(
                "line {line}: {} is no value: a number is written in digits, and a text in quotes",
                crate::secret_text::quoted(value, MAX_QUOTED)
            );
        } else if error.message().starts_with("duplicate key") {
            "it has the same name twice"
        } else {
            "it is not written as such a file is: a name, =, and a value on each line, and texts in quotes"
        };
        format!("line {line}: {why}")
    } else {
        format!("line {line}: {}", plain(error.message()))
    }
}

/// What serde says of a value, without the names of our types.
fn plain(message: &str) -> String {
    let quoted = |text: &str| crate::secret_text::quoted(text, MAX_QUOTED);
    let named = |text: &str| quoted(text.split('`').next().unwrap_or(text));
    if let Some(rest) = message.strip_prefix("missing field `") {
        return format!("\"{}\" is missing in it", named(rest));
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return format!("it has \"{}\", which does not belong there", named(rest));
    }
    if let Some(rest) = message.strip_prefix("duplicate field `") {
        return format!("it has \"{}\" twice", named(rest));
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        return format!("it says \"{}\", which means nothing there", named(rest));
    }
    if message.starts_with("data did not match any variant") {
        return "it has something that has none of the forms that it can have there".to_owned();
    }
    let found = ["invalid type: ", "invalid value: ", "invalid length "]
        .iter()
        .find_map(|beginning| message.strip_prefix(beginning)?.rsplit_once(", expected "));
    let Some((found, expected)) = found else {
        return crate::text::line(message, 3 * MAX_QUOTED);
    };
    let value = |kind: &str| {
        found
            .strip_prefix(kind)
            .map(|value| quoted(value.trim_matches(['`', '"'])))
    };
    let found = match found {
        "null" | "unit value" => "nothing (null)".to_owned(),
        count if count.bytes().all(|byte| byte.is_ascii_digit()) => format!("a list of {count}"),
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => value("string ")
            .map(|text| format!("the text \"{text}\""))
            .or_else(|| {
                value("integer ")
                    .or_else(|| value("floating point "))
                    .map(|number| format!("the number {number}"))
            })
            .or_else(|| value("boolean "))
            .unwrap_or_else(|| quoted(found)),
    };
    let expected = match expected {
        "a map" => "an object",
        "a sequence" => "a list",
        "str" | "string" | "a string" | "a borrowed string" => "text",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "i64" | "f64" => "a number",
        kind if kind.starts_with("struct ") => "an object",
        kind if kind.starts_with("a ") || kind.starts_with("an ") => kind,
        _ => "something else",
    };
    format!("it has {found} where there should be {}", quoted(expected))
}

/// Whether the first line that says anything is a table or a value of TOML.
fn toml_like(bytes: &[u8]) -> bool {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut said = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    said.next().is_some_and(|line| {
        let table = line.starts_with(b"[") && line.ends_with(b"]") && !line.contains(&b'"');
        let name = line
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let value = name.len() < line.len()
            && !name.is_empty()
            && name
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        table || value
    })
}

/// A file without the byte order mark that some editors put before it.
pub fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_content() {
        for (text, expected) in [
            ("", Some(Content::Empty)),
            (" \n", Some(Content::Empty)),
            ("\u{feff}{\"cluster_definition\":{}}", Some(Content::Lock)),
            ("{\"config_hash\":\"0x\"}", Some(Content::Definition)),
            ("{\"num_validators\":1}", Some(Content::Definition)),
            ("{\"crypto\":{}}", Some(Content::Keystore)),
            ("[{}]", Some(Content::Deposits)),
            ("{\"metadata\":{},\"data\":[]}", Some(Content::History)),
            ("<!DOCTYPE html>", Some(Content::Page)),
            (
                "{\"message\":\"not found\"}",
                Some(Content::ErrorAnswer("not found".into())),
            ),
            ("{\"error\":\"no\"}", Some(Content::ErrorAnswer("no".into()))),
            (
                "{\"error\":{\"code\":1,\"message\":\"no\"}}",
                Some(Content::ErrorAnswer("no".into())),
            ),
            ("# a plan\nname = \"x\"\n", Some(Content::Toml)),
            ("[[operators]]\nname = \"x\"", Some(Content::Toml)),
            ("\0\0\0\0", Some(Content::Zeros)),
            ("{\0\"\0", Some(Content::Utf16)),
            ("PK\u{3}\u{4}abc", Some(Content::Packed("zip"))),
            ("age-encryption.org/v1\n", Some(Content::Archive)),
            ("conclave/transcript/1\n\0", Some(Content::Record)),
            ("abc\0\u{1}", Some(Content::Binary)),
            ("{\"partial_signature\":\"0x\"}", Some(Content::ExitPart)),
            ("{\"message\":{\"validator_index\":\"1\"}}", Some(Content::Exit)),
            ("hello", None),
            ("{\"x\":1}", None),
            ("{\"message\":1}", None),
        ] {
            assert_eq!(Content::of(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(Content::of(b"\xff\xfe{\0"), Some(Content::Utf16));
        assert_eq!(Content::of(b"\x1f\x8b\x08"), Some(Content::Packed("gzip")));
        let long = format!("{{\"message\":\"{}\\n\"}}", "x".repeat(500));
        let Some(Content::ErrorAnswer(said)) = Content::of(long.as_bytes()) else {
            panic!("not known");
        };
        assert_eq!(said.len(), MAX_MESSAGE);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_the_words_of_a_parser() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)] // what counts is the error
        struct Inner {
            number: u64,
        }
        #[derive(Debug, Deserialize)]
        #[allow(dead_code)]
        struct Outer {
            name: String,
            inner: Inner,
        }
        let good = r#"{"name":"x","inner":{"number":5}}"#;
        assert!(json::<Outer>(format!("\u{feff}{good}").as_bytes(), &Content::Keystore).is_ok());
        for (text, expected) in [
            ("", "an empty file"),
            ("\r\n ", "an empty file"),
            (&good[..20], "cut off"),
            ("{", "cut off"),
            ("[", "cut off"),
            ("<html>", "a web page"),
            ("\0\0\0", "zero bytes"),
            ("{\0\"\0a\0", "UTF-16"),
            ("PK\u{3}\u{4}", "a packed file (zip"),
            (r#"{"name":"\u{0}\u{0}"}"#, "damaged"),
            (
                r#"{"name" "x"}"#,
                "damaged: something stands there that does not belong there (line 1, column 9)",
            ),
            (
                r#"{"name":"x","inner":{"number":5}}{"#,
                "something stands after its end (line 1, column 34)",
            ),
            (r#"{"inner":{"number":5}}"#, "\"name\" is missing in it (line 1"),
            (
                r#"{"name":"x","inner":{"nummer":5}}"#,
                "it has \"nummer\", which does not belong there",
            ),
            (r#"{"name":"x","name":"y"}"#, "it has \"name\" twice"),
            (
                r#"{"name":"x","inner":null}"#,
                "it has nothing (null) where there should be an object",
            ),
            (
                r#"{"name":[],"inner":null}"#,
                "it has a list where there should be text",
            ),
            (
                r#"{"name":{},"inner":null}"#,
                "it has an object where there should be text",
            ),
            (
                r#"{"name":"x","inner":{"number":"5"}}"#,
                "it has the text \"5\" where there should be a whole number",
            ),
            (
                r#"{"name":"x","inner":{"number":-5}}"#,
                "it has the number -5 where",
            ),
            (r#"{"name":"x","inner":{"number":true}}"#, "it has true where"),
            (r#"{"cluster_definition":{}}"#, "it is a cluster lock"),
            (r#"{"message":"no"}"#, "a server's answer"),
        ] {
            let text = text.replace("\\u{0}", "\0");
            let why = json::<Outer>(text.as_bytes(), &Content::Keystore).unwrap_err();
            assert!(why.contains(expected), "{text:?}: {why}");
            for word in [
                "EOF", "expected", "struct", "Inner", "invalid", "parsing", "sequence", "map",
            ] {
                assert!(!why.contains(word), "{text:?}: {why}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_toml_file_is_said_too() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)] // what counts is the error
        struct File {
            number: u64,
        }
        for (text, expected) in [
            ("<html>", "it is a web page"),
            ("{\"metadata\":{}}", "slashing protection history"),
            (
                "number = \"5\"",
                "line 1: it has the text \"5\" where there should be a whole number",
            ),
            (
                "number = 5\nnummer = 6",
                "line 2: it has \"nummer\", which does not belong there",
            ),
            ("# nothing\nother = 5", "\"other\""),
            ("number", "line 1: it is not written as such a file is"),
            (
                "number = five",
                "line 1: five is no value: a number is written in digits",
            ),
            ("number = \u{201c}5\u{201d}", "line 1: it has a typographic quote"),
            ("number = 5\nnumber = 6", "line 2: it has the same name twice"),
            ("number = [5", "cut off"),
        ] {
            let error = toml::from_str::<File>(text).unwrap_err();
            let why = why_no_toml(text, &error);
            assert!(why.contains(expected), "{text:?}: {why}");
            for word in [
                "EOF", "expected", "struct", "invalid", "parse", "literal", "newline",
            ] {
                assert!(!why.contains(word), "{text:?}: {why}");
            }
        }
    }
}
