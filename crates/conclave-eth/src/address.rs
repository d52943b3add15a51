//! Execution-layer addresses.
//!
//! An address is 20 bytes; its text carries a checksum in the case of its letters (EIP-55). People make typing
//! mistakes and a mistaken withdrawal address is lost money, so [`Address::parse_checksummed`] demands the
//! checksum. Files of other software carry addresses in any case: [`Address::parse_any_case`].

use std::fmt;

use sha3::{Digest, Keccak256};

/// An execution-layer address: 20 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 20]);

/// Why a text is not taken as an address. The text of the error has three lines: what, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `0x` and 40 hexadecimal digits.
    #[error(
        "This is not an Ethereum address.\n\
         An address is 0x and 40 hexadecimal digits: {0}.\n\
         Copy the whole address from your wallet."
    )]
    Form(String),
    /// All letters in one case: there is no checksum to find a mistyped digit with.
    #[error(
        "The address {given} carries no checksum.\n\
         Its letters are all in one case, so a mistyped digit would go unnoticed.\n\
         If every digit is right, its checksummed form is {checksummed}: compare it with your wallet, then use it."
    )]
    NoChecksum {
        /// The text that was given.
        given: String,
        /// The same 20 bytes with the EIP-55 checksum.
        checksummed: String,
    },
    /// Letters of both cases, but not as EIP-55 says. The right case is deliberately not shown: the digits
    /// themselves are in doubt, and pasting a "mended" text would bless a mistyped address.
    #[error(
        "The address {given} has a wrong checksum.\n\
         At least one digit, or the case of a letter, is not as it was in the original.\n\
         Do not correct it by hand: copy it again from your wallet."
    )]
    WrongChecksum {
        /// The text that was given.
        given: String,
    },
}

impl Address {
    /// The zero address: what an empty field hashes like. Nobody holds its key.
    pub const ZERO: Self = Self([0; 20]);

    /// Reads an address that a person typed or pasted: `0x`, 40 digits, and the EIP-55 checksum.
    ///
    /// An address without any letters (such as the zero address) is its own checksummed form.
    ///
    /// # Errors
    /// [`AddressError`] when the form or the checksum is wrong or the checksum is missing.
    pub fn parse_checksummed(text: &str) -> Result<Self, AddressError> {
        if !text.starts_with("0x") {
            return Err(AddressError::Form("it must start with 0x".to_owned()));
        }
        let address = Self::parse_any_case(text)?;
        let checksummed = address.to_checksum();
        if text == checksummed {
            return Ok(address);
        }
        let given = text.to_owned();
        let has = |case: fn(&u8) -> bool| text.bytes().skip(2).any(|byte| case(&byte));
        if has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) {
            Err(AddressError::WrongChecksum { given })
        } else {
            Err(AddressError::NoChecksum { given, checksummed })
        }
    }

    /// Reads an address from a file: 40 hexadecimal digits of any case, with or without `0x`.
    ///
    /// # Errors
    /// [`AddressError::Form`] when it is anything else.
    pub fn parse_any_case(text: &str) -> Result<Self, AddressError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() != 40 {
            let count = digits.chars().take(1000).count();
            return Err(AddressError::Form(format!("this one has {count} digits")));
        }
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes)
            .map_err(|_| AddressError::Form("this one holds another character".to_owned()))?;
        Ok(Self(bytes))
    }

    /// The text with the EIP-55 checksum: `0x` and 40 digits.
    pub fn to_checksum(&self) -> String {
        let lower = hex::encode(self.0);
        let hash = Keccak256::digest(lower.as_bytes());
        let mut text = String::with_capacity(42);
        text.push_str("0x");
        for (i, digit) in lower.chars().enumerate() {
            // The i-th half byte of the hash decides the case of the i-th digit.
            let byte = hash.get(i / 2).copied().unwrap_or_default();
            let nibble = if i % 2 == 0 { byte >> 4 } else { byte & 0x0f };
            text.push(if nibble >= 8 {
                digit.to_ascii_uppercase()
            } else {
                digit
            });
        }
        text
    }

    /// Whether there are letters in its text, whose case is the checksum.
    pub fn has_checksum(&self) -> bool {
        self.0.iter().any(|byte| byte >> 4 > 9 || byte & 0x0f > 9)
    }

    /// Whether this is the zero address. Money sent to it is gone.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_checksum())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_checksum())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples of EIP-55.
    const EIP55: [&str; 8] = [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn the_examples_of_the_eip_are_accepted() {
        for text in EIP55 {
            assert_eq!(Address::parse_checksummed(text).unwrap().to_checksum(), text);
        }
    }

    #[test]
    fn a_missing_checksum_shows_the_right_form() {
        let lower = EIP55[4].to_lowercase();
        let upper = format!("0x{}", EIP55[4][2..].to_uppercase());
        for text in [lower, upper] {
            let error = Address::parse_checksummed(&text).unwrap_err();
            assert!(matches!(error, AddressError::NoChecksum { .. }));
            assert!(error.to_string().contains(EIP55[4]));
        }
    }

    #[test]
    fn a_wrong_checksum_does_not_show_the_right_form() {
        for position in 2..42 {
            let mut text = EIP55[4].to_owned().into_bytes();
            text[position] = if text[position] == b'1' { b'2' } else { b'1' };
            let text = String::from_utf8(text).unwrap();
            let error = Address::parse_checksummed(&text).unwrap_err();
            let right = Address::parse_any_case(&text).unwrap().to_checksum();
            assert!(matches!(error, AddressError::WrongChecksum { .. }), "{text}");
            assert!(!error.to_string().contains(&right));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let bare = &EIP55[4][2..];
        let with_0x_upper = format!("0X{bare}");
        let long = format!("0x{bare}0");
        let spaced = format!(" 0x{bare}");
        for text in ["", "0x", "0x0", bare, &with_0x_upper, &long, &spaced, "0xéé"] {
            assert!(
                matches!(Address::parse_checksummed(text), Err(AddressError::Form(_))),
                "{text}"
            );
        }
        assert!(Address::parse_any_case(bare).is_ok());
        assert!(Address::parse_any_case(&EIP55[4].to_lowercase()).is_ok());
        assert!(Address::parse_any_case(&format!("0x0x{}", &bare[2..])).is_err());
    }

    #[test]
    fn the_zero_address_is_known() {
        assert!(
            Address::parse_checksummed("0x0000000000000000000000000000000000000000")
                .unwrap()
                .is_zero()
        );
        assert!(!Address::parse_checksummed(EIP55[0]).unwrap().is_zero());
    }

    #[test]
    fn an_address_without_letters_has_no_checksum() {
        for (text, has) in [
            ("0x1111111111111111111111111111111111111111", false),
            ("0x0000000000000000000000000000000000000000", false),
            ("0x9999999999999999999999999999999999999999", false),
            ("0x000000000000000000000000000000000000000a", true),
            ("0xa000000000000000000000000000000000000000", true),
        ] {
            assert_eq!(
                Address::parse_any_case(text).unwrap().has_checksum(),
                has,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_address_reads_its_own_text(bytes: [u8; 20]) {
            let address = Address(bytes);
            prop_assert_eq!(Address::parse_checksummed(&address.to_checksum()), Ok(address));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = Address::parse_checksummed(&text);
        }
    }
}
