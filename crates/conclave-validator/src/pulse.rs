//! Whether a running node's own work goes on: its loop tells each time it goes round, and other threads look.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A loop that has not gone round for so long hangs. It goes round at least once a second whatever happens, so this is
/// much; but whoever restarts a node because of it costs it an epoch of attestations.
pub const HANGS_AFTER: Duration = Duration::from_secs(20);

/// When a loop went round last, by the monotonic clock: time in which the machine slept does not count. Clones share it.
#[derive(Debug, Clone)]
pub struct Pulse {
    begun: Instant,
    /// Milliseconds after that.
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// Of a loop that begins about now.
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            last: Arc::default(),
        }
    }

    /// The loop goes round.
    pub fn beat(&self) {
        self.last.store(self.at(Instant::now()), Ordering::Relaxed);
    }

    /// How long ago it did so last.
    pub fn quiet(&self) -> Duration {
        self.quiet_at(Instant::now())
    }

    fn quiet_at(&self, now: Instant) -> Duration {
        Duration::from_millis(self.at(now).saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quiet_since_the_last_round() {
        let pulse = Pulse::begin();
        let seconds = Duration::from_secs;
        assert_eq!(pulse.quiet_at(pulse.begun + seconds(30)), seconds(30));
        pulse.last.store(29_000, Ordering::Relaxed);
        // Clones are of the same loop.
        assert_eq!(pulse.clone().quiet_at(pulse.begun + seconds(30)), seconds(1));
        assert_eq!(pulse.quiet_at(pulse.begun), Duration::ZERO);
        pulse.beat();
        assert!(pulse.quiet() < HANGS_AFTER);
    }
}
