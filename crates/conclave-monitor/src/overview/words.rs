//! Times and counts as people say them.

use std::time::Duration;

use conclave_beacon::{
    chain::spec::Parting,
    http::{ErrorKind, NodeError},
};
use conclave_eth::chain::time::Time;
use conclave_validator::core::Standstill;

use conclave_validator::observed::Dissenter;

/// A time span as a person says it: `12 s`, `6 min`, `2 h`, `10 days`.
pub fn span(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A time span that is short as a rule, and told to the millisecond then: `20 ms`, `12 s`, `60 min`.
pub fn brief(ms: u64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { span(ms) }
}

/// How far a clock is ahead or behind: `+20 ms`, `-60 min`.
pub fn offset(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    format!("{sign}{}", brief(ms.unsigned_abs()))
}

/// That another operator ran twice, and what to do about it.
pub fn ran_twice(name: &str) -> String {
    format!(
        "{name} ran twice with one share, so both copies stop before that can get the validator slashed. Tell its operator: only the \
         newest copy of its folder may be started again, and the other one has to go"
    )
}

/// What the status of a validator on the chain means, as the Beacon API calls it; `unknown` is one that the chain does not have. What no
/// version of it knows stays as it is.
pub fn standing(status: &str) -> String {
    match status {
        "unknown" => "not on the chain yet",
        "pending_initialized" => "deposited, not yet in the queue",
        "pending_queued" => "in the queue to become active",
        "active_ongoing" => "active",
        "active_exiting" => "active, leaving",
        "active_slashed" => "slashed, leaving",
        "exited_unslashed" => "left, its money comes later",
        "exited_slashed" => "slashed, left, what remains of its money comes later",
        "withdrawal_possible" => "left, its money is on the way",
        "withdrawal_done" => "left, its money is paid out",
        other => return other.replace('_', " "),
    }
    .to_owned()
}

/// Why there is nothing to sign, if that is so, by the statuses of those validators that the chain has.
pub fn nothing_to_sign<'a>(on_chain: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    let (mut is_pending, mut is_gone) = (false, false);
    for status in on_chain {
        if status.starts_with("pending") {
            is_pending = true;
        } else if status.starts_with("exited") || status.starts_with("withdrawal") {
            is_gone = true;
        } else {
            return None;
        }
    }
    Some(match (is_pending, is_gone) {
        (true, _) => "deposited and not active yet: nothing to sign until it is active",
        (false, true) => "left the chain: nothing to sign any more",
        (false, false) => "not on the chain yet: nothing to sign until it is deposited and active",
    })
}

/// What to do about a beacon node that says something else of our validators than what counts.
pub const WHEN_DISSENT: &str = "Look at its log, restart or update it, or take it out of --beacon-node";

/// That a beacon node says something else of our validators than what counts, what that means, and what to do about it.
pub fn dissents(one: &Dissenter) -> String {
    format!(
        "beacon node {} says something else about {} than your others, or than what was known before. What most say counts, so one that is \
         outvoted is not used for that; if each says something else, nobody knows who is right. {WHEN_DISSENT}",
        one.name,
        one.about.text()
    )
}

/// That this process did nothing for a while, what that means, and what to do about it.
pub fn stood_still(standstill: Standstill, time: Option<Time>) -> String {
    let slot = |at_ms| time?.slot_at(at_ms);
    let slots = match (slot(standstill.from_ms), slot(standstill.to_ms)) {
        (Some(first), Some(last)) if first == last => format!(" (in slot {first})"),
        (Some(first), Some(last)) => format!(" (from slot {first} to slot {last})"),
        _ => String::new(),
    };
    format!(
        "this program, or this machine, stood still for {}{slots}: it took no part in duties then, and does not know what became \
         of them. If nobody stopped or suspended it, look at the load of this machine, and of its host if it is a virtual one",
        span(standstill.ms())
    )
}

/// Why nothing is signed from a fork on, and what to do about it.
pub const UNSIGNED_FORK: (&str, &str) = ("this version of conclave does not know it", "update conclave");

/// That a beacon node's fork schedule is another one later, what that means, and what to do about it.
pub fn parts(parting: &Parting) -> String {
    format!(
        "does not agree with your others on a fork to come: {parting}. Nothing is wrong yet: it is used until epoch {} is \
         over, and then only if they agree, for what is signed by the wrong schedule counts for nothing. Update the one \
         that is behind before then",
        parting.epoch.saturating_sub(2)
    )
}

/// For whom a restored folder does not wait, after those for whom it does; nothing where there are none.
pub fn not_waited_for(names: &str) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!(" (not waited for, by your word: {names})")
    }
}

/// That a beacon node that calls itself well fails a request again and again: what, and what to do about it.
pub fn fails(error: &NodeError) -> (String, &'static str) {
    let what = format!(
        "fails again and again when asked for {}: {}",
        error.request, error.kind
    );
    (what, error.kind.advice())
}

/// That a beacon node tells of no new blocks by itself, and what that means and what to do about it.
pub fn silent(error: &NodeError) -> (String, &'static str) {
    let why = match &error.kind {
        ErrorKind::Timeout => "it is silent, although it has new blocks".to_owned(),
        ErrorKind::Unreachable(why) => why.clone(),
        other => other.to_string(),
    };
    (
        format!("tells of no new blocks by itself ({why})"),
        "It is asked again and again instead, so votes may come a little later, and more of them for the block before. Check that it, and \
         the proxy or service that stands before it if there is one, lets /eth/v1/events through, piece by piece and for long.",
    )
}

/// `1 validator`, `2 validators`.
pub fn count(number: usize, one: &str, several: &str) -> String {
    let noun = if number == 1 { one } else { several };
    format!("{number} {noun}")
}

/// A time in milliseconds, cut off at the end of time.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What remains where others, for whom a restored folder waits, are gone for good, in a group of `n` with threshold `t`. A clause of a
/// sentence.
pub fn if_gone_for_good(n: usize, t: u16) -> String {
    let end = "this share can never attest or propose again, as too few are left who know what it signed. What remains then is to end the \
               validators with conclave exit, which works in this folder too as long as as many have their shares as a signature needs";
    match n.saturating_sub(1).saturating_sub(usize::from(t)) {
        0 => format!(
            "in a group of {n} of whom {t} must sign, none of the others can be left out: if one of them is gone for good, {end}"
        ),
        most => format!(
            "whoever of them is gone for good can be left out with --without, {most} at most: if more are, {end}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        assert_eq!(span(1), "1 s");
        assert_eq!(span(119_000), "119 s");
        assert_eq!(span(384_000), "6 min");
        assert_eq!(span(10_000_000), "2 h");
        assert_eq!(span(900_000_000), "10 days");
        assert_eq!(brief(9_999), "9999 ms");
        assert_eq!(brief(10_000), "10 s");
        assert_eq!(brief(3_600_987), "60 min");
        assert_eq!(offset(-2), "-2 ms");
        assert_eq!(offset(0), "+0 ms");
        assert_eq!(offset(11_000_000), "+3 h");
        assert_eq!(offset(i64::MIN), format!("-{}", span(1 << 63)));
        assert_eq!(count(1, "slot", "slots"), "1 slot");
        assert_eq!(count(0, "slot", "slots"), "0 slots");
    }
}
