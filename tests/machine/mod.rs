//! What not every machine can do: a test that needs it is left out there, and never without a word where it should not be.

/// Says that the test is left out, because this machine cannot do this (`mount` a file system, or be in a `network`).
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
