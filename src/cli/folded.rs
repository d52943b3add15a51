//! Text for people, broken between words where a terminal ends; one line each everywhere else. What is copied from the screen never gets the end
//! of a line in its middle: the terminal itself breaks what is wider than it is, and takes that break out again where it is copied.

use console::measure_text_width;

/// A label that begins a line has its text at this column or before, as in `Threshold   3 of 4`. Then the lines below it begin there, too.
const LABEL: usize = 16;
/// Narrower than this nothing can be read, however it is broken.
const NARROWEST: usize = 20;

/// All lines of a text, each broken where it is wider than so many columns, and what follows indented as its beginning is.
pub(super) fn folded(text: &str, columns: usize) -> String {
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| fold(line, indent(line), columns))
        .collect();
    lines.join("\n")
}

/// One line with a mark before its text, behind which the lines below begin: `Why:   ...`.
pub(super) fn marked(mark: &str, text: &str, columns: usize) -> String {
    let mut lines = text.split('\n');
    let first = format!("{mark}{}", lines.next().unwrap_or_default());
    let mut out = fold(&first, measure_text_width(mark), columns);
    for line in lines {
        out.push('\n');
        out.push_str(&fold(line, indent(line), columns));
    }
    out
}

/// Where the lines below a line begin.
fn indent(line: &str) -> usize {
    let start = line.len() - line.trim_start_matches(' ').len();
    let text = line.get(start..).unwrap_or_default();
    let label = text.find("  ").map(|blanks| {
        let rest = text.get(blanks..).unwrap_or_default();
        measure_text_width(line.get(..start + blanks).unwrap_or_default()) + rest.len()
            - rest.trim_start_matches(' ').len()
    });
    label.filter(|column| *column <= LABEL).unwrap_or(start)
}

fn fold(line: &str, indent: usize, columns: usize) -> String {
    let columns = columns.max(NARROWEST);
    if measure_text_width(line) <= columns || is_to_copy(line) {
        return line.to_owned();
    }
    let indent = if indent * 2 > columns { 0 } else { indent };
    let (mut out, mut used, mut is_begun) = (String::new(), 0, false);
    for (blanks, word) in units(line) {
        let (gap, width) = (measure_text_width(blanks), measure_text_width(word));
        if is_begun && used + gap + width > columns {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = indent;
        } else {
            out.push_str(blanks);
            used += gap;
        }
        out.push_str(word);
        used += width;
        is_begun = true;
    }
    out
}

/// Whether a line is nothing but something to copy: a command, an option, an address.
fn is_to_copy(line: &str) -> bool {
    let plain = console::strip_ansi_codes(line);
    let text = plain.trim();
    text.starts_with("--") || text.starts_with("conclave ") || !text.contains(' ')
}

/// The words of a line, each with the blanks before it; what is copied as one is one.
fn units(line: &str) -> Vec<(&str, &str)> {
    let words = words(line);
    let text_of = |place: usize| {
        words
            .get(place)
            .map_or("", |(_, start, end)| line.get(*start..*end).unwrap_or_default())
    };
    let mut units = Vec::new();
    let mut place = 0;
    while let Some((blanks, start, _)) = words.get(place).copied() {
        let last = last_of_unit(place, words.len(), &text_of);
        let end = words.get(last).map_or(line.len(), |(_, _, end)| *end);
        units.push((
            line.get(blanks..start).unwrap_or_default(),
            line.get(start..end).unwrap_or_default(),
        ));
        place = last + 1;
    }
    units
}

/// Where each word is: the begin of the blanks before it, its own begin, its end.
fn words(line: &str) -> Vec<(usize, usize, usize)> {
    let (mut words, mut blanks) = (Vec::new(), 0);
    let mut start = None;
    for (at, c) in line.char_indices() {
        match (c, start) {
            (' ', Some(begun)) => {
                words.push((blanks, begun, at));
                (blanks, start) = (at, None);
            }
            (' ', None) | (_, Some(_)) => {}
            (_, None) => start = Some(at),
        }
    }
    if let Some(begun) = start {
        words.push((blanks, begun, line.len()));
    }
    words
}

/// Which is the last word of what is copied together with the one at `place`.
fn last_of_unit<'a>(place: usize, count: usize, text_of: &impl Fn(usize) -> &'a str) -> usize {
    let word = text_of(place);
    let open = word.trim_start_matches(['(', '[']);
    // Between quotes that begin a word and end one.
    for quote in ['`', '\''] {
        if open.starts_with(quote) && open.matches(quote).count() == 1 {
            let end = (place + 1..count).find(|next| text_of(*next).contains(quote));
            return end.unwrap_or(place);
        }
    }
    if open == "curl" {
        return count.saturating_sub(1);
    }
    if open == "conclave" || open == "age" && text_of(place + 1).starts_with('-') {
        let (mut last, mut is_piped) = (place, false);
        while last + 1 < count
            && !ends(text_of(last))
            && (is_piped || is_of_command(text_of(last), text_of(last + 1)))
        {
            last += 1;
            is_piped |= text_of(last) == "|";
        }
        return last;
    }
    // A path with blanks in it, as far as that can be seen: another part of it follows.
    if ["/", "./", "../", "~/"]
        .iter()
        .any(|start| open.starts_with(start))
        && !ends(word)
    {
        let goes_on = (place + 1..count.min(place + 4)).find(|next| {
            let text = text_of(*next);
            text.find('/').is_some_and(|slash| slash > 0)
                && !text.starts_with(['.', '~', '-', '('])
                && !text.contains("://")
        });
        return goes_on.unwrap_or(place);
    }
    place
}

/// Whether a sentence, or a part of one, ends with a word.
fn ends(word: &str) -> bool {
    word.ends_with([',', ';', ':', ')', '`']) || word.ends_with('.') && word != "."
}

/// Whether a word belongs to the command in which it follows another one.
fn is_of_command(before: &str, word: &str) -> bool {
    const SUBCOMMANDS: [&str; 15] = [
        "identity", "new", "show", "rename", "plan", "define", "join", "run", "exit", "backup", "export",
        "import", "status", "rehearse", "verify",
    ];
    let bare = word.trim_end_matches([',', ';', ':', ')', '.', '`']);
    let is_placeholder = bare.len() > 1
        && bare
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || b"-_=0123456789".contains(&byte));
    SUBCOMMANDS.contains(&bare)
        || bare == "slashing-protection"
        || bare == "|"
        || bare.starts_with('-')
        || is_placeholder
        || bare.contains(['/', '=', '_'])
        || bare.contains('.') && !bare.ends_with('.')
        // The value of an option.
        || before.starts_with("--") && !before.contains('=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_broken_between_words_and_goes_on_below_its_beginning() {
        assert_eq!(folded("short", 20), "short");
        assert_eq!(
            folded("Keep that file secret and back it up", 22),
            "Keep that file secret\nand back it up"
        );
        assert_eq!(
            folded("  a line that is indented goes on below", 24),
            "  a line that is\n  indented goes on below"
        );
        assert_eq!(
            folded("Threshold   3 of 4 must sign, and so it goes on", 30),
            "Threshold   3 of 4 must sign,\n            and so it goes on"
        );
        assert_eq!(
            marked("Why:   ", "the file is not what it was before", 24),
            "Why:   the file is not\n       what it was\n       before"
        );
        // Two columns each.
        assert_eq!(folded("名前名前 名前名前 名前", 20), "名前名前 名前名前\n名前");
        // Colours have no width.
        assert_eq!(
            folded("\u{1b}[1mbold\u{1b}[0m and then some more", 20),
            "\u{1b}[1mbold\u{1b}[0m and then some\nmore"
        );
        // What is one line is broken once, and lines stay lines.
        assert_eq!(
            folded("one two three four five\n\nsix", 20),
            "one two three four\nfive\n\nsix"
        );
    }

    #[test]
    fn what_is_copied_stays_as_it_is() {
        for (copied, text) in [
            (
                "conclave --data-dir NEW-FOLDER identity new",
                "For another ceremony make another identity: conclave --data-dir NEW-FOLDER identity new",
            ),
            (
                "conclave --data-dir NEW-FOLDER import moved.age",
                "On the new machine: conclave --data-dir NEW-FOLDER import moved.age",
            ),
            (
                "conclave slashing-protection import FILE",
                "Then bring it back: conclave slashing-protection import FILE and go on",
            ),
            (
                "`conclave join definition.json --yes`",
                "All of you type `conclave join definition.json --yes` and wait",
            ),
            (
                "/home/ann/my own cluster/backup.age",
                "Wrote /home/ann/my own cluster/backup.age: the folder of ann",
            ),
            (
                "curl -X POST -H 'content-type: application/json' -d @FILE BEACON_NODE/eth/v1/beacon/pool/voluntary_exits",
                "Give it to a beacon node with --submit, or: curl -X POST -H 'content-type: application/json' -d @FILE BEACON_NODE/eth/v1/beacon/pool/voluntary_exits",
            ),
            (
                "age -d FILE | tar x",
                "With any program for age files it opens: age -d FILE | tar x",
            ),
            (
                "'Bob Ross=enr:-HW4QH'",
                "It is the whole of the record that was sent: 'Bob Ross=enr:-HW4QH' and nothing else",
            ),
            (
                "--operator 'Bob Ross=enr:-HW4QHqBdYGdKjdhqWd3qdq'",
                "Send this\n\n--operator 'Bob Ross=enr:-HW4QHqBdYGdKjdhqWd3qdq'",
            ),
            (
                "0x71C7656EC7ab88b098defB751B7401B5f6d8976F",
                "  withdrawals go to 0x71C7656EC7ab88b098defB751B7401B5f6d8976F (this can never be changed)",
            ),
            (
                "--peer /ip4/203.0.113.7/tcp/9510/p2p/16Uiu2HAm7zGMtKcRp7kQ",
                "Others reach you with one of these:\n  --peer /ip4/203.0.113.7/tcp/9510/p2p/16Uiu2HAm7zGMtKcRp7kQ",
            ),
        ] {
            for columns in 20..100 {
                let folded = folded(text, columns);
                assert!(folded.contains(copied), "{columns}: {folded}");
            }
        }
        // Words of a sentence are none of a command.
        assert_eq!(
            folded("Start it with conclave run when all of you are there", 30),
            "Start it with conclave run\nwhen all of you are there"
        );
    }

    proptest! {
        #[test]
        fn nothing_but_the_ends_of_lines_changes(text in "( {0,3}[a-z`'/.:\u{540d}]{1,12}){0,30}", columns in 0usize..100) {
            let folded = folded(&text, columns);
            let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(plain(&folded), plain(&text));
            for line in folded.lines() {
                // Wider only where one unit is.
                let of_one = units(line).len() <= 1 || is_to_copy(line);
                prop_assert!(measure_text_width(line) <= columns.max(NARROWEST) || of_one || is_to_copy(&text), "{}", line);
            }
        }
    }
}
