//! So much in so long, and no more: what somebody else decides about must cost a bounded amount.

/// Counts within windows of time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quota {
    since_ms: u64,
    used: u32,
}

impl Quota {
    /// Whether one more is within `most` in a window of `window_ms`, by a clock in milliseconds that may be set. It counts
    /// only if it is.
    pub fn take(&mut self, now_ms: u64, window_ms: u64, most: u32) -> bool {
        if now_ms.abs_diff(self.since_ms) >= window_ms {
            *self = Self {
                since_ms: now_ms,
                used: 0,
            };
        }
        let free = self.used < most;
        self.used += u32::from(free);
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_so_much_in_each_window() {
        let mut quota = Quota::default();
        let taken = |quota: &mut Quota, now| (0..10).filter(|_| quota.take(now, 1000, 3)).count();
        assert_eq!(taken(&mut quota, 5_000), 3);
        assert_eq!(taken(&mut quota, 5_999), 0);
        assert_eq!(taken(&mut quota, 6_000), 3);
        // A clock that was put back does not close it for ever.
        assert_eq!(taken(&mut quota, 1_000), 3);
        assert_eq!(taken(&mut quota, 1_001), 0);
    }
}
