//! A running node in lines of text: for `conclave status`, and below the lines of `run` in a terminal.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use conclave_monitor::overview::{
    view::{Link, OperatorView, State, StepView, ValidatorView, View},
    words::{brief, count, offset, span},
};

use super::{folded::marked, output::printable};

/// Below this many columns there is no room for everything.
const NARROW: usize = 90;
/// So many validators are shown one by one; the others in figures.
const VALIDATORS: usize = 12;
/// A name is cut to so many columns.
const MAX_NAME: usize = 20;
/// Columns of an operator's row before its slots.
const BEFORE_SLOTS: usize = 62;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everything.
    Full,
    /// What fits into so many lines.
    Lines(usize),
}

/// The picture, no line wider than `width` columns.
pub(super) fn lines(view: &View, width: usize, extent: Extent) -> Vec<String> {
    let width = width.max(20);
    let mut lines = vec![head(view)];
    for reason in &view.reasons {
        lines.extend(wrapped("!", reason, width));
    }
    if let Some(why) = view.merely() {
        lines.extend(wrapped("-", why, width));
    }
    // Why it waits says that too.
    let mark = view
        .database_mark
        .iter()
        .filter(|mark| !view.why.contains(mark.as_str()));
    for warning in view.warnings.iter().chain(mark) {
        lines.extend(wrapped("-", warning, width));
    }
    lines.push(String::new());
    lines.extend(operators(view, width));
    lines.push(String::new());
    // What comes first stays when there is little room.
    let mut rest = vec![
        beacon_nodes(view),
        exits(view, width),
        validators(view, width),
        steps(view),
    ];
    if let Extent::Lines(most) = extent {
        lines.truncate(most.max(1));
        let mut room = most.saturating_sub(lines.len());
        for part in &mut rest {
            part.truncate(room);
            room -= part.len();
        }
    }
    lines.extend(rest.into_iter().flatten());
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
        .iter()
        .map(|line| console::truncate_str(line.trim_end(), width, "…").into_owned())
        .collect()
}

/// `alice, operator 1 of 4 · hoodi · slot 123, epoch 3 · signing`
fn head(view: &View) -> String {
    let me = view.operators.iter().find(|one| one.operator == view.operator);
    let mut text = format!(
        "{}, operator {} of {}",
        printable(me.map_or("?", |me| me.name.as_str())),
        view.operator,
        view.operators.len()
    );
    if let Some(network) = &view.network {
        let _ = write!(text, " · {}", printable(network));
    }
    if let (Some(slot), Some(epoch)) = (view.slot, view.epoch) {
        let _ = write!(text, " · slot {slot}, epoch {epoch}");
    }
    let state = if view.state == State::Signing && view.validators.nothing_to_sign.is_some() {
        "nothing to sign".to_owned()
    } else {
        view.state.name().replace('_', " ")
    };
    let _ = write!(text, " · {state}");
    text
}

fn operators(view: &View, width: usize) -> Vec<String> {
    let wide = width >= NARROW;
    let mut table = plain();
    let mut titles = vec!["", "operator", "connected", "round trip", "clock", "took part"];
    if !wide {
        titles.remove(4);
    }
    titles.push("last slots");
    table.add_row(titles);
    let room = width
        .saturating_sub(if wide { BEFORE_SLOTS } else { BEFORE_SLOTS - 8 })
        .max(8);
    for one in &view.operators {
        let mut row = vec![
            one.operator.to_string(),
            short(&one.name),
            link(view, one),
            one.round_trip_ms.map_or_else(String::new, brief),
        ];
        if wide {
            row.push(one.clock_offset_ms.map_or_else(String::new, offset));
        }
        row.push(if one.duties == 0 {
            String::new()
        } else {
            format!("{} of {}", one.took_part, one.duties)
        });
        row.push(slots(&one.participation, room));
        table.add_row(row);
    }
    let numbers = if wide { vec![0, 3, 4, 5] } else { vec![0, 3, 4] };
    text_of(table, &numbers)
}

/// The newest slots, the newest on the right.
fn slots(participation: &str, room: usize) -> String {
    let letters: Vec<char> = participation.chars().collect();
    let newest = letters.iter().skip(letters.len().saturating_sub(room));
    newest
        .map(|letter| match letter {
            'y' => '■',
            'p' => '◧',
            'n' => '✗',
            '-' => '·',
            _ => ' ',
        })
        .collect()
}

fn link(view: &View, one: &OperatorView) -> String {
    let link = match one.link {
        Link::Myself => "you".to_owned(),
        Link::Direct => "yes".to_owned(),
        Link::Away => "no".to_owned(),
        Link::Through => {
            let other = view
                .operators
                .iter()
                .find(|other| Some(other.operator) == one.through);
            format!(
                "via {}",
                other.map_or_else(|| "others".to_owned(), |other| short(&other.name))
            )
        }
    };
    if one.dry_run {
        format!("{link}, dry run")
    } else {
        link
    }
}

fn beacon_nodes(view: &View) -> Vec<String> {
    view.beacon_nodes
        .iter()
        .map(|node| {
            let mut line = format!(
                "Beacon node {}: {}",
                printable(&node.name),
                printable(&node.message)
            );
            if node.state == "ready" {
                let _ = write!(
                    line,
                    ", head {}, answers in {} ms",
                    node.head_slot, node.latency_ms
                );
            }
            if !node.version.is_empty() {
                let _ = write!(line, " ({})", printable(&node.version));
            }
            line
        })
        .collect()
}

fn steps(view: &View) -> Vec<String> {
    let step = |step: &StepView| {
        let mut line = format!("{}: ", capital(&step.duty));
        if let Some([half, ..]) = step.agreed_ms {
            let _ = write!(line, "agreed in {half} ms, ");
        }
        match (step.signed_ms, step.late_ms) {
            (Some([half, ..]), Some([_, most, _])) => {
                let times = count(step.times, "slot", "slots");
                let late = match most {
                    0 => "in time".to_owned(),
                    _ => format!("at most {most} ms late"),
                };
                let _ = write!(line, "signed in {half} ms; nine of ten {late} ({times})");
            }
            _ => line.push_str("not signed"),
        }
        line
    };
    let lines = view.steps.iter().map(step);
    std::iter::once(String::new()).chain(lines).collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Those that are under way.
fn exits(view: &View, width: usize) -> Vec<String> {
    let shown = view.exits.iter().take(VALIDATORS);
    let mut lines: Vec<String> = shown.flat_map(|one| wrapped("-", &one.text, width)).collect();
    if view.exits.len() > VALIDATORS {
        lines.push(format!("and {} more exits", view.exits.len() - VALIDATORS));
    }
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

fn validators(view: &View, width: usize) -> Vec<String> {
    let all = &view.validators;
    let statuses: Vec<String> = all
        .standings
        .iter()
        .map(|(standing, count)| format!("{count} {}", printable(standing)))
        .collect();
    let mut sum = format!(
        "{}: {} · {}",
        count(all.count, "validator", "validators"),
        statuses.join(", "),
        eth(all.balance_gwei)
    );
    if let Some(epoch) = all.last_epoch {
        let _ = write!(
            sum,
            " · last votes (until epoch {epoch}): {} included, {} missed",
            all.last_included, all.last_missed
        );
    }
    let mut lines = vec![String::new(), sum];
    if let Some(why) = &all.nothing_to_sign {
        lines.push(capital(&printable(why)));
    }
    let mut list: Vec<&ValidatorView> = all.list.iter().collect();
    if list.len() > VALIDATORS {
        list.sort_by_key(|one| one.status == "active_ongoing" && one.missed_epoch.is_none());
        list.truncate(VALIDATORS);
    }
    let mut table = plain();
    table.add_row(vec!["index", "key", "status", "balance", "last vote included"]);
    for one in &list {
        table.add_row(vec![
            one.index
                .map_or_else(|| "-".to_owned(), |index| index.to_string()),
            one.key
                .chars()
                .take(if width < NARROW { 10 } else { 18 })
                .collect(),
            printable(&one.standing),
            one.balance_gwei.map_or_else(String::new, eth),
            last_vote(one),
        ]);
    }
    lines.extend(text_of(table, &[0, 3]));
    if all.count > list.len() {
        lines.push(format!("and {} more", all.count - list.len()));
    }
    lines
}

fn last_vote(one: &ValidatorView) -> String {
    let mut text = String::new();
    if let Some(epoch) = one.missed_epoch {
        let _ = write!(text, "missed in epoch {epoch}");
        if one.last_included.is_some() {
            text.push_str("; before: ");
        }
    }
    if let Some(vote) = one.last_included {
        let _ = match vote.slot {
            Some(slot) => write!(text, "slot {slot}"),
            None => write!(text, "epoch {}", vote.epoch),
        };
        if let Some(distance) = vote.distance {
            let _ = write!(
                text,
                ", {} later",
                count(usize::try_from(distance).unwrap_or(0), "slot", "slots")
            );
        }
        if vote.head == Some(false) {
            text.push_str(", head wrong or late");
        }
        if vote.target == Some(false) {
            text.push_str(", target wrong or late");
        }
    }
    text
}

fn eth(gwei: u64) -> String {
    format!(
        "{}.{:04} ETH",
        gwei / 1_000_000_000,
        gwei % 1_000_000_000 / 100_000
    )
}

fn short(name: &str) -> String {
    console::truncate_str(&printable(name), MAX_NAME, "…").into_owned()
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// A table's lines; these columns are numbers.
fn text_of(mut table: Table, numbers: &[usize]) -> Vec<String> {
    for place in numbers {
        if let Some(column) = table.column_mut(*place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// A text with a mark before it, broken between words.
fn wrapped(mark: &str, text: &str, width: usize) -> Vec<String> {
    let text = marked(&format!("{mark} "), &printable(text), width);
    text.lines().map(str::to_owned).collect()
}

/// How long ago the process started: `2 h`.
pub(super) fn up(view: &View) -> String {
    span(view.now_ms.saturating_sub(view.started_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_monitor::overview::view::{ExitView, ForkView, LastVote, NodeView, ValidatorsView};

    fn view() -> View {
        let operator = |operator: u16, name: &str, link, participation: &str| OperatorView {
            operator,
            name: name.to_owned(),
            link,
            through: (link == Link::Through).then_some(2),
            round_trip_ms: (link == Link::Direct).then_some(3),
            clock_offset_ms: (link == Link::Direct).then_some(-2),
            software: "conclave/1".to_owned(),
            dry_run: link == Link::Direct,
            builder: None,
            forks: Vec::new(),
            participation: participation.to_owned(),
            took_part: 5,
            duties: 6,
            faults: 0,
        };
        let validator = |place: usize, missed_epoch| ValidatorView {
            validator: place,
            key: format!("0x{}", "ab".repeat(48)),
            index: Some(100 + place as u64),
            status: "active_ongoing".to_owned(),
            standing: "active".to_owned(),
            balance_gwei: Some(32_000_100_000),
            last_signed_slot: Some(9),
            last_included: Some(LastVote {
                epoch: 1,
                slot: Some(9),
                distance: Some(1),
                target: Some(true),
                head: Some(true),
            }),
            missed_epoch,
        };
        View {
            software: "conclave/1".to_owned(),
            now_ms: 10_000_000,
            started_ms: 0,
            lock_hash: "0x00".to_owned(),
            operator: 1,
            threshold: 3,
            network: Some("hoodi".to_owned()),
            slot: Some(20),
            epoch: Some(2),
            slot_ms: Some(12_000),
            slots_per_epoch: Some(8),
            state: State::Signing,
            why: String::new(),
            signs_from_epoch: None,
            signs_from_ms: None,
            database_mark: None,
            restored: None,
            healthy: true,
            reasons: Vec::new(),
            live: true,
            last_round_ms: 12,
            warnings: vec![
                "the fork eip9999 comes at epoch 100, and this version of conclave does not know it: update conclave before".to_owned(),
            ],
            unknown_fork: Some(ForkView {
                name: "eip9999".to_owned(),
                epoch: 100,
                in_seconds: 1000,
            }),
            first_slot: 14,
            operators: vec![
                operator(1, "alice", Link::Myself, "yyyp-?"),
                operator(2, "b\u{1b}[2Job", Link::Direct, "yyyyy?"),
                operator(3, &"名".repeat(40), Link::Through, "nnyyy?"),
                operator(4, "dave", Link::Away, "nnnnn?"),
            ],
            validators: ValidatorsView {
                count: 30,
                statuses: vec![("active_ongoing".to_owned(), 30)],
                standings: vec![("active".to_owned(), 30)],
                nothing_to_sign: None,
                balance_gwei: 960_003_000_000,
                last_epoch: Some(1),
                last_included: 29,
                last_missed: 1,
                list: (0..30)
                    .map(|place| validator(place, (place == 29).then_some(1)))
                    .collect(),
            },
            exits: Vec::new(),
            steps: vec![StepView {
                duty: "attestation".to_owned(),
                times: 4,
                agreed_ms: Some([12, 15, 20]),
                signed_ms: Some([13, 25, 40]),
                late_ms: Some([0, 40, 60]),
            }],
            duties: Vec::new(),
            beacon_nodes: vec![NodeView {
                name: "http://localhost:5052".to_owned(),
                state: "ready".to_owned(),
                message: "ready".to_owned(),
                version: "Teku".to_owned(),
                head_slot: 19,
                latency_ms: 4,
            }],
        }
    }

    #[test]
    fn where_nothing_is_to_be_signed_it_says_why() {
        let mut view = view();
        view.validators.standings = vec![("not on the chain yet".to_owned(), 30)];
        view.validators.nothing_to_sign =
            Some("not on the chain yet: nothing to sign until it is deposited and active".to_owned());
        let text = lines(&view, 140, Extent::Full).join("\n");
        for part in [
            "slot 20, epoch 2 · nothing to sign\n",
            "30 validators: 30 not on the chain yet",
            "\nNot on the chain yet: nothing to sign until it is deposited and active\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("signing"), "{text}");
    }

    #[test]
    fn exits_that_are_under_way_are_shown() {
        let mut view = view();
        let exit = ExitView {
            validator: 0,
            key: format!("0x{}", "ab".repeat(48)),
            epoch: 0,
            consents: vec![1],
            missing: vec![2, 3, 4],
            needed: 3,
            stage: "waits".to_owned(),
            text: "Exit of validator 100: 1 of the 3 that are needed consent: al\u{1b}ice".to_owned(),
        };
        view.exits = vec![exit; 14];
        let text = lines(&view, 140, Extent::Full).join("\n");
        let exits =
            text.matches("- Exit of validator 100: 1 of the 3 that are needed consent: al\u{fffd}ice");
        assert_eq!(exits.count(), 12, "{text}");
        assert!(text.contains("and 2 more exits"), "{text}");
    }

    #[test]
    fn everything_is_there() {
        let text = lines(&view(), 140, Extent::Full).join("\n");
        for part in [
            "alice, operator 1 of 4 · hoodi · slot 20, epoch 2 · signing",
            "- the fork eip9999",
            "5 of 6",
            "-2 ms",
            "■■■◧·",
            "via b\u{fffd}[2Job",
            "Beacon node http://localhost:5052: ready, head 19, answers in 4 ms (Teku)",
            "Attestation: agreed in 12 ms, signed in 13 ms; nine of ten at most 40 ms late (4 slots)",
            "30 validators: 30 active · 960.0030 ETH · last votes (until epoch 1): 29 included, 1 missed",
            "missed in epoch 1; before: slot 9, 1 slot later",
            "and 18 more",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
        assert_eq!(up(&view()), "2 h");
    }

    #[test]
    fn why_it_waits_is_said_once() {
        let mut waits = View {
            state: State::Waiting,
            why: "attestations are signed from epoch 3 on, in 6 min: the folder was moved".to_owned(),
            database_mark: Some("the folder was moved".to_owned()),
            ..view()
        };
        let lines_with = |view: &View, text: &str| {
            let lines = lines(view, 140, Extent::Full);
            lines
                .iter()
                .filter(|line| line.contains(text))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            lines_with(&waits, "the folder was moved"),
            [format!("- {}", waits.why)]
        );
        waits.reasons = vec![waits.why.clone()];
        assert_eq!(
            lines_with(&waits, "the folder was moved"),
            [format!("! {}", waits.why)]
        );
        waits.why.clear();
        waits.reasons.clear();
        assert_eq!(
            lines_with(&waits, "the folder was moved"),
            ["- the folder was moved"]
        );
    }

    #[test]
    fn clocks_that_are_far_off_are_told_as_people_do() {
        let mut view = view();
        view.operators[1].clock_offset_ms = Some(3_600_987);
        let text = lines(&view, 140, Extent::Full).join("\n");
        assert!(text.contains("+60 min") && !text.contains("3600987"), "{text}");
    }

    #[test]
    fn it_fits_into_any_terminal() {
        for width in [10, 40, 60, 80, 89, 90, 200] {
            for most in [1, 3, 8, 20, 200] {
                let lines = lines(&view(), width, Extent::Lines(most));
                assert!(lines.len() <= most, "{width} {most}");
                let widest = lines
                    .iter()
                    .map(|line| console::measure_text_width(line))
                    .max()
                    .unwrap();
                assert!(widest <= width.max(20), "{widest} {width}: {lines:#?}");
            }
        }
        let short = lines(&view(), 80, Extent::Lines(13)).join("\n");
        for part in ["dave", "Beacon node", "30 validators"] {
            assert!(short.contains(part), "{part} is not in\n{short}");
        }
        assert!(!short.contains("and 18 more"), "{short}");
    }
}
