//! `docs/reference.md`: its tables of commands and networks are made here, and a test compares them with the page.
//! `UPDATE_REFERENCE=1 cargo test --lib reference` writes them anew.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory as _};
use conclave_eth::network::Network;

use super::args::Cli;

/// A part of the page that is generated stands between two such lines.
fn markers(name: &str) -> (String, String) {
    (
        format!("<!-- generated: {name} -->"),
        format!("<!-- end: {name} -->"),
    )
}

/// Text that a cell of a table can hold.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// What is typed: `--flag VALUE`, `--flag` or `VALUE`.
fn typed(argument: &Arg) -> String {
    let value = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(|name| name.as_str().to_owned());
    let takes_value = argument.get_action().takes_values();
    match argument.get_long() {
        Some(long) if takes_value => {
            format!(
                "--{long} {}",
                value.unwrap_or_else(|| long.to_uppercase().replace('-', "_"))
            )
        }
        Some(long) => format!("--{long}"),
        None => value.unwrap_or_else(|| argument.get_id().as_str().to_uppercase()),
    }
}

/// One row of a table of flags.
fn row(argument: &Arg) -> String {
    let variable = argument
        .get_env()
        .map(|name| format!("`{}`", name.to_string_lossy()))
        .unwrap_or_default();
    let mut help = argument
        .get_help()
        .map(|help| cell(&help.to_string()))
        .unwrap_or_default();
    let choices: Vec<_> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    // Of a flag without a value these are true and false.
    if !choices.is_empty() && argument.get_action().takes_values() {
        let _ = write!(help, ": {}", choices.join(", "));
    }
    let default: Vec<_> = argument
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if !default.is_empty() && default != ["false"] {
        let _ = write!(help, " (default: `{}`)", default.join(", "));
    }
    if matches!(argument.get_action(), ArgAction::Append) {
        help.push_str("; may be given several times");
    }
    format!("| `{}` | {variable} | {help} |\n", cell(&typed(argument)))
}

/// A table of those arguments of a command that `wanted` names; empty if there are none.
fn table(command: &Command, wanted: impl Fn(&Arg) -> bool) -> String {
    let rows: String = command
        .get_arguments()
        .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()) && wanted(argument))
        .map(row)
        .collect();
    if rows.is_empty() {
        return rows;
    }
    format!("| Flag or value | Variable | What it is |\n|---|---|---|\n{rows}")
}

/// A section for each command without commands of its own, in the order of the help.
fn commands_below(command: &Command, name: &str, page: &mut String) {
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        let name = format!("{name} {}", below.get_name());
        if below.has_subcommands() {
            commands_below(below, &name, page);
            continue;
        }
        let about = below
            .get_about()
            .map(|about| cell(&about.to_string()))
            .unwrap_or_default();
        let _ = write!(page, "### {name}\n\n{about}.\n\n");
        let table = table(below, |argument| !argument.is_global_set());
        if !table.is_empty() {
            let _ = writeln!(page, "{table}");
        }
    }
}

/// All commands with their flags and variables.
fn commands() -> String {
    let command = Cli::command();
    let mut page = String::from("### All commands\n\n");
    page.push_str(&table(&command, Arg::is_global_set));
    page.push('\n');
    commands_below(&command, "conclave", &mut page);
    page.trim_end().to_owned()
}

/// The networks that are built in.
fn networks() -> String {
    let mut page = String::from(
        "| Network | Chain id | Genesis fork version | Seconds in a slot | What it is for |\n|---|---|---|---|---|\n",
    );
    for network in Network::known() {
        let purpose = match (network.read_only, network.real_money) {
            (true, _) => "shut down: files are read and verified, no ceremony is held",
            (false, true) => "real money",
            (false, false) => "tests",
        };
        let version = hex::encode(network.genesis_fork_version);
        let (name, chain, seconds) = (&network.name, network.chain_id, network.slot_seconds);
        let _ = writeln!(
            page,
            "| {name} | {chain} | `0x{version}` | {seconds} | {purpose} |"
        );
    }
    page.trim_end().to_owned()
}

#[test]
fn the_reference_says_what_the_program_can_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let mut right = page.clone();
    for (name, text) in [("commands", commands()), ("networks", networks())] {
        let (begin, end) = markers(name);
        let (before, rest) = right.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
        right = format!("{before}{begin}\n\n{text}\n\n{end}{after}");
    }
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &right).unwrap();
        return;
    }
    let different = right
        .lines()
        .zip(page.lines())
        .find(|(right, page)| right != page);
    assert!(
        right == page,
        "UPDATE_REFERENCE=1 cargo test --lib reference mends docs/reference.md; the first line that differs: {different:?}"
    );
}
