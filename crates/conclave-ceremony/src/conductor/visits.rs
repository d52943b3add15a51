//! Other operators who were there in this run of the process, and left again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LOST;

/// How long an operator must be away that left without a goodbye: its connection may be broken, or its machine started anew.
const AWAY: Duration = Duration::from_secs(60);

/// Who was there, and whether it said goodbye when it was connected last.
#[derive(Debug, Default)]
pub(super) struct Visits(BTreeMap<u16, bool>);

impl Visits {
    /// An operator has connected.
    pub(super) fn came(&mut self, operator: u16) {
        self.0.insert(operator, false);
    }

    /// An operator is there, through another one perhaps: those say of it for a while that it is there when it has left.
    pub(super) fn seen(&mut self, operator: u16) {
        self.0.entry(operator).or_insert(false);
    }

    /// An operator has said goodbye.
    pub(super) fn left(&mut self, operator: u16) {
        self.0.insert(operator, true);
    }

    /// How long an operator must be away to be taken for one that came and left again; `None` if it was not there at all.
    pub(super) fn until_gone(&self, operator: u16) -> Option<Duration> {
        let goodbye = self.0.get(&operator)?;
        Some(if *goodbye { LOST } else { AWAY })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_goodbye_is_gone_sooner_and_who_never_came_is_waited_for() {
        let mut visits = Visits::default();
        assert_eq!(visits.until_gone(2), None);
        visits.seen(2);
        assert_eq!(visits.until_gone(2), Some(AWAY));
        visits.came(3);
        visits.left(3);
        visits.seen(3);
        assert_eq!(visits.until_gone(3), Some(LOST), "others have not noticed yet");
        visits.came(3);
        assert_eq!(visits.until_gone(3), Some(AWAY), "it is back, and may break off");
        assert_eq!(visits.until_gone(4), None);
    }
}
