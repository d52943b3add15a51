//! Text that others wrote (peers, beacon nodes, files, wallets), before anybody reads it on a screen, in a log or on a page: on one line, of a
//! bounded length, and without characters that change how the text around them looks. And how moments are written.

use std::{
    error::Error,
    fmt::Write as _,
    io,
    time::{SystemTime, UNIX_EPOCH},
};

/// The longest text that is shown at once, in bytes.
const MOST: usize = 8 * 1024;
/// The longest cause that is told in words of others, in bytes.
const MOST_OF_A_CAUSE: usize = 256;
/// What stands at the end of a text that was cut.
const CUT: &str = " ...";

/// Characters that change how a screen shows the text around them, or are not seen at all: controls, directions, fillers, blanks that are no
/// white space, tags, and all that Unicode calls default ignorable but [variants](is_variant).
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
            && !is_variant(c)
}

/// Quotes that programs put in the place of those on keyboards. No shell takes them away.
pub fn is_typographic_quote(c: char) -> bool {
    matches!(c, '\u{b4}' | '\u{ab}' | '\u{bb}' | '\u{2018}'..='\u{201f}' | '\u{2039}' | '\u{203a}' | '\u{300c}'..='\u{300f}')
}

/// Characters that choose how the one before them looks, such as the colours of an emoji, and are not seen themselves.
pub fn is_variant(c: char) -> bool {
    matches!(c,
        '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// A text as it may be shown: what is not printable, line breaks too, becomes U+FFFD; what is longer than 8 KiB is cut.
pub fn printable(text: &str) -> String {
    shortened(text, MOST, |c| if is_unprintable(c) { '\u{fffd}' } else { c })
}

/// The beginning of a text on one line, as it may be shown: at most so many bytes (4 or more), blanks in the place of line breaks and
/// other control characters, U+FFFD in that of everything else that is not printable.
pub fn line(text: &str, most: usize) -> String {
    let shown = |c: char| match c {
        c if c.is_control() => ' ',
        c if is_unprintable(c) => '\u{fffd}',
        c => c,
    };
    shortened(text.trim(), most, shown)
}

/// A line for a program: the unprintable characters in the strings of this JSON are escaped, so that it says the same and is harmless on
/// a terminal.
pub fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unprintable(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into a String does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Why a connection failed or broke, from the error of whatever library used it: in words for people, without those of parsers. What is not known
/// here stays as the operating system or the library says it, on one line.
pub fn of_connection(error: &(dyn Error + 'static)) -> String {
    // What is said by libraries, in part, and what it means. The innermost cause says it best.
    const MEANINGS: [(&[&str], &str); 7] = [
        (
            &[
                "corrupt message",
                "InvalidContentType",
                "wrong version number",
                "unexpected message",
            ],
            "what is there does not speak https: perhaps http is meant",
        ),
        (
            &["certificate", "UnknownIssuer", "NotValidForName"],
            "its certificate is not one that this machine trusts for that name",
        ),
        (
            &[
                "failed to lookup address",
                "dns error",
                "Name or service not known",
                "nodename nor servname",
            ],
            "there is no such name, or nobody here who knows names",
        ),
        (
            &["invalid HTTP", "parsed", "UnexpectedMessage", "Parse("],
            "what answers there does not speak HTTP",
        ),
        (
            &[
                "end of file",
                "before message completed",
                "before message length",
                "close_notify",
                "IncompleteMessage",
                "error reading a body",
            ],
            "its answer was cut off: the connection ended in the middle",
        ),
        (
            &["connection closed", "connection is closed", "channel closed"],
            "the connection was closed",
        ),
        (
            &["timed out", "deadline has elapsed"],
            "there was no answer in time",
        ),
    ];
    let mut causes: Vec<&(dyn Error + 'static)> = vec![error];
    while let Some(inner) = causes.last().copied().and_then(Error::source) {
        causes.push(inner);
    }
    for cause in causes.iter().rev() {
        let known = cause.downcast_ref::<io::Error>().and_then(of_io);
        let said = cause.to_string();
        let meant = MEANINGS
            .iter()
            .find(|(parts, _)| parts.iter().any(|part| said.contains(part)))
            .map(|(_, meaning)| *meaning);
        if let Some(words) = known.or(meant) {
            return words.to_owned();
        }
    }
    let innermost = causes.last().map_or_else(String::new, ToString::to_string);
    line(&innermost, MOST_OF_A_CAUSE)
}

/// What the operating system says of a connection, in words for people, if it is one of the usual things.
fn of_io(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection is refused: nobody listens there",
        io::ErrorKind::UnexpectedEof => "the connection ended in the middle of what was said",
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::WriteZero => "the connection broke: the other side ended, or the network between",
        io::ErrorKind::NotConnected => "the connection was closed",
        io::ErrorKind::TimedOut => "there was no answer in time",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown => {
            "there is no way to that network or machine"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        io::ErrorKind::AddrInUse => "another program has that port",
        io::ErrorKind::PermissionDenied => {
            "this user may not do that (ports below 1024 are for the administrator)"
        }
        _ => return None,
    })
}

/// Never looks at more of the text than it keeps.
fn shortened(text: &str, most: usize, shown: impl Fn(char) -> char) -> String {
    let mut out = String::new();
    // Where it would be cut.
    let mut cut = 0;
    for c in text.chars().map(shown) {
        if out.len() + c.len_utf8() > most {
            out.truncate(cut);
            out.push_str(CUT);
            return out;
        }
        out.push(c);
        if out.len() + CUT.len() <= most {
            cut = out.len();
        }
    }
    out
}

/// RFC 3339 in UTC with seconds.
pub fn timestamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day after 1970-01-01: Howard Hinnant's algorithm, counting years from March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_libraries_say_of_connections_is_told_in_plain_words() {
        use std::io::{Error, ErrorKind};
        for (said, expected) in [
            ("end of file before message length reached", "cut off"),
            ("connection closed before message completed", "cut off"),
            ("invalid HTTP version parsed", "does not speak HTTP"),
            ("invalid peer certificate: UnknownIssuer", "certificate"),
            (
                "received corrupt message of type InvalidContentType",
                "does not speak https",
            ),
            (
                "failed to lookup address information: Name or service not known",
                "no such name",
            ),
            ("operation timed out", "no answer in time"),
            ("yamux error: connection is closed", "the connection was closed"),
            (
                "peer closed connection without sending TLS close_notify",
                "cut off",
            ),
        ] {
            let told = of_connection(&Error::other(said));
            assert!(told.contains(expected), "{said}: {told}");
            // Behind other causes, too.
            let outer = Error::other(Error::other(said));
            assert_eq!(of_connection(&outer), told);
        }
        for (kind, expected) in [
            (ErrorKind::UnexpectedEof, "ended in the middle"),
            (ErrorKind::ConnectionRefused, "refused"),
            (ErrorKind::BrokenPipe, "broke"),
        ] {
            let told = of_connection(&Error::from(kind));
            assert!(told.contains(expected) && !told.contains("os error"), "{told}");
        }
        assert_eq!(of_connection(&Error::other("a\nnew thing")), "a new thing");
    }

    #[test]
    fn what_would_change_the_screen_is_not_shown() {
        assert_eq!(
            printable("a\u{1b}[2J\u{202e}b\nc"),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}c"
        );
        assert_eq!(line(" a\u{1b}[2J\u{202e}b\nc\n", 100), "a [2J\u{fffd}b c");
        assert_eq!(line("12345678", 8), "12345678");
        assert_eq!(line("123456789", 8), "1234 ...");
        assert_eq!(printable(&"x".repeat(MOST + 1)).len(), MOST);
        let json = serde_json::to_string("a\u{1b}\u{202e}\u{e0041}\u{9b}b\"").unwrap();
        let escaped = escaped(&json);
        assert!(!escaped.chars().any(is_unprintable), "{escaped}");
        let back: String = serde_json::from_str(&escaped).unwrap();
        assert_eq!(back, "a\u{1b}\u{202e}\u{e0041}\u{9b}b\"");
    }

    /// `Default_Ignorable_Code_Point` of Unicode 16.0 (DerivedCoreProperties.txt), and what has no picture beside that: line and paragraph
    /// separators, directions, annotations, the empty Braille pattern, the note head that is none.
    const UNSEEN: [(u32, u32); 28] = [
        (0x00ad, 0x00ad),
        (0x034f, 0x034f),
        (0x061c, 0x061c),
        (0x115f, 0x1160),
        (0x17b4, 0x17b5),
        (0x180b, 0x180d),
        (0x180e, 0x180e),
        (0x180f, 0x180f),
        (0x200b, 0x200f),
        (0x2028, 0x2029),
        (0x202a, 0x202e),
        (0x2060, 0x2064),
        (0x2065, 0x2065),
        (0x2066, 0x206f),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xfe00, 0xfe0f),
        (0xfeff, 0xfeff),
        (0xffa0, 0xffa0),
        (0xfff0, 0xfff8),
        (0xfff9, 0xfffb),
        (0x1_bca0, 0x1_bca3),
        (0x1_d159, 0x1_d159),
        (0x1_d173, 0x1_d17a),
        (0xe_0000, 0xe_0001),
        (0xe_0002, 0xe_00ff),
        (0xe_0100, 0xe_01ef),
        (0xe_01f0, 0xe_0fff),
    ];

    #[test]
    fn what_nobody_sees_is_not_printed() {
        let variants = [
            (0x180b, 0x180d),
            (0x180f, 0x180f),
            (0xfe00, 0xfe0f),
            (0xe_0100, 0xe_01ef),
        ];
        for (first, last) in UNSEEN {
            for c in (first..=last).filter_map(char::from_u32) {
                let variant = variants.contains(&(first, last));
                assert_eq!((is_variant(c), is_unprintable(c)), (variant, !variant), "{c:?}");
            }
        }
        // What people write in names.
        for c in "Zo\u{eb} O'Neil \u{540d}\u{524d} \u{5d0}\u{627} \u{2764}\u{fe0f} \u{1f600} \u{2801}".chars()
        {
            assert!(!is_unprintable(c), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_printable_whatever_it_was(text in "\\PC{0,20}\\p{C}{0,20}\\PC{0,40}", most in 4usize..64) {
            let line = line(&text, most);
            prop_assert!(line.len() <= most);
            prop_assert!(!line.chars().any(is_unprintable));
            prop_assert!(!printable(&text).chars().any(is_unprintable));
        }
    }
}
