//! Times and counts as people say them.

use std::time::Duration;

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

/// `1 validator`, `2 validators`.
pub fn count(number: usize, one: &str, several: &str) -> String {
    let noun = if number == 1 { one } else { several };
    format!("{number} {noun}")
}

/// A time in milliseconds, cut off at the end of time.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
        assert_eq!(count(1, "slot", "slots"), "1 slot");
        assert_eq!(count(0, "slot", "slots"), "0 slots");
    }
}
