//! What not every machine can do: a test that needs it is left out there, and never without a word where it should not be.

// Each file of tests uses some of it.
#![allow(dead_code)]

/// Says that the test is left out, because this machine cannot do this (`mount` a file system, be in a `network`, hear a `hangup`).
///
/// # Panics
/// If `TESTS_CAN`, a list with blanks, names it: `.ci/run` names what it has tried itself.
pub(crate) fn cannot(what: &str) {
    let can = std::env::var("TESTS_CAN").unwrap_or_default();
    assert!(
        !can.split_whitespace().any(|one| one == what),
        "this machine can do `{what}`, as TESTS_CAN says, and yet this test could not"
    );
    eprintln!("skipped: this machine cannot do `{what}`");
}

/// Whether what is started here hears that a terminal was closed: what is ignored where the tests run, as under `nohup`, is ignored by what they
/// start, too. Says so if not.
pub(crate) fn hears_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is that of signal 1.
    let hears = ignored.unwrap_or(0) & 1 == 0;
    if !hears {
        cannot("hangup");
    }
    hears
}
