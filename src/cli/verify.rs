//! `conclave verify`: check results.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use comfy_table::{ContentArrangement, Table, presets};

use conclave_ceremony::files::Disk;
use conclave_ceremony::problem::{Kind, Problem, Remedy};
use conclave_ceremony::progress::Event;
use conclave_ceremony::randomness::weight_seed;
use conclave_ceremony::secrecy;
use conclave_ceremony::verify::{Material, Row, Verification, gather, network_of, verify_with};
use conclave_cluster::report::Outcome;
use conclave_cluster::wallets::Wallets;
use conclave_eth::network::Network;

use super::Context;
use super::args::VerifyArgs;
use super::input;
use super::output::{columns, printable};
use super::wallets;

/// Runs the command.
///
/// # Errors
/// With what went wrong, and its exit code: 6 when a check failed.
pub fn run(context: &Context, args: &VerifyArgs) -> Result<(), Problem> {
    let start = Instant::now();
    let network = input::network_file(args.own_network.network_file.as_deref())?;
    let materials = gather(&Disk::new(), &args.paths, args.password_file.as_deref())?;
    let wallets = known_wallets(context, args, &materials, network.as_ref())?;
    let result = verify_with(&materials, network.as_ref(), &weight_seed()?, &wallets);
    for row in &result.rows {
        context.output.event(&event(row));
    }
    context
        .output
        .say(table(&result.rows, columns(&console::Term::stdout())));
    context.output.say(summary(&result));
    for remedy in remedies(&result) {
        context.output.say(remedy);
    }
    tell_of_open_secrets(context, args, &materials);
    judge(&result)?;
    context
        .output
        .event(&finished(&result, start.elapsed().as_secs_f64()));
    Ok(())
}

/// Tells of secrets that others on this machine may read: those of the folders that were verified, and of the files that were named.
fn tell_of_open_secrets(context: &Context, args: &VerifyArgs, materials: &[Material]) {
    let disk = Disk::new();
    let folders = materials.iter().filter_map(|material| material.folder.as_deref());
    let mut warnings: Vec<String> = folders
        .filter_map(|folder| secrecy::warning(&disk, Path::new(folder), &[]))
        .collect();
    let passwords = args
        .paths
        .iter()
        .filter(|path| path.is_file())
        .map(|path| path.with_extension("txt"));
    for password in passwords.chain(args.password_file.clone()) {
        // No folder, hence nothing in one.
        warnings.extend(secrecy::warning(&disk, &password, &[&password]));
    }
    warnings.dedup();
    for warning in warnings {
        context.output.warn(&printable(&warning));
    }
}

/// What is known of contract wallets among the signers of these files.
fn known_wallets(
    context: &Context,
    args: &VerifyArgs,
    materials: &[Material],
    custom: Option<&Network>,
) -> Result<Wallets, Problem> {
    let definitions = materials.iter().flat_map(|material| {
        // Reading them twice takes its time.
        let asked = args.wallets.execution_client.is_some();
        if asked { material.definitions() } else { Vec::new() }
    });
    let known = definitions.filter_map(|definition| {
        let network = network_of(definition.fork_version, custom)?;
        Some((definition, network))
    });
    wallets::known(context, &args.wallets, &known.collect::<Vec<_>>())
}

/// One check, for a program.
pub(super) fn event(row: &Row) -> Event {
    Event::Check {
        subject: row.file.clone(),
        check: row.check.clone(),
        result: row.outcome.word().to_owned(),
        reason: row.outcome.reason().map(str::to_owned),
        finding: row.finding.clone(),
        what_to_do: advice(row).map(str::to_owned),
    }
}

/// What helps, of a check that failed.
fn advice(row: &Row) -> Option<&'static str> {
    matches!(row.outcome, Outcome::Failed(_)).then(|| row.remedy.advice())
}

/// What helps, of each check that failed for another cause than the worst, of which the end of the command tells: one line a cause.
fn remedies(result: &Verification) -> Vec<String> {
    let worst = worst(result).and_then(advice);
    let mut told: Vec<&str> = worst.into_iter().collect();
    let mut lines = Vec::new();
    for row in result.failures() {
        if let Some(advice) = advice(row).filter(|advice| !told.contains(advice)) {
            told.push(advice);
            lines.push(printable(&format!("{}: {}: {advice}", row.file, row.check)));
        }
    }
    lines
}

/// The worst failed check: what a check refuses comes before what could not be read.
fn worst(result: &Verification) -> Option<&Row> {
    result.failures().min_by_key(|row| row.remedy != Remedy::Doubt)
}

/// All checks as a table; where a terminal of so many columns is too narrow for one, below the names of their files.
fn table(rows: &[Row], columns: usize) -> String {
    let table = wide_table(rows);
    if table
        .lines()
        .all(|line| console::measure_text_width(line) <= columns)
    {
        table
    } else {
        listed(rows)
    }
}

/// A line for each file, and one for each of its checks below it.
fn listed(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut last = None;
    for row in rows {
        if last != Some(&row.file) {
            let _ = writeln!(text, "{}", printable(&row.file));
        }
        last = Some(&row.file);
        let why = row.outcome.reason().or(row.finding.as_deref());
        let why = why.map(|why| format!(": {}", printable(why))).unwrap_or_default();
        let _ = writeln!(text, "  {:<12}{}{why}", row.outcome.word(), printable(&row.check));
    }
    text
}

fn wide_table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.add_row(["result", "file", "check", "why"]);
    let mut last = None;
    for row in rows {
        // A file's name is shown once.
        let file = if last == Some(&row.file) {
            String::new()
        } else {
            printable(&row.file)
        };
        last = Some(&row.file);
        let why = row.outcome.reason().or(row.finding.as_deref());
        let why = printable(why.unwrap_or_default());
        table.add_row([row.outcome.word().to_owned(), file, printable(&row.check), why]);
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// How many checks ended how.
fn summary(result: &Verification) -> String {
    let count = |wanted: fn(&Outcome) -> bool| result.rows.iter().filter(|row| wanted(&row.outcome)).count();
    let ok = count(|outcome| *outcome == Outcome::Ok);
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let open = count(|outcome| matches!(outcome, Outcome::NotChecked(_)));
    format!("{ok} ok, {failed} failed, {open} could not be checked.")
}

/// The problem of the worst failed check, if there is one: the first of which nobody knows why, else the first.
pub(super) fn judge(result: &Verification) -> Result<(), Problem> {
    let Some(first) = worst(result) else {
        return Ok(());
    };
    let what = match result.failures().count() {
        1 => "a check failed".to_owned(),
        all => format!("{all} checks failed"),
    };
    let why = format!(
        "{}: {}: {}",
        first.file,
        first.check,
        first.outcome.reason().unwrap_or_default()
    );
    Err(Problem::new(Kind::Verification, what, why, first.remedy.advice()))
}

fn finished(result: &Verification, seconds: f64) -> Event {
    // With several ceremonies there is no one lock to name.
    let lock = if let [lock] = result.locks.as_slice() {
        Some(lock)
    } else {
        None
    };
    let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    Event::Finished {
        lock_hash: lock.map(|lock| hex(&lock.lock_hash())),
        validators: lock
            .map(|lock| {
                lock.validators()
                    .iter()
                    .map(|validator| hex(&validator.public_key))
                    .collect()
            })
            .unwrap_or_default(),
        seconds,
    }
}
