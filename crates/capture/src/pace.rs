//! How long the consumer sleeps between two looks.
//!
//! A look that finds much keeps a CPU for as long as it takes to deal with it, and who shares that CPU, the gateway or its
//! clients, waits. Many short looks delay them less than few long ones: with looks of half a millisecond a proxy on the
//! other CPU stood still for a fifth of its time. So the sleep is halved where a look found more than a few dozen records,
//! and doubled where it found less than that; without traffic the consumer asks to be woken.

use std::time::Duration;

/// Shortest sleep.
const SLEEP_MIN: Duration = Duration::from_micros(100);
/// Longest sleep while it polls.
const SLEEP_MAX: Duration = Duration::from_millis(2);
/// Records of one look beyond which the next comes sooner.
const RECORDS_MANY: u64 = 48;
/// Records of one look below which the next comes later.
const RECORDS_FEW: u64 = 16;
/// Empty looks at the longest sleep before the consumer asks to be woken.
const EMPTY_LOOKS: u32 = 25;

/// The state of the consumer's sleep.
pub(crate) struct Pace {
    sleep: Duration,
    /// Since the last sleep.
    records: u64,
    empty_looks: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { sleep: SLEEP_MAX, records: 0, empty_looks: 0 }
    }
}

impl Pace {
    /// A sleep where something is about to come.
    pub(crate) const SHORT: Duration = SLEEP_MIN;

    /// Notes what a look found.
    pub(crate) fn found(&mut self, records: u64) {
        self.records += records;
        self.empty_looks = match (records, self.sleep == SLEEP_MAX) {
            (0, true) => self.empty_looks.saturating_add(1),
            (0, false) => self.empty_looks,
            _ => 0,
        };
    }

    /// The next sleep; None where the consumer asks to be woken.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        if self.records > RECORDS_MANY {
            self.sleep = (self.sleep / 2).max(SLEEP_MIN);
        } else if self.records < RECORDS_FEW {
            self.sleep = (self.sleep * 2).min(SLEEP_MAX);
        }
        self.records = 0;
        (self.empty_looks <= EMPTY_LOOKS).then_some(self.sleep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_shortens_the_sleep_and_little_lengthens_it() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.found(1000);
            pace.next();
        }
        assert_eq!(pace.sleep, SLEEP_MIN);
        for _ in 0..3 {
            pace.found(30);
            assert_eq!(pace.next(), Some(SLEEP_MIN));
        }
        for _ in 0..10 {
            pace.found(1);
            pace.next();
        }
        assert_eq!(pace.sleep, SLEEP_MAX);
    }

    #[test]
    fn without_traffic_it_asks_to_be_woken_and_with_it_no_more() {
        let mut pace = Pace::default();
        let mut looks = 0;
        while pace.next().is_some() {
            pace.found(0);
            looks += 1;
            assert!(looks < 100, "it polls for ever");
        }
        pace.found(1);
        assert!(pace.next().is_some());
    }
}
