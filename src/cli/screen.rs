//! The live view of a ceremony: a table that is redrawn in a terminal, plain lines elsewhere, events with `--json`.

use std::{collections::BTreeMap, fmt::Write};

use comfy_table::{CellAlignment, Table, presets};

use conclave_ceremony::progress::{Event, Link, OperatorProgress, Snapshot, Step};

use super::{
    flapping::{Flapping, Telling},
    folded::{folded, marked},
    interrupts,
    live::rows,
    output::{Output, obeys_escapes, printable},
    run::now_ms,
};

/// Shows events as they come.
pub struct Screen {
    output: Output,
    /// A terminal that can be redrawn.
    term: Option<console::Term>,
    drawn: Vec<String>,
    /// How large the terminal was then: rows, columns.
    size: (u16, u16),
    /// What was shown last.
    last: Option<Snapshot>,
    /// What was so last, as lines tell it.
    told: Plain,
    /// While a question stands below the table: what was to be said since.
    waiting: Option<Vec<String>>,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen")
            .field("live", &self.term.is_some())
            .finish_non_exhaustive()
    }
}

impl Screen {
    /// A screen on standard output.
    pub fn new(output: &Output) -> Self {
        let term = console::Term::stdout();
        let live = !output.is_json() && term.features().is_attended() && obeys_escapes();
        Self {
            output: output.clone(),
            term: live.then_some(term),
            drawn: Vec::new(),
            size: (0, 0),
            last: None,
            told: Plain::default(),
            waiting: None,
        }
    }

    /// Draws nothing more until [`Screen::go_on`]: something else writes below the table.
    pub fn pause(&mut self) {
        self.drawn.clear();
        self.waiting.get_or_insert_default();
    }

    /// Says what has been kept back, and draws again.
    pub fn go_on(&mut self) {
        for text in self.waiting.take().unwrap_or_default() {
            self.output.say(text);
        }
        self.draw();
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event) {
        if self.output.is_json() {
            self.output.event(event);
            return;
        }
        match event {
            Event::Progress(snapshot) => self.progress(snapshot),
            other => {
                let Some(text) = words(other) else { return };
                if let Some(waiting) = &mut self.waiting {
                    waiting.push(text);
                } else {
                    self.erase();
                    self.output.say(text);
                    self.draw();
                }
            }
        }
    }

    fn progress(&mut self, snapshot: &Snapshot) {
        if self.last.as_ref() == Some(snapshot) {
            return;
        }
        if self.term.is_some() {
            self.erase();
            self.last = Some(snapshot.clone());
            self.draw();
        } else {
            self.last = Some(snapshot.clone());
            self.tell(snapshot);
        }
    }

    fn tell(&mut self, snapshot: &Snapshot) {
        for line in self.told.lines(snapshot, now_ms()) {
            self.output.say(line);
        }
    }

    /// Time passes: what was not told because it changed so often is told once it stays. The table is drawn again where the command was
    /// stopped and goes on, and where the terminal has another size.
    pub fn tick(&mut self) {
        if self.term.is_some() && interrupts::continued() {
            self.drawn.clear();
            self.draw();
        } else if !self.drawn.is_empty() && self.term.as_ref().is_some_and(|term| term.size() != self.size) {
            self.erase();
            self.draw();
        }
        for line in self.told.settle(now_ms()) {
            self.output.say(line);
        }
    }

    fn erase(&mut self) {
        if let Some(term) = &self.term {
            let _ = term.clear_last_lines(rows(&self.drawn, term.size().1));
            self.drawn.clear();
        }
    }

    fn draw(&mut self) {
        let (Some(term), Some(snapshot), None) = (&self.term, &self.last, &self.waiting) else {
            return;
        };
        self.size = term.size();
        let (height, width) = self.size;
        let mut lines = view(snapshot, usize::from(width));
        // More lines than the terminal has could not be erased again.
        let room = usize::from(height).saturating_sub(1).max(1);
        lines.drain(..lines.len().saturating_sub(room));
        for line in &lines {
            let _ = term.write_line(line);
        }
        self.drawn = lines;
    }
}

/// The lines of the live view, none wider than `width`.
fn view(snapshot: &Snapshot, width: usize) -> Vec<String> {
    let mut text = table(snapshot, width);
    if snapshot.attempt > 1 {
        let _ = write!(text, "\nAttempt {}", snapshot.attempt);
    }
    let (ready, needed) = snapshot.keys_ready;
    if ready < needed {
        let _ = write!(text, "\nPreparing keystores: {ready} of {needed}");
    }
    for part in snapshot.warning.iter().chain([&snapshot.status]) {
        let _ = write!(text, "\n{}", folded(&printable(part), width));
    }
    text.lines()
        .map(|line| console::truncate_str(line, width.max(20), "…").into_owned())
        .collect()
}

/// So many columns and more have the names of all steps above them.
const WIDE: usize = 96;
/// So many have a box for each step.
const MIDDLE: usize = 72;
/// What stands beside names in the narrow table, at most, without the boxes.
const BESIDE_NAMES: usize = 37;

/// Who is there, and how far: ☑ done, ☐ not yet, ☒ fault.
pub fn table(snapshot: &Snapshot, width: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // In a narrow terminal the steps have no columns of their own.
    let is_wide = width >= WIDE;
    let mut head = vec![String::new(), "operator".to_owned(), "here".to_owned()];
    if is_wide {
        head.extend(Step::ALL.iter().map(|step| step.word().to_owned()));
    } else {
        head.push("steps".to_owned());
    }
    table.add_row(head);
    let boxes = if width >= MIDDLE { Step::ALL.len() + 1 } else { 0 };
    let room = if is_wide {
        width
    } else {
        width.saturating_sub(BESIDE_NAMES + boxes).max(8)
    };
    for operator in &snapshot.operators {
        let mut row = vec![
            operator.index.to_string(),
            console::truncate_str(&printable(&operator.name), room, "…").into_owned(),
            link(operator).to_owned(),
        ];
        if is_wide {
            row.extend(Step::ALL.iter().map(|step| mark(operator, *step).to_owned()));
        } else {
            row.push(steps_of(operator, width));
        }
        table.add_row(row);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text: String = table
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect();
    for operator in &snapshot.operators {
        if let Some(fault) = &operator.fault {
            let fault = format!(
                "operator {} ({}): {}",
                operator.index,
                printable(&operator.name),
                printable(fault)
            );
            let _ = writeln!(text, "{}", marked("☒ ", &fault, width));
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// How far somebody is, in one column: `☑☑☑☐☐☐☐☐ 3 of 8: checked`, without the boxes where there is no room for them.
fn steps_of(operator: &OperatorProgress, width: usize) -> String {
    let done: Vec<Step> = Step::ALL.into_iter().filter(|step| operator.has(*step)).collect();
    let boxes: String = Step::ALL.iter().map(|step| mark(operator, *step)).collect();
    let last = done
        .last()
        .map_or(String::new(), |step| format!(": {}", step.word()));
    let count = format!("{} of {}{last}", done.len(), Step::ALL.len());
    if width >= MIDDLE {
        format!("{boxes} {count}")
    } else if operator.fault.is_some() {
        format!("☒ {count}")
    } else {
        count
    }
}

fn mark(operator: &OperatorProgress, step: Step) -> &'static str {
    if operator.has(step) {
        "☑"
    } else if operator.fault.is_some() {
        "☒"
    } else {
        "☐"
    }
}

fn link(operator: &OperatorProgress) -> &'static str {
    match operator.link {
        Link::Myself => "you",
        Link::Connected => "yes",
        Link::Apart => "differs",
        Link::Through => "via others",
        Link::Away => "no",
        Link::Validating => "in run",
    }
}

/// How long a status that was told is not told again while somebody comes and goes, in milliseconds.
const STATUS_MS: u64 = 60_000;

/// Snapshots as lines.
#[derive(Default)]
struct Plain {
    /// What was so last.
    last: Option<Snapshot>,
    /// What was told: as it was, but for what changes all the time.
    told: Option<Snapshot>,
    flapping: Flapping,
    /// When which status was told.
    statuses: BTreeMap<String, u64>,
}

impl Plain {
    /// What there is to say.
    fn lines(&mut self, now: &Snapshot, now_ms: u64) -> Vec<String> {
        let (mut shown, mut more) = (now.clone(), Vec::new());
        let link = |snapshot: &Option<Snapshot>, index: u16| {
            let operators = snapshot.iter().flat_map(|snapshot| &snapshot.operators);
            let mut found = operators.filter(|operator| operator.index == index);
            found.next().map_or(Link::Away, |operator| operator.link)
        };
        for operator in &mut shown.operators {
            let telling = if link(&self.last, operator.index) == operator.link {
                Telling::Tell
            } else {
                self.flapping.changed(operator.index, now_ms)
            };
            if telling == Telling::GoesOn {
                more.push(format!(
                    "operator {} ({}) comes and goes again and again; more is said when that is over",
                    operator.index,
                    printable(&operator.name)
                ));
            }
            if self.flapping.is_quiet(operator.index) {
                operator.link = link(&self.told, operator.index);
            }
        }
        self.statuses
            .retain(|_, told_ms| now_ms.saturating_sub(*told_ms) < STATUS_MS);
        if let Some(told) = &self.told
            && self.flapping.is_any_quiet()
            && self.statuses.contains_key(&shown.status)
        {
            shown.status.clone_from(&told.status);
        }
        self.statuses.entry(shown.status.clone()).or_insert(now_ms);
        let mut lines = changes(self.told.as_ref(), &shown);
        lines.extend(more);
        self.last = Some(now.clone());
        self.told = Some(shown);
        lines
    }

    /// What there is to say of those who came and went, and have stayed for a while.
    fn settle(&mut self, now_ms: u64) -> Vec<String> {
        let settled = self.flapping.settled(now_ms);
        let (Some(last), Some(told)) = (self.last.clone(), &mut self.told) else {
            return Vec::new();
        };
        for (operator, told) in last.operators.iter().zip(&mut told.operators) {
            if settled.contains(&operator.index) {
                // Told whatever it was before.
                told.link = if operator.link == Link::Away {
                    Link::Connected
                } else {
                    Link::Away
                };
            }
        }
        if settled.is_empty() {
            return Vec::new();
        }
        self.lines(&last, now_ms)
    }
}

/// What is new since the last snapshot, a line for each.
pub fn changes(before: Option<&Snapshot>, now: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    // In a new attempt everybody begins anew.
    let same_attempt = before.filter(|before| before.attempt == now.attempt);
    if before.is_some() && same_attempt.is_none() {
        lines.push(format!("attempt {} begins", now.attempt));
    }
    for operator in &now.operators {
        let who = format!("operator {} ({})", operator.index, printable(&operator.name));
        let find = |snapshot: &Snapshot| {
            snapshot
                .operators
                .iter()
                .find(|o| o.index == operator.index)
                .cloned()
        };
        let old = before.and_then(find);
        let old_link = old.as_ref().map_or(Link::Away, |old| old.link);
        if old_link != operator.link {
            match operator.link {
                Link::Connected => lines.push(format!("{who} is connected")),
                Link::Through => lines.push(format!("{who} is reached via others")),
                Link::Apart => lines.push(format!("{who} is connected and holds another ceremony")),
                Link::Away => lines.push(format!("{who} is gone")),
                Link::Validating => {
                    lines.push(format!("{who} runs conclave run: the ceremony is over there"));
                }
                Link::Myself => {}
            }
        }
        let old_steps = same_attempt
            .and_then(find)
            .map(|old| old.steps)
            .unwrap_or_default();
        for step in operator.steps.iter().filter(|step| !old_steps.contains(step)) {
            lines.push(format!("{who} has {}", step_done(*step)));
        }
        if let Some(fault) = operator
            .fault
            .as_ref()
            .filter(|fault| old.as_ref().and_then(|o| o.fault.as_ref()) != Some(fault))
        {
            lines.push(format!("{who}: {}", printable(fault)));
        }
    }
    if let Some(warning) = &now.warning
        && before.is_none_or(|before| before.warning != now.warning)
    {
        lines.push(printable(warning));
    }
    if before.is_none_or(|before| before.status != now.status) && !now.status.is_empty() {
        lines.push(printable(&now.status));
    }
    lines
}

fn step_done(step: Step) -> &'static str {
    match step {
        Step::Joined => "joined",
        Step::Dealt => "dealt its shares",
        Step::Checked => "checked all shares",
        Step::Revealed => "revealed its commitments",
        Step::Stored => "stored its share",
        Step::Signed => "signed",
        Step::Sealed => "sealed the lock",
        Step::Done => "finished",
    }
}

/// The addresses that a person would paste: of several ways to the same machine the plainest, and not the way back to oneself
/// unless there is no other.
fn worth_showing(addresses: &[String]) -> Vec<&String> {
    let loopback = |a: &String| a.starts_with("/ip4/127.") || a.starts_with("/ip6/::1/");
    let mut best: Vec<&String> = addresses.iter().filter(|a| a.contains("/tcp/")).collect();
    if best.is_empty() {
        best = addresses.iter().collect();
    }
    if best.iter().any(|a| !loopback(a)) {
        best.retain(|a| !loopback(a));
    }
    best
}

/// An event in words, for a person; none for events that other lines say already.
fn words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Listening { addresses } => {
            let mut text = "Others reach you with one of these:".to_owned();
            for address in worth_showing(addresses) {
                let _ = write!(text, "\n  --peer {}", printable(address));
            }
            text.push_str(
                "\n(behind a router: forward the port, and put the router's public address into the line)",
            );
            text
        }
        Event::Notice { message } => printable(message),
        Event::Unreachable(told) => printable(&told.message),
        Event::Fault {
            message, evidence, ..
        } => {
            let evidence = evidence
                .as_ref()
                .map_or(String::new(), |path| format!("\nThe evidence is in {path}"));
            format!("☒ {}{evidence}", printable(message))
        }
        Event::Written { path, .. } => format!("Wrote {}", printable(path)),
        Event::Finished {
            lock_hash,
            validators,
            seconds,
        } => {
            let mut text = format!("Done in {seconds:.1} s.");
            for key in validators.iter().take(20) {
                let _ = write!(text, "\n  validator {key}");
            }
            if validators.len() > 20 {
                let _ = write!(text, "\n  and {} more", validators.len() - 20);
            }
            if let Some(hash) = lock_hash {
                let _ = write!(text, "\n  lock {hash}");
            }
            text
        }
        Event::Identity { .. }
        | Event::Definition { .. }
        | Event::Progress(_)
        | Event::Check { .. }
        | Event::Error { .. } => {
            return None;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let mut operators = vec![
            OperatorProgress::new(1, "ann", Link::Myself),
            OperatorProgress::new(2, "b\u{1b}[2Job", Link::Away),
        ];
        operators[0].steps = vec![Step::Joined, Step::Dealt];
        Snapshot {
            attempt: 1,
            operators,
            keys_ready: (1, 2),
            status: "waiting for bob".into(),
            warning: None,
        }
    }

    #[test]
    fn the_table_shows_how_far_everybody_is() {
        let text = table(&snapshot(), 120);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[0].contains("operator") && rows[0].contains("revealed"));
        assert_eq!(rows[1].matches('☑').count(), 2);
        assert_eq!(rows[1].matches('☐').count(), 6);
        assert_eq!(rows[2].matches('☐').count(), 8);
        assert!(!text.contains('\u{1b}'));
        let mut faulty = snapshot();
        faulty.operators[1].fault = Some("sent a bad share".into());
        assert!(table(&faulty, 120).contains("☒ operator 2"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut long = snapshot();
        long.status = "x".repeat(500);
        long.operators[0].name = "名".repeat(10);
        long.operators[1].fault = Some("sent a share that does not fit its commitments, ".repeat(4));
        for width in [40, 60, 80, 200] {
            let lines = view(&long, width);
            assert!(
                lines.iter().any(|line| line.contains("2 of 8: dealt")) || width == 200,
                "{lines:#?}"
            );
            // What was wrong is told in full.
            let told = lines.iter().filter(|line| line.contains("commitments")).count();
            assert!(told > 1 || width == 200, "{lines:#?}");
            assert!(
                lines
                    .iter()
                    .all(|line| console::measure_text_width(line) <= width),
                "{lines:#?}"
            );
        }
    }

    #[test]
    fn whoever_runs_twice_does_not_make_the_lines_scroll() {
        let (mut plain, mut now, mut lines) = (Plain::default(), snapshot(), Vec::new());
        lines.extend(plain.lines(&now, 0));
        // Two processes push each other out, every two seconds.
        for i in 1..=300 {
            let here = i % 2 == 1;
            now.operators[1].link = if here { Link::Connected } else { Link::Away };
            now.status = if here {
                "Waiting for somebody"
            } else {
                "Waiting for anybody"
            }
            .to_owned();
            lines.extend(plain.lines(&now, i * 2000));
            assert!(plain.settle(i * 2000 + 1000).is_empty());
        }
        let about = |lines: &[String], text: &str| lines.iter().filter(|line| line.contains(text)).count();
        assert_eq!(
            about(&lines, "is connected") + about(&lines, "is gone"),
            4,
            "{lines:#?}"
        );
        assert_eq!(about(&lines, "again and again"), 1, "{lines:#?}");
        // Ten minutes: each status about once a minute.
        assert!(about(&lines, "Waiting") < 30, "{lines:#?}");
        // What is new is told meanwhile.
        now.operators[1].steps.push(Step::Joined);
        now.status = "All are here".to_owned();
        let lines = plain.lines(&now, 601_000);
        assert!(
            lines.len() == 2 && lines[0].contains("joined") && lines[1] == "All are here",
            "{lines:?}"
        );
        // It stays away: told after a minute.
        let lines = plain.settle(700_000);
        assert!(lines.len() == 1 && lines[0].contains("is gone"), "{lines:?}");
        assert!(plain.settle(800_000).is_empty());
        now.operators[1].link = Link::Connected;
        let lines = plain.lines(&now, 800_000);
        assert_eq!(about(&lines, "is connected"), 1, "{lines:?}");
    }

    #[test]
    fn plain_lines_say_only_what_is_new() {
        let first = snapshot();
        let lines = changes(None, &first);
        assert!(
            lines.contains(&"operator 1 (ann) has joined".to_owned()),
            "{lines:?}"
        );
        assert!(changes(Some(&first), &first).is_empty());
        let mut second = first.clone();
        second.operators[1].link = Link::Connected;
        second.operators[1].steps.push(Step::Joined);
        let lines = changes(Some(&first), &second);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("is connected") && lines[1].ends_with("has joined"));
        let mut warned = second.clone();
        warned.warning = Some("your vote stands".into());
        assert_eq!(changes(Some(&second), &warned), ["your vote stands"]);
        assert!(changes(Some(&warned), &warned).is_empty());
        assert!(view(&warned, 80).contains(&"your vote stands".to_owned()));
        second.attempt = 2;
        assert_eq!(changes(Some(&first), &second)[0], "attempt 2 begins");
    }
}
