//! Secrets that people give where something else is wanted: a private key for a record, a keystore's password for a name, the words of a wallet.
//! Whoever repeats what was typed asks here first, so that no secret gets onto a screen, into a log or into a message that is sent on.

use std::fmt;

use crate::text;

/// Digits of a private key, in hexadecimal: 64, of which a few may be lost where it was copied, or be there twice.
const KEY: std::ops::RangeInclusive<usize> = 60..=68;
/// Digits of the passwords that conclave and others give to keystores.
const PASSWORD: usize = 32;
/// Digits of a validator's public key.
const PUBLIC_KEY: usize = 96;
/// Words of the shortest mnemonic (BIP-39).
const WORDS: usize = 12;
/// What is shown in the place of a secret.
const UNSHOWN: &str = "(not shown: it looks like a secret)";

/// What a text looks like that must not be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// 32 bytes in hexadecimal, as in the file of an identity.
    Key,
    /// 16 bytes in hexadecimal, as beside a keystore.
    Password,
    /// Words of a wallet.
    Words,
}

impl Secret {
    /// The secret in a text, if there is one: as a word of its own, behind `=` or `:`, or as all of it, however lines were broken.
    pub fn within(text: &str) -> Option<Self> {
        let other = |c: char| !c.is_ascii_alphanumeric();
        // As mail breaks and quotes it, and chats fill it with what is not seen.
        let lines = text.lines().map(|line| line.trim_start_matches(['>', ' ', '\t']));
        let seen = |c: &char| !c.is_whitespace() && !text::is_unprintable(*c);
        let joined: String = lines.flat_map(|line| line.chars().filter(seen)).collect();
        let whole: Vec<&str> = joined.split(other).chain([joined.as_str()]).collect();
        // A validator's public key may be broken at any place.
        let is_public = whole
            .iter()
            .any(|word| digits(word).is_some_and(|digits| digits.len() == PUBLIC_KEY));
        let tokens = text.split(other).filter(|_| !is_public);
        let found = tokens.chain(whole).filter_map(Self::of_word);
        // A key is worse than a password.
        let found = found.min_by_key(|secret| *secret != Self::Key);
        found.or_else(|| has_mnemonic(text).then_some(Self::Words))
    }

    fn of_word(word: &str) -> Option<Self> {
        match digits(word)?.len() {
            length if KEY.contains(&length) => Some(Self::Key),
            PASSWORD => Some(Self::Password),
            _ => None,
        }
    }

    /// Why it is not shown: one line.
    pub fn why(self) -> &'static str {
        match self {
            Self::Key => {
                "64 hexadecimal digits are what a private key looks like, such as the one in charon-enr-private-key: do not send it to anybody. It is \
                 not shown here"
            }
            Self::Password => {
                "32 hexadecimal digits are what the password of a keystore looks like, such as in keystore-0.txt: do not send it to anybody. It is \
                 not shown here"
            }
            Self::Words => {
                "these are words as the mnemonic of a wallet has them: do not send them to anybody, and type them nowhere but in your wallet. They are \
                 not shown here"
            }
        }
    }

    /// What whoever gave it does now: one line.
    pub fn what_to_do(self) -> &'static str {
        match self {
            Self::Key => {
                "give what is asked for instead; an operator's record begins with enr: and is what `conclave identity show` says. Whoever has sent a \
                 private key to somebody must make a new identity, in a new folder: conclave identity new"
            }
            Self::Password => {
                "give what is asked for instead. Whoever has sent the password of a keystore to somebody tells the group: together with the keystore it \
                 is the share"
            }
            Self::Words => {
                "give what is asked for instead. If anybody else may have seen these words, move what is in that wallet to a new one"
            }
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "a secret key",
            Self::Password => "the password of a keystore",
            Self::Words => "the words of a wallet",
        })
    }
}

/// What a person typed or wrote, as it may be repeated: on one line, of at most so many bytes, without secrets.
pub fn quoted(text: &str, most: usize) -> String {
    if Secret::within(text).is_some() {
        UNSHOWN.to_owned()
    } else {
        text::line(text, most)
    }
}

/// The digits of a word that is all hexadecimal, without `0x`.
fn digits(word: &str) -> Option<&str> {
    let prefixed = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let digits = prefixed.unwrap_or(word);
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then_some(digits)
}

fn has_mnemonic(text: &str) -> bool {
    let mut run = 0;
    for word in text
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
    {
        let known = bip39::Language::English.find_word(&word.to_lowercase()).is_some();
        run = if known { run + 1 } else { 0 };
        if run == WORDS {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "b216d91124cb93ab3fe8b0ae9728e4e1755589aeb216d91124cb93ab3fe8b0ae";

    #[test]
    fn secrets_are_known_wherever_they_stand() {
        let (head, tail) = HEX.split_at(30);
        for text in [
            HEX.to_owned(),
            format!("0x{HEX}"),
            format!("0X{}", HEX.to_uppercase()),
            format!("dave={HEX}"),
            HEX[2..].to_owned(),
            format!("{HEX}00"),
            format!("dave=enr:{HEX}"),
            format!("--operator 'dave={HEX}'\n"),
            format!("{head}\n{tail}\n"),
            format!("dave={head}\n{tail}"),
            format!("> {head}\n> {tail}"),
            format!("dave={head}\u{200b}{tail}"),
            format!("/ip4/1.2.3.4/tcp/1/p2p/{HEX}"),
            // A key is told of before a password that stands before it.
            format!("c7077e17b9c26a2ffa2afdda9296918b,{HEX}"),
        ] {
            assert_eq!(Secret::within(&text), Some(Secret::Key), "{text}");
            let shown = quoted(&text, 100);
            assert!(
                !shown.contains(&HEX[..8]) && !shown.contains(&HEX[56..]),
                "{shown}"
            );
        }
        for text in [
            "c7077e17b9c26a2ffa2afdda9296918b",
            "x=c7077e17b9c26a2ffa2afdda9296918b\n",
        ] {
            assert_eq!(Secret::within(text), Some(Secret::Password), "{text}");
        }
        let words = "abandon ability able about above absent absorb abstract absurd abuse access accident";
        assert_eq!(Secret::within(&format!("  {words}\n")), Some(Secret::Words));
        assert_eq!(Secret::within(&words.to_uppercase()), Some(Secret::Words));
        for text in [
            "",
            "alice",
            "0x71C7656EC7ab88b098defB751B7401B5f6d8976F",
            &HEX[..40],
            &HEX[..58],
            // As long as the public key of a validator, and one that mail broke.
            &format!("{HEX}{}", &HEX[..32]),
            &format!("0x{HEX}\n{}", &HEX[..32]),
            "the group of those who are able to meet about once in every other year or so",
            "16Uiu2HAm7zGMtKcRp7kQsW5sUxHmWXoxY3b9jQ2yWAcj5p4pvSNd",
        ] {
            assert_eq!(Secret::within(text), None, "{text}");
            assert_eq!(quoted(text, 100), text.replace('\n', " "));
        }
    }
}
