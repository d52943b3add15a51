//! Records of operators as people hand them on: `NAME=ENR`, from mail, from chats, from the line that `identity new` prints.
//!
//! Programs between people put quotes around texts, make other quotes and dashes of them, break lines, indent them and mark them
//! as quoted. An ENR is one word of letters, digits, - and _, and says itself how long it is: so all of that can be removed
//! without guessing.

use conclave_ceremony::identity::check_new_name;
use conclave_ceremony::problem::Problem;
use conclave_cluster::enr::Enr;
use conclave_eth::secret_text::{Secret, quoted};

use super::given::is_quote;
use super::output::printable;
use super::pasted::{is_blank, is_dash};

/// What to do about a record that cannot be read.
const ASK: &str = "ask that operator for the output of `conclave identity show` and paste it whole";
/// The longest ENR there is (300 bytes) in base 64, and some more.
const MAX_ENR: usize = 512;
/// A text with more is no list of records.
const MAX_TEXT: usize = 1 << 20;
const PREFIX: &str = "enr:";

/// An operator's record.
pub(super) type Record = (String, Enr);

/// All records in a text, in their order: separated by commas, by line breaks, or by nothing but their ends.
///
/// # Errors
/// Says what is no record, or why a record cannot be used.
pub(super) fn records(text: &str) -> Result<Vec<Record>, Problem> {
    let mut rest = trimmed(text);
    if text.len() > MAX_TEXT {
        return Err(nobody("this", "it is far too long"));
    }
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (record, after) = first(rest)?;
        records.push(record);
        rest = trimmed(after);
    }
    if records.is_empty() {
        return Err(nobody(
            "nothing",
            "it must be a name, = and a record that begins with enr:",
        ));
    }
    Ok(records)
}

/// The records in a file: as [`records`], and lines that begin with # are left out.
///
/// # Errors
/// As [`records`].
pub(super) fn records_of_file(text: &str) -> Result<Vec<Record>, Problem> {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.trim_start().strip_prefix('#') else {
            lines.push(line);
            continue;
        };
        // The prompt of a shell whose user is root, or what somebody wants left out: nobody can say.
        if is_flag(trimmed(rest)) {
            return Err(Problem::bad_input(
                "a record stands behind # in that file",
                format!(
                    "# is the prompt of a shell as well as the begin of a remark: {}",
                    quoted(line, MAX_QUOTED)
                ),
                "take the # away if that operator takes part, or the whole line if not",
            ));
        }
    }
    records(&lines.join("\n"))
}

/// Records that are pasted line by line: they may be broken in the middle, and have empty lines between.
#[derive(Debug, Default)]
pub(super) struct Paste {
    text: String,
    /// Empty lines in a row.
    empty: u32,
}

impl Paste {
    /// Whether the rest of a record is waited for.
    pub(super) fn is_begun(&self) -> bool {
        !self.text.is_empty()
    }

    /// One more line. What can be read now; nothing while the rest is missing. Two empty lines, or an error, and it begins anew.
    ///
    /// # Errors
    /// As [`records`].
    pub(super) fn take(&mut self, line: &str) -> Result<Vec<Record>, Problem> {
        if line.trim().is_empty() {
            self.empty += 1;
            if self.empty > 1 {
                self.text.clear();
            }
            return Ok(Vec::new());
        }
        self.empty = 0;
        // Nothing would complete it.
        if Secret::within(line).is_some() {
            self.text.clear();
            return Err(nobody(line, ""));
        }
        self.text.push_str(line);
        self.text.push('\n');
        // Whoever pastes it all anew means that.
        let read = records(line).or_else(|_| records(&self.text));
        if read.is_err() && may_go_on(&self.text) {
            return Ok(Vec::new());
        }
        self.text.clear();
        read
    }
}

/// Whether it may be the beginning of a record of which the rest is missing: a break in the middle of it.
fn may_go_on(text: &str) -> bool {
    let begins = |c: char| matches!(c, '=' | ':');
    let Some((before, enr)) = text.rsplit_once(PREFIX) else {
        // A flag, a quote or the end of a name: what comes next may be the rest. Anything else is something else.
        let flag = is_flag(trimmed(from_flag(text)));
        let head = text.trim_end_matches(|c| is_blank(c) || is_quote(c));
        // Broken within the beginning of the record itself.
        let plain = ["enr", "en", "e", ""]
            .iter()
            .find_map(|part| head.strip_suffix(part));
        return head.len() < MAX_ENR && (flag || plain.is_some_and(|head| head.trim_end().ends_with(begins)));
    };
    // No further line brings the name that is missing before it.
    if !before
        .trim_end_matches(|c| is_blank(c) || is_quote(c) || c == '>')
        .ends_with(begins)
    {
        return false;
    }
    let enr = enr.trim_end_matches(|c: char| is_blank(c));
    // Each line of a quotation has its mark.
    let is_of_record = |line: &str| {
        let line = line.trim_start_matches(|c| is_blank(c) || c == '>');
        line.chars().all(|c| is_of_enr(c) || is_blank(c))
    };
    enr.len() < MAX_ENR && enr.lines().all(is_of_record)
}

/// The first record of a text, and what comes after it.
fn first(text: &str) -> Result<(Record, &str), Problem> {
    let Some((before, after)) = text.split_once(PREFIX) else {
        return Err(nobody(
            text,
            "it must be a name, = and a record that begins with enr:",
        ));
    };
    let before = before.trim_end_matches(|c| is_blank(c) || is_quote(c));
    let Some(name) = before.strip_suffix(['=', ':']) else {
        return Err(nobody(text, "the name and = are missing before enr:"));
    };
    let name = name_in(name);
    check_new_name(&name)?;
    let mut enr = PREFIX.to_owned();
    let mut error = None;
    let mut rest = after;
    loop {
        // A line that was quoted in an answer.
        rest = rest.trim_start_matches(|c| is_blank(c) || c == '>');
        let end = rest.find(|c| !is_of_enr(c)).unwrap_or(rest.len());
        let (word, next) = rest.split_at(end);
        if word.is_empty() || enr.len() + word.len() > MAX_ENR {
            break;
        }
        enr.push_str(&of_enr(word));
        // What base 64 ends with, or mail marks a break with.
        rest = next.trim_start_matches('=');
        match Enr::parse(&enr) {
            Ok(enr) => return Ok(((name, enr), rest)),
            // What a whole word makes is told: more would only be what comes after it.
            Err(wrong) => {
                error.get_or_insert(wrong);
            }
        }
        if !rest.starts_with(is_blank) {
            break;
        }
    }
    let why = error.map_or_else(
        || "nothing comes after enr:".to_owned(),
        |error| error.to_string(),
    );
    Err(Problem::bad_input(
        format!("the record of {} cannot be used", printable(&name)),
        why,
        ASK,
    ))
}

/// The name in what stands before the record: without the flag, without quotes, on one line.
fn name_in(text: &str) -> String {
    let text = trimmed(from_flag(without_head(text)));
    let text = without_bullet(text);
    let plain = text.trim_start_matches(|c| c == '-' || is_dash(c));
    let text = match plain.strip_prefix("operator") {
        Some(after)
            if plain.len() < text.len() && after.starts_with(|c| is_blank(c) || is_quote(c) || c == '=') =>
        {
            after.trim_start_matches('=')
        }
        _ => text,
    };
    // As a shell needs it within single quotes.
    let text = text.replace("'\\''", "'");
    let text = text.trim_matches(is_blank);
    let text = text.strip_prefix(is_quote).unwrap_or(text);
    let words: Vec<&str> = text.split(is_blank).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// Whether a text begins with the flag that stands before a record.
fn is_flag(text: &str) -> bool {
    let plain = text.trim_start_matches(|c| c == '-' || is_dash(c));
    plain.len() < text.len() && plain.starts_with("operator")
}

/// From the last flag on, if there is one: before it stands the prompt of a shell, a greeting, or the end of what was pasted before.
fn from_flag(text: &str) -> &str {
    let is_flag = |place: &usize| {
        let (before, after) = text.split_at_checked(*place).unwrap_or((text, ""));
        let after = after.strip_prefix("operator").unwrap_or_default();
        let plain = before.trim_end_matches(|c| c == '-' || is_dash(c));
        plain.len() < before.len()
            && plain
                .chars()
                .next_back()
                .is_none_or(|c| is_blank(c) || is_quote(c) || c == '>')
            && after.starts_with(|c| is_blank(c) || is_quote(c) || c == '=')
    };
    let places = text.match_indices("operator").map(|(place, _)| place);
    let flag = places.filter(is_flag).last().and_then(|place| {
        let before = text.get(..place)?;
        Some(before.trim_end_matches(|c| c == '-' || is_dash(c)).len())
    });
    flag.and_then(|place| text.get(place..)).unwrap_or(text)
}

/// Without the head that a chat puts before what somebody wrote: a time, a name, a colon.
fn without_head(text: &str) -> &str {
    let has_time = |head: &str| {
        let bytes = head.as_bytes();
        bytes.windows(4).any(|four| {
            matches!(four, [hour, b':', tens, ones] if hour.is_ascii_digit() && tens.is_ascii_digit() && ones.is_ascii_digit())
        })
    };
    if text.len() > MAX_ENR {
        return text;
    }
    let is_end = |(place, c): &(usize, char)| {
        let after = text.get(place + c.len_utf8()..).unwrap_or_default();
        *c == '\n' || (*c == ':' && after.starts_with(is_blank))
    };
    let cut = |(place, c): (usize, char)| text.split_at_checked(place + c.len_utf8());
    text.char_indices()
        .filter(is_end)
        .filter_map(cut)
        .rfind(|(head, rest)| !rest.trim().is_empty() && has_time(head))
        .map_or(text, |(_, rest)| rest)
}

/// Line breaks and entries of web pages.
const TAGS: [&str; 7] = ["<br>", "<br/>", "<br />", "<p>", "</p>", "<li>", "</li>"];

/// Without what a list puts before its entries: a bullet or a number, and a blank.
fn without_bullet(text: &str) -> &str {
    let mut text = text;
    loop {
        let entry = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let bullet = if entry.len() < text.len() {
            entry.strip_prefix(['.', ')'])
        } else {
            text.strip_prefix(['-', '*', '\u{2022}', '\u{b7}', '\u{25e6}', '\u{25aa}'])
                .or_else(|| text.strip_prefix(is_dash))
        };
        match bullet.filter(|rest| rest.starts_with(is_blank)) {
            Some(rest) => text = trimmed(rest),
            None => return text,
        }
    }
}

fn without_tag(text: &str) -> Option<&str> {
    TAGS.iter().find_map(|tag| text.strip_prefix(tag))
}

/// Without what separates records, and what was put around them.
fn trimmed(text: &str) -> &str {
    let separates = |c| is_blank(c) || is_quote(c) || matches!(c, ',' | ';' | '>' | '\\');
    let mut text = text.trim_start_matches(separates).trim_end_matches(is_blank);
    while let Some(rest) = without_tag(text) {
        text = rest.trim_start_matches(separates);
    }
    text
}

/// A letter of base 64 for URLs, or what chats make of one: another dash, a backslash before _.
fn is_of_enr(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '\\') || is_dash(c)
}

/// Letters of base 64, as they were.
fn of_enr(word: &str) -> String {
    let mut plain = String::with_capacity(word.len());
    for c in word.chars() {
        match c {
            '\\' => {}
            // What programs make of two dashes.
            '\u{2014}' => plain.push_str("--"),
            c if is_dash(c) => plain.push('-'),
            c => plain.push(c),
        }
    }
    plain
}

/// Most bytes of what is no record that are repeated.
const MAX_QUOTED: usize = 44;

fn nobody(what: &str, why: &str) -> Problem {
    if let Some(secret) = Secret::within(what) {
        return Problem::bad_input(
            format!("what was given as an operator looks like {secret}"),
            secret.why(),
            secret.what_to_do(),
        );
    }
    Problem::bad_input(format!("`{}` is no operator", quoted(what, MAX_QUOTED)), why, ASK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use conclave_crypto::node::NodeKey;

    fn enr(seed: u8) -> String {
        Enr::create(&NodeKey::from_bytes(&[seed; 32]).unwrap())
            .text()
            .to_owned()
    }

    fn names(text: &str) -> Vec<(String, String)> {
        let records = records(text).unwrap_or_else(|problem| panic!("{problem:?} in {text}"));
        records
            .into_iter()
            .map(|(name, enr)| (name, enr.text().to_owned()))
            .collect()
    }

    #[test]
    fn a_record_is_read_in_whatever_way_it_was_handed_on() {
        let enr = enr(1);
        let (start, end) = enr.split_at(77);
        for (text, name) in [
            (format!("bob={enr}"), "bob"),
            (format!("--operator 'bob={enr}'"), "bob"),
            (format!("--operator='bob={enr}'"), "bob"),
            (format!("\u{2014}operator \u{2018}bob={enr}\u{2019}"), "bob"),
            (format!("\u{2013}operator \u{201c}bob={enr}\u{201d}"), "bob"),
            (format!("  \"bob={enr}\"\r\n"), "bob"),
            (format!("\u{ab}bob={enr}\u{bb},"), "bob"),
            (format!("bob={start}\r\n{end}"), "bob"),
            (format!("> --operator 'bob={start}\n> {end}'\n"), "bob"),
            (format!("--operator\n'bob=\n{start}\n  {end}'"), "bob"),
            (format!("\u{feff}bob={start}\u{200b}{end}\u{a0}"), "bob"),
            (format!("Smith, Joe={enr}"), "Smith, Joe"),
            (format!("--operator 'Smith,\n Joe={enr}'"), "Smith, Joe"),
            (format!("--operator 'O'\\''Neill={enr}'"), "O'Neill"),
            (format!("'O\u{2019}Neill={enr}'"), "O\u{2019}Neill"),
            (format!("operator one={enr}"), "operator one"),
            (format!("a=b={enr}"), "a=b"),
            (format!("bob={start}=\r\n{end}="), "bob"),
            // Lists, chats, web pages.
            (format!("- bob={enr}"), "bob"),
            (format!("\u{2022} bob={enr}"), "bob"),
            (format!("\u{2013} bob={enr}"), "bob"),
            (format!("12) bob={enr}"), "bob"),
            (format!("1. --operator 'bob={enr}'"), "bob"),
            (format!("[30.11.26, 14:00] bob: bob={enr}"), "bob"),
            (format!("Bob Smith \u{2014} today at 14:00\nbob={enr}"), "bob"),
            (format!("<br>bob={enr}<br>"), "bob"),
            (format!("bob: {enr}"), "bob"),
            // With the prompt of a shell before it, a greeting, or what was left of another paste.
            (format!("dave$ --operator 'dave={enr}'"), "dave"),
            (format!("$ --operator 'dave={enr}'"), "dave"),
            (format!("~/v \u{276f} --operator 'dave={enr}'"), "dave"),
            (format!("dave@pi:~/validator$ --operator 'dave={enr}'"), "dave"),
            (format!("Dave: --operator 'dave={enr}'"), "dave"),
            (format!("Hi Anne,\n> --operator 'bob={start}\n> {end}'"), "bob"),
            (
                format!("bob$ carol% --operator 'Carol Smith={enr}'"),
                "Carol Smith",
            ),
            (format!("--operator 'ann --operator 'bob={enr}'"), "bob"),
            (format!("an operator one={enr}"), "an operator one"),
            (format!("node-operator one={enr}"), "node-operator one"),
            (format!("the --operators={enr}"), "the --operators"),
            (format!("bob={}", enr.replace('_', "\\_")), "bob"),
            (format!("bob={}", enr.replace('-', "\u{2011}")), "bob"),
            // Names that only look a little like it.
            (format!("2nd node={enr}"), "2nd node"),
            (format!("Dr: Bob={enr}"), "Dr: Bob"),
            (format!("Anna\u{2013}Maria={enr}"), "Anna\u{2013}Maria"),
            (format!("-x-={enr}"), "-x-"),
        ] {
            assert_eq!(names(&text), [(name.to_owned(), enr.clone())], "{text}");
        }
    }

    #[test]
    fn a_record_with_two_dashes_is_read_when_they_have_become_one() {
        let enr = (1..=255).map(enr).find(|enr| enr.contains("--")).unwrap();
        for text in [
            format!("bob={enr}"),
            format!("--operator 'bob={enr}'").replace("--", "\u{2014}"),
        ] {
            assert_eq!(names(&text), [("bob".to_owned(), enr.clone())], "{text}");
        }
    }

    #[test]
    fn a_record_behind_a_number_sign_is_left_out_by_nobody_alone() {
        let (ann, bob) = (enr(1), enr(2));
        let file = |second: &str| format!("# friends\nann={ann}\n{second}\n");
        for remark in [
            format!("#bob={bob}"),
            "# operators of the summer".to_owned(),
            "#".to_owned(),
        ] {
            let found = records_of_file(&file(&remark)).unwrap();
            assert_eq!(found.len(), 1, "{remark}");
        }
        for line in [
            format!("# --operator 'bob={bob}'"),
            format!("  #\u{2014}operator 'bob={bob}'"),
        ] {
            let problem = records_of_file(&file(&line)).unwrap_err();
            assert!(problem.what.contains("behind #"), "{problem:?}");
        }
    }

    #[test]
    fn several_records_are_told_apart_by_their_ends() {
        let (ann, bob) = (enr(1), enr(2));
        let both = [
            ("Smith, Ann".to_owned(), ann.clone()),
            ("bob".to_owned(), bob.clone()),
        ];
        for text in [
            format!("Smith, Ann={ann},bob={bob}"),
            format!("Smith, Ann={ann}, bob={bob},"),
            format!("Smith, Ann={ann}\nbob={bob}\n"),
            format!("Smith, Ann={ann} bob={bob}"),
            format!("--operator 'Smith, Ann={ann}' --operator 'bob={bob}'"),
            format!("--operator 'Smith, Ann={ann}' \\\n  --operator 'bob={bob}'"),
        ] {
            assert_eq!(names(&text), both, "{text}");
        }
        let file = format!("\u{feff}# our group\r\nSmith, Ann={ann}\r\n\r\n  # and\r\nbob={bob}\r\n");
        let records = records_of_file(&file).unwrap();
        assert_eq!(
            records.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["Smith, Ann", "bob"]
        );
    }

    #[test]
    fn what_is_no_record_is_said() {
        let enr = enr(1);
        for (text, why) in [
            (String::new(), "must be a name"),
            ("bob".to_owned(), "must be a name"),
            (enr.clone(), "the name and ="),
            (format!("={enr}"), ""),
            ("bob=enr:".to_owned(), "nothing comes after"),
            (format!("bob={}", &enr[..enr.len() - 4]), ""),
            (format!("bob={enr}x"), ""),
            (format!("bob={enr} and the others"), "must be a name"),
        ] {
            let problem = records(&text).unwrap_err();
            assert!(problem.why.contains(why), "{text}: {problem:?}");
        }
        // A break in the middle is recognised.
        assert!(may_go_on(&format!("bob={}", &enr[..77])));
        assert!(may_go_on("--operator 'bob="));
        assert!(!may_go_on("bob=enr:???"));
        for begin in [
            "bob=",
            "bob: ",
            "bob = e",
            "'bob=en\n",
            "bob=enr",
            "dave$ --operator\n",
            "\u{2014}operator 'Smith,\n",
        ] {
            assert!(may_go_on(begin), "{begin}");
        }
        // Of what is no beginning, no rest is waited for.
        for other in [
            "0x71C7656EC7ab88b098defB751B7401B5f6d8976F",
            "carol",
            "bob$ ",
            "conclave define plan.toml",
            "Hi Anne,",
            &enr,
        ] {
            assert!(!may_go_on(other), "{other}");
        }
    }

    #[test]
    fn what_is_pasted_line_by_line_is_put_together() {
        let (ann, bob) = (enr(1), enr(2));
        let (start, end) = ann.split_at(77);
        let broken = [
            format!("--operator 'Smith, Ann={start}"),
            String::new(),
            format!("{end}'"),
        ];
        let paste = |lines: &[String]| {
            let mut paste = Paste::default();
            let mut taken = Vec::new();
            for line in lines {
                match paste.take(line) {
                    Ok(records) => taken.extend(records.into_iter().map(|(name, _)| name)),
                    Err(problem) => taken.push(problem.what),
                }
            }
            (taken, paste.is_begun())
        };
        assert_eq!(paste(&broken), (vec!["Smith, Ann".to_owned()], false));
        let (middle, end) = end.split_at(40);
        let quoted = [
            format!("> --operator 'Smith, Ann={start}"),
            format!("> {middle}"),
            format!("> {end}'"),
        ];
        assert_eq!(paste(&quoted), (vec!["Smith, Ann".to_owned()], false));
        let next = [&broken[..], &[format!("bob={bob}")]].concat();
        assert_eq!(paste(&next).0, ["Smith, Ann", "bob"]);
        // Given up: by pasting it anew, by nothing, by an error.
        assert_eq!(paste(&[broken[0].clone(), format!("ann={ann}")]).0, ["ann"]);
        assert_eq!(paste(&broken[..1]), (vec![], true));
        let given_up = [broken[0].clone(), String::new(), String::new()];
        assert_eq!(paste(&given_up), (vec![], false));
        let (taken, begun) = paste(&["bob=enr:???".to_owned(), format!("bob={bob}")]);
        assert!(!begun && taken.len() == 2 && taken[1] == "bob", "{taken:?}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = records(&text);
            let _ = records(&format!("a=enr:{text}"));
            let _ = may_go_on(&text);
        }
    }
}
