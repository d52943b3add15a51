//! What programs between people do to a text that is copied, sent and pasted: mail breaks lines and marks them as quoted, word processors make other
//! quotes and dashes, chats put invisible characters between long words. Of what is one word that nobody changes on purpose, all of that can be
//! removed without guessing.

use conclave_ceremony::problem::{Kind, Problem};
use conclave_eth::address::{Address, AddressError};

use super::given::is_quote;

/// White space, seen or not.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}')
}

/// Dashes that programs put in the place of a plain one.
pub(super) fn is_dash(c: char) -> bool {
    matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe63}' | '\u{ff0d}')
}

/// One word as it was before it was handed on: without line breaks and blanks, without the marks of quoted lines and the quotes around it.
pub(super) fn word(text: &str) -> String {
    let lines = text.split(['\n', '\r']);
    let unmarked = lines.map(|line| line.trim_start_matches(|c| is_blank(c) || c == '>'));
    let joined: String = unmarked.flat_map(str::chars).filter(|c| !is_blank(*c)).collect();
    joined.trim_matches(is_quote).to_owned()
}

/// An address of money, with its checksum.
///
/// # Errors
/// With what is wrong.
pub(super) fn address(text: &str) -> Result<Address, Problem> {
    let word = word(text);
    // As wallets write it in links and QR codes.
    let word = word.strip_prefix("ethereum:").unwrap_or(&word);
    let is_name = !word.starts_with("0x") && word.contains('.');
    Address::parse_checksummed(word).map_err(|error| {
        let mut problem = Problem::from_lines(Kind::BadInput, &error);
        if is_name && matches!(error, AddressError::Form(_)) {
            "names are not looked up here: nobody could check afterwards what one meant today"
                .clone_into(&mut problem.why);
            "look it up in your wallet, and give the address itself: 0x and 40 digits"
                .clone_into(&mut problem.what_to_do);
        }
        problem
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_pasted_and_a_name_is_told_as_one() {
        let address = |text: &str| super::address(text).map(|address| address.to_checksum());
        let plain = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        for text in [
            plain,
            "ethereum:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            " \u{201c}0x5aAeb6053F3E94C9b9A09f33\n669435E7Ef1BeAed\u{201d}",
        ] {
            assert_eq!(address(text).unwrap(), plain);
        }
        assert!(address("vitalik.eth").unwrap_err().why.contains("not looked up"));
        // One wrong digit, one too few.
        for wrong in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_word_is_what_it_was_before_it_was_handed_on() {
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            " \u{201c}0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\u{201d}\r\n",
            "> 0x5aAeb6053F3E94C9b9A09\n> f33669435E7Ef1BeAed",
            "'0x5aAeb6053F3E94C9\u{ad}b9A09f33669435E7\u{200b}Ef1BeAed'\u{a0}",
            ">> 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        ] {
            assert_eq!(word(text), "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "{text}");
        }
        assert_eq!(word(" > \n"), "");
    }
}
