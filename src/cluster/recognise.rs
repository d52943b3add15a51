//! What a file is, by its content: to name the one that stands in the place of another.
//!
//! People give a lock where a definition is wanted, and save the error page of a server under the name of a file. A parser would
//! only say which field is missing.

use std::fmt;

use serde::{Deserialize, de::IgnoredAny};

/// Most characters of a server's message that are repeated.
const MAX_MESSAGE: usize = 100;

/// Larger files are not looked at when they cannot be read as what they should be.
const LOOKED_AT: usize = 16 << 20;

/// What a file holds, at first sight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing, or only blanks.
    Empty,
    /// A cluster lock.
    Lock,
    /// A cluster definition.
    Definition,
    /// A keystore (EIP-2335).
    Keystore,
    /// A list of deposits.
    Deposits,
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
            metadata: Option<IgnoredAny>,
            #[serde(default)]
            message: serde_json::Value,
            #[serde(default)]
            error: serde_json::Value,
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
            return Some(Self::Deposits);
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
                metadata: Some(_), ..
            } => Some(Self::History),
            Shape { message, error, .. } => said(&message)
                .or_else(|| said(&error))
                .map(|text| Self::ErrorAnswer(crate::text::line(&text, MAX_MESSAGE))),
        }
    }
}

impl Content {
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
            Self::Lock => f.write_str("a cluster lock (what a ceremony made)"),
            Self::Definition => f.write_str("a cluster definition (what a ceremony is to make)"),
            Self::Keystore => f.write_str("a keystore"),
            Self::Deposits => f.write_str("a deposit file"),
            Self::History => f.write_str("a slashing protection history (EIP-3076)"),
            Self::Page => f.write_str("a web page that a server sent instead of the file"),
            Self::ErrorAnswer(said) => {
                write!(f, "a server's answer that something went wrong ({said:?})")
            }
            Self::Toml => f.write_str("a TOML file, such as a plan"),
        }
    }
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
    crate::ethereum::json::without_bom(bytes)
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
            ("hello", None),
            ("{\"x\":1}", None),
            ("{\"message\":1}", None),
        ] {
            assert_eq!(Content::of(text.as_bytes()), expected, "{text}");
        }
        let long = format!("{{\"message\":\"{}\\n\"}}", "x".repeat(500));
        let Some(Content::ErrorAnswer(said)) = Content::of(long.as_bytes()) else {
            panic!("not known");
        };
        assert_eq!(said.len(), MAX_MESSAGE);
    }
}
