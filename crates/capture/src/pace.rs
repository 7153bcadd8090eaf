//! How long the consumer sleeps between two looks.
//!
//! A look that finds much keeps a CPU for as long as it takes to deal with it, and who shares that CPU, the gateway or its
//! clients, waits meanwhile. Where they sleep now and then, many short looks delay them less than few long ones: with looks of half a
//! millisecond a proxy on another CPU stood still for a quarter of its time, with short ones not at all. Where they never
//! sleep, or nobody shares the CPU, short looks only cost switches. Which of the two it is shows when we are preempted during
//! short looks: who has slept takes the CPU from us. So short looks are tried now and then, and kept while that happens.
//! Without traffic the consumer asks to be woken.

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
/// Long looks between two trials of short ones.
const LONG_LOOKS: u32 = 500;
/// Short looks of a trial.
const SHORT_LOOKS: u32 = 256;
/// Of these, how many must be cut short by others, so that short ones are kept.
const PREEMPTED_MIN: u64 = 8;

/// The state of the consumer's sleep.
pub(crate) struct Pace {
    sleep: Duration,
    /// Since the last sleep.
    records: u64,
    empty_looks: u32,
    /// Whether looks are short, how many came since that was decided, and how often we had been preempted then.
    short: bool,
    looks: u32,
    preempted: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { sleep: SLEEP_MAX, records: 0, empty_looks: 0, short: true, looks: 0, preempted: 0 }
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

    /// The next sleep; None where the consumer asks to be woken. `preempted` tells how often this thread has been so far, and is
    /// asked seldom.
    pub(crate) fn next(&mut self, preempted: impl FnOnce() -> u64) -> Option<Duration> {
        let records = std::mem::take(&mut self.records);
        if records >= RECORDS_FEW {
            self.look(preempted);
        }
        if self.short && records > RECORDS_MANY {
            self.sleep = (self.sleep / 2).max(SLEEP_MIN);
        } else if !self.short || records < RECORDS_FEW {
            self.sleep = (self.sleep * 2).min(SLEEP_MAX);
        }
        (self.empty_looks <= EMPTY_LOOKS).then_some(self.sleep)
    }

    /// Counts a look at dense traffic, and decides at the end of a trial.
    fn look(&mut self, preempted: impl FnOnce() -> u64) {
        self.looks += 1;
        if self.looks < if self.short { SHORT_LOOKS } else { LONG_LOOKS } {
            return;
        }
        self.looks = 0;
        let now = preempted();
        self.short = !self.short || now.saturating_sub(self.preempted) >= PREEMPTED_MIN;
        self.preempted = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks with so many records each, of which every `each`-th is cut short; returns how many were short ones.
    fn dense(pace: &mut Pace, looks: u32, each: Option<u32>) -> u32 {
        let mut preempted = 0;
        let mut short = 0;
        for look in 1..=looks {
            pace.found(100);
            preempted += u64::from(pace.short && each.is_some_and(|each| look % each == 0));
            short += u32::from(pace.next(|| preempted).is_some_and(|sleep| sleep < SLEEP_MAX));
        }
        short
    }

    #[test]
    fn short_looks_are_kept_where_others_take_the_cpu() {
        let mut pace = Pace::default();
        let short = dense(&mut pace, 10_000, Some(8));
        assert!(short > 9_000, "{short} short looks");
        assert_eq!(pace.sleep, SLEEP_MIN);
    }

    #[test]
    fn short_looks_are_only_tried_where_nobody_does() {
        let short = dense(&mut Pace::default(), 10_000, None);
        assert!((1_000..4_000).contains(&short), "{short} short looks");
    }

    #[test]
    fn little_traffic_lengthens_the_sleep() {
        let mut pace = Pace::default();
        dense(&mut pace, 2_000, Some(8));
        for _ in 0..10 {
            pace.found(1);
            pace.next(|| 0);
        }
        assert_eq!(pace.sleep, SLEEP_MAX);
    }

    #[test]
    fn without_traffic_it_asks_to_be_woken_and_with_it_no_more() {
        let mut pace = Pace::default();
        let mut looks = 0;
        while pace.next(|| 0).is_some() {
            pace.found(0);
            looks += 1;
            assert!(looks < 100, "it polls for ever");
        }
        pace.found(1);
        assert!(pace.next(|| 0).is_some());
    }
}
