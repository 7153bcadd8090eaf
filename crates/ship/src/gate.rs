//! How far the journal is, told by its writer to the readers, and that they are to end.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Synced {
    /// Blocks before this number are durable.
    pub blocks: u64,
    /// And records before this one.
    pub records: u64,
}

#[derive(Default)]
struct State {
    synced: Synced,
    stop: bool,
}

/// Where readers wait. Clones are the same.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    /// More is durable.
    pub fn put(&self, synced: Synced) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.synced != synced {
            state.synced = synced;
            drop(state);
            changed.notify_all();
        }
    }

    /// All are to end.
    pub fn stop(&self) {
        let (state, changed) = &*self.0;
        state.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        changed.notify_all();
    }

    /// Whether they are to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).stop
    }

    /// What can be read.
    #[must_use]
    pub fn synced(&self) -> Synced {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).synced
    }

    /// Waits until there are more blocks than `known`, for so long at most, or until the end.
    pub fn wait_for_more(&self, known: u64, most: Duration) {
        self.wait(most, |state| state.synced.blocks > known);
    }

    /// Waits for so long, or until the end.
    pub fn sleep(&self, time: Duration) {
        self.wait(time, |_| false);
    }

    fn wait(&self, most: Duration, enough: impl Fn(&State) -> bool) {
        let (state, changed) = &*self.0;
        let until = Instant::now() + most;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.stop && !enough(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
