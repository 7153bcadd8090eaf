//! Loss records: what the counts say is missing, told when they have grown.

use std::borrow::Cow;

use headtrail_record::record::Loss;

use crate::summary::Lost;

/// What was told of losses so far.
pub(crate) struct Told {
    counts: Vec<u64>,
    since_ns: u64,
}

impl Told {
    /// From `since_ns` on everything is told.
    pub(crate) fn since(since_ns: u64) -> Self {
        Self { counts: Vec::new(), since_ns }
    }

    /// When this was last called.
    pub(crate) fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// A record for each reason whose count has grown, and what it counts. The reasons are the same and in the same order at every call.
    pub(crate) fn tell(&mut self, lost: &[Lost], now_ns: u64) -> Vec<(Loss, &'static str)> {
        self.counts.resize(lost.len(), 0);
        let mut records = Vec::new();
        for (lost, told) in lost.iter().zip(&mut self.counts) {
            let new = lost.count.saturating_sub(*told);
            *told = lost.count;
            if new > 0 {
                let loss = Loss {
                    time_ns: now_ns,
                    stage: lost.stage.clone(),
                    reason: Cow::Borrowed(lost.reason),
                    count: new,
                    since_ns: self.since_ns,
                    until_ns: now_ns,
                };
                records.push((loss, lost.what));
            }
        }
        self.since_ns = now_ns;
        records
    }
}
