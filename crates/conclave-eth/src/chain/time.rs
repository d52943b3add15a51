//! Slots and epochs: arithmetic on milliseconds since the Unix epoch.
//!
//! Nothing here reads a clock. Slots and times beyond what 64 bits hold are cut off at the end of time.

use crate::network::Network;

/// Slots of an epoch in the minimal preset; no chain has fewer.
const SHORTEST_EPOCH: u64 = 8;

/// How a chain counts time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// Start of slot 0, in milliseconds since the Unix epoch.
    pub genesis_ms: u64,
    /// Length of a slot in milliseconds. Never 0.
    pub slot_ms: u64,
    /// Slots of an epoch. Never 0.
    pub slots_per_epoch: u64,
}

impl From<&Network> for Time {
    /// As far as is known without a beacon node: epochs as short as any chain's, where their length is not.
    fn from(network: &Network) -> Self {
        Self {
            genesis_ms: network.chain_start().saturating_mul(1000),
            slot_ms: network.slot_seconds.saturating_mul(1000),
            slots_per_epoch: network.slots_per_epoch.unwrap_or(SHORTEST_EPOCH),
        }
    }
}

impl Time {
    /// The slot at a time; none before genesis.
    pub fn slot_at(&self, now_ms: u64) -> Option<u64> {
        now_ms.checked_sub(self.genesis_ms)?.checked_div(self.slot_ms)
    }

    /// When a slot starts, in milliseconds since the Unix epoch.
    pub fn start_of(&self, slot: u64) -> u64 {
        self.genesis_ms.saturating_add(slot.saturating_mul(self.slot_ms))
    }

    /// When a slot ends: when the next one starts.
    pub fn end_of(&self, slot: u64) -> u64 {
        self.start_of(slot.saturating_add(1))
    }

    /// How far into its slot a time is, in milliseconds; 0 before genesis.
    pub fn into_slot(&self, now_ms: u64) -> u64 {
        now_ms
            .checked_sub(self.genesis_ms)
            .and_then(|ms| ms.checked_rem(self.slot_ms))
            .unwrap_or(0)
    }

    /// The epoch of a slot.
    pub fn epoch_of(&self, slot: u64) -> u64 {
        slot.checked_div(self.slots_per_epoch).unwrap_or(0)
    }

    /// The epoch at a time; none before genesis.
    pub fn epoch_at(&self, now_ms: u64) -> Option<u64> {
        Some(self.epoch_of(self.slot_at(now_ms)?))
    }

    /// The first slot of an epoch.
    pub fn first_slot(&self, epoch: u64) -> u64 {
        epoch.saturating_mul(self.slots_per_epoch)
    }

    /// The last slot of an epoch.
    pub fn last_slot(&self, epoch: u64) -> u64 {
        self.first_slot(epoch.saturating_add(1)).saturating_sub(1)
    }

    /// When an epoch starts, in milliseconds since the Unix epoch.
    pub fn start_of_epoch(&self, epoch: u64) -> u64 {
        self.start_of(self.first_slot(epoch))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: Time = Time {
        genesis_ms: 1_606_824_023_000,
        slot_ms: 12_000,
        slots_per_epoch: 32,
    };

    #[test]
    fn slots_begin_at_their_first_millisecond() {
        assert_eq!(TIME.slot_at(TIME.genesis_ms - 1), None);
        assert_eq!(TIME.slot_at(TIME.genesis_ms), Some(0));
        assert_eq!(TIME.slot_at(TIME.genesis_ms + 11_999), Some(0));
        assert_eq!(TIME.slot_at(TIME.genesis_ms + 12_000), Some(1));
        assert_eq!(TIME.start_of(1), TIME.genesis_ms + 12_000);
        assert_eq!(TIME.end_of(0), TIME.start_of(1));
        assert_eq!(TIME.into_slot(TIME.genesis_ms + 12_001), 1);
        assert_eq!(TIME.into_slot(5), 0);
    }

    #[test]
    fn epochs_hold_their_slots() {
        assert_eq!((TIME.epoch_of(31), TIME.epoch_of(32)), (0, 1));
        assert_eq!((TIME.first_slot(1), TIME.last_slot(1)), (32, 63));
        assert_eq!(TIME.epoch_at(TIME.start_of(64)), Some(2));
        assert_eq!(TIME.epoch_at(0), None);
        assert_eq!(TIME.start_of_epoch(2), TIME.start_of(64));
        // The slot of mainnet's Electra fork, whose time is published.
        assert_eq!(TIME.start_of_epoch(364_032), 1_746_612_311_000);
    }

    proptest! {
        #[test]
        fn nothing_overflows(now: u64, slot: u64, epoch: u64, genesis_ms: u64, slot_ms: u64, slots_per_epoch: u64) {
            let time = Time { genesis_ms, slot_ms, slots_per_epoch };
            let _ = (time.slot_at(now), time.start_of(slot), time.end_of(slot), time.into_slot(now));
            let _ = (time.epoch_of(slot), time.epoch_at(now), time.first_slot(epoch), time.last_slot(epoch));
            let _ = time.start_of_epoch(epoch);
        }

        #[test]
        fn a_slot_is_found_again(slot in 0_u64..1 << 40, into in 0_u64..12_000) {
            prop_assert_eq!(TIME.slot_at(TIME.start_of(slot) + into), Some(slot));
            prop_assert_eq!(TIME.into_slot(TIME.start_of(slot) + into), into);
        }
    }
}
