//! Secrets that people give where something else is wanted: a private key for a record, a keystore's password for a name, the words of a wallet.
//! Whoever repeats what was typed asks here first, so that no secret gets onto a screen, into a log or into a message that is sent on.

use std::fmt;

use crate::text;

/// Digits of a private key, in hexadecimal: 64, of which a few may be lost where it was copied, or be there twice.
const KEY: std::ops::RangeInclusive<usize> = 60..=68;
/// Digits of a private key of which nothing is lost.
const KEY_DIGITS: usize = 64;
/// Digits of the passwords that conclave and others give to keystores.
const PASSWORD: usize = 32;
/// Digits of a validator's public key.
const PUBLIC_KEY: usize = 96;
/// Digits of a BLS signature.
const SIGNATURE: usize = 192;
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
    /// The secret in a text, if there is one: as a word of its own, behind `=` or `:`, or broken into several words, as mail and chats break what is
    /// long. A validator's public key is none, wherever it is broken.
    pub fn within(text: &str) -> Option<Self> {
        let words = Word::all(text);
        // Pasted twice, as by somebody who saw nothing of it the first time.
        if words.iter().any(Word::is_more_than_a_key) {
            return Some(Self::Key);
        }
        let is_public = public_words(&words);
        let mut found = None;
        for first in 0..words.len() {
            for joined in joined_from(&words, first) {
                if is_public[first..first + joined.words].contains(&true) {
                    break;
                }
                match joined.secret() {
                    // A key is worse than a password.
                    Some(Self::Key) => return Some(Self::Key),
                    Some(other) => found = Some(other),
                    None => {}
                }
            }
        }
        found.or_else(|| has_mnemonic(text).then_some(Self::Words))
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

/// A run of letters and digits.
struct Word {
    text: String,
    /// Whether nothing but what is not seen, or the mark of a quotation, is between it and the word before.
    follows: bool,
}

impl Word {
    /// Whether it is longer than a public key in hexadecimal, and not as long as a signature.
    fn is_more_than_a_key(&self) -> bool {
        let digits = self.text.strip_prefix("0x").unwrap_or(&self.text);
        digits.len() > PUBLIC_KEY
            && digits.len() != SIGNATURE
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The words of a text. What chats put into long words and nobody sees is left out.
    fn all(text: &str) -> Vec<Self> {
        let mut words: Vec<Self> = Vec::new();
        let (mut is_open, mut follows) = (false, false);
        for line in text.lines() {
            for c in line.trim_start_matches(['>', ' ', '\t']).chars() {
                if c.is_ascii_alphanumeric() {
                    match words.last_mut() {
                        Some(word) if is_open => word.text.push(c),
                        _ => words.push(Self {
                            text: c.to_string(),
                            follows,
                        }),
                    }
                    (is_open, follows) = (true, true);
                } else if c.is_whitespace() {
                    is_open = false;
                } else if !text::is_unprintable(c) {
                    (is_open, follows) = (false, false);
                }
            }
            is_open = false;
        }
        words
    }
}

/// Neighbouring words as one.
struct Joined {
    digits: String,
    /// `0x` stands before it.
    is_prefixed: bool,
    /// How many words it is made of; how many digits the first one has.
    words: usize,
    first: usize,
}

impl Joined {
    fn secret(&self) -> Option<Secret> {
        // Numbers that happen to stand beside each other.
        if self.words > 1 && self.digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        match self.digits.len() {
            length if KEY.contains(&length) => Some(Secret::Key),
            PASSWORD => Some(Secret::Password),
            _ => None,
        }
    }

    /// A private key and a password beside each other are as long as a public key.
    fn is_public(&self) -> bool {
        let is_both = self.words == 2 && !self.is_prefixed && [KEY_DIGITS, PASSWORD].contains(&self.first);
        self.digits.len() == PUBLIC_KEY && !is_both
    }
}

/// What the words from one on make, one of them, two, and so on, as long as all are hexadecimal and it is not longer than a public key.
fn joined_from(words: &[Word], first: usize) -> Vec<Joined> {
    let mut all = Vec::new();
    let mut whole = String::new();
    let mut is_prefixed = false;
    let mut first_digits = 0;
    for (count, word) in words[first..].iter().enumerate() {
        let mut digits = word.text.as_str();
        if count == 0 {
            let bare = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
            is_prefixed = bare.is_some();
            digits = bare.unwrap_or(digits);
            first_digits = digits.len();
        }
        let is_next = count == 0 || word.follows;
        if !is_next
            || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            || whole.len() + digits.len() > PUBLIC_KEY
        {
            break;
        }
        whole.push_str(digits);
        all.push(Joined {
            digits: whole.clone(),
            is_prefixed,
            words: count + 1,
            first: first_digits,
        });
    }
    all
}

/// Of each word, whether it is of a validator's public key.
fn public_words(words: &[Word]) -> Vec<bool> {
    let mut is_public = vec![false; words.len()];
    let mut first = 0;
    while first < words.len() {
        let key = joined_from(words, first).into_iter().find(Joined::is_public);
        let count = key.map_or(0, |key| key.words);
        is_public[first..first + count].fill(true);
        first += count.max(1);
    }
    is_public
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
            format!("{HEX}{HEX}"),
            format!("0x{HEX}{}", &HEX[..40]),
            format!("dave=enr:{HEX}"),
            format!("--operator 'dave={HEX}'\n"),
            format!("{head}\n{tail}\n"),
            format!("dave={head}\n{tail}"),
            format!("> {head}\n> {tail}"),
            format!("dave={head}\u{200b}{tail}"),
            format!("/ip4/1.2.3.4/tcp/1/p2p/{HEX}"),
            // A key is told of before a password that stands before it.
            format!("c7077e17b9c26a2ffa2afdda9296918b,{HEX}"),
            // Words go on after it, or stand before it.
            format!("dave={head}\n{tail}\nthanks, carol\n"),
            format!("hello\n{head}\n> {tail}\nfeed the cat"),
            format!("{} {} {} {}", &HEX[..16], &HEX[16..32], &HEX[32..48], &HEX[48..]),
            // A public key beside it.
            format!("pubkey=0x{HEX}{}, key={HEX} of dave", &HEX[..32]),
            format!("{HEX}\n{}", &HEX[..32]),
            format!("{}\n{HEX}", &HEX[..32]),
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
            &format!("0x{HEX}\n{}\n{}\n{}", &HEX[..32], &HEX[..61], &HEX[..35]),
            // Broken into three, the first as long as a password.
            &format!("{}\n{}\n{}", &HEX[..32], &HEX[32..], &HEX[..32]),
            "2019 2020 2021 2022 2023 2024 2025 2026",
            // Not one word: something else is between them.
            &format!("commits {}, {}", &HEX[..16], &HEX[16..32]),
            "the group of those who are able to meet about once in every other year or so",
            "16Uiu2HAm7zGMtKcRp7kQsW5sUxHmWXoxY3b9jQ2yWAcj5p4pvSNd",
        ] {
            assert_eq!(Secret::within(text), None, "{text}");
            assert_eq!(quoted(text, 400), text.replace('\n', " "));
        }
    }
}
