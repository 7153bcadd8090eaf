//! How long to wait after a failure: twice as long each time, up to a most, of which a random part is left out, so that many
//! hosts do not come back at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// After the first failure, at most.
    pub first: Duration,
    /// After many, at most.
    pub most: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), most: Duration::from_secs(30) }
    }
}

/// The state of one reader.
#[derive(Debug)]
pub(crate) struct Backoff {
    limits: Limits,
    failures: u32,
    random: RandomState,
}

impl Backoff {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, failures: 0, random: RandomState::new() }
    }

    /// It goes on.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// One more failure: how long to wait. Not less than `asked`, but an hour at most, whatever a server asks for.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = self.limits.first.saturating_mul(1 << self.failures.min(20)).min(self.limits.most);
        self.failures = self.failures.saturating_add(1);
        let part = (self.random.hash_one(self.failures) >> 32) as u32;
        let jittered = full / 2 + (full / 2).mul_f64(f64::from(part) / f64::from(u32::MAX));
        asked.map_or(jittered, |asked| jittered.max(asked.min(Duration::from_secs(3600))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_most_with_jitter_and_begin_anew_after_success() {
        let limits = Limits { first: Duration::from_millis(100), most: Duration::from_secs(2) };
        let mut backoff = Backoff::new(limits);
        for full in [100, 200, 400, 800, 1600, 2000, 2000, 2000] {
            let wait = backoff.next(None).as_millis();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        for _ in 0..100 {
            assert!(backoff.next(None) <= limits.most);
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff.next(Some(Duration::MAX)), Duration::from_secs(3600));
        backoff.reset();
        assert!(backoff.next(None) <= limits.first);
    }
}
