//! From transactions to blocks: rules of the volume, redaction, encoding.
//!
//! Place in the daemon: on the capture's thread, which must not wait. Records are gathered in a block; a full one goes to the
//! [`crate::keeper`], which packs and writes it on a thread of its own and gives an empty one back. Where none
//! has come back yet the block at hand grows by what is left of the batch, and [`Recorder::has_room`] tells the capture to leave
//! the rest in the rings, whose loss the kernel's side counts.

use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use headtrail_journal::block::BlockBuilder;
use headtrail_record::event::ProcessRef;
use headtrail_record::json::Context;
use headtrail_record::proto::{self, TooLarge};
use headtrail_record::record::{Checkpoint, Kind, Lifecycle, Loss};
use headtrail_record::redact::{Policy, Redactor};
use headtrail_record::transaction::{Phase, RawTransaction, Role};
use headtrail_record::volume::{self, Verdict, Volume};

use crate::keeper::Order;
use crate::processes::ProcessTable;

/// What was not recorded, and why.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Refused {
    /// Records larger than a record may be.
    pub(crate) too_large: u64,
    /// Records for which the block at hand had no room although nobody should have come.
    pub(crate) block_full: u64,
    /// Transactions for which there was no memory.
    pub(crate) no_memory: u64,
}

/// Makes records of transactions and blocks of records.
pub(crate) struct Recorder {
    pub(crate) redactor: Redactor,
    pub(crate) volume: Volume,
    pub(crate) volume_counts: volume::Counts,
    pub(crate) processes: ProcessTable,
    pub(crate) refused: Refused,
    /// Transactions that went into blocks; a long call counts when it ends.
    pub(crate) transactions: u64,
    /// Starts of long calls that did.
    pub(crate) long_calls: u64,
    /// Requests of this process, which are not recorded: what ships records would else make more of them, for ever.
    pub(crate) own_requests: u64,
    pid: u32,
    run: u64,
    record: Vec<u8>,
    checkpoint: Option<Checkpoint>,
    block: BlockBuilder,
    /// When the first record came into it; not by the wall clock, which may be set back.
    begun: Option<Instant>,
    keeper: Sender<Order>,
    empty: Receiver<BlockBuilder>,
    /// The block at hand is full and there is no other.
    full: bool,
    no_memory: bool,
    /// The keeper is gone.
    alone: bool,
}

impl Recorder {
    pub(crate) fn new(
        run: u64,
        redactor: Redactor,
        volume: Volume,
        processes: ProcessTable,
        block: BlockBuilder,
        keeper: Sender<Order>,
        empty: Receiver<BlockBuilder>,
    ) -> Self {
        Self {
            redactor,
            volume_counts: volume::Counts::new(&volume),
            volume,
            processes,
            refused: Refused::default(),
            transactions: 0,
            long_calls: 0,
            own_requests: 0,
            pid: std::process::id(),
            run,
            record: Vec::with_capacity(64 << 10),
            checkpoint: None,
            block,
            begun: None,
            keeper,
            empty,
            full: false,
            no_memory: false,
            alone: false,
        }
    }

    /// Goes on by other rules. Counts begin anew, since the reasons are others.
    pub(crate) fn set_rules(&mut self, policy: Policy, volume: Volume) {
        self.redactor.set_policy(policy);
        self.volume_counts = volume::Counts::new(&volume);
        self.volume = volume;
    }

    /// Names a process while it lives.
    pub(crate) fn learn(&mut self, process: &ProcessRef) {
        self.processes.learn(process);
    }

    /// Whether transactions are counted instead of recorded.
    pub(crate) fn set_no_memory(&mut self, no_memory: bool) {
        self.no_memory = no_memory;
    }

    /// Records a transaction, if the rules say so.
    pub(crate) fn take(&mut self, raw: RawTransaction) {
        // A long call counts once: when it ends.
        let start = raw.phase == Phase::Start;
        if is_request_of(self.pid, &raw) {
            self.own_requests += u64::from(!start);
            return;
        }
        let verdict = self.volume.decide(&raw);
        if !start {
            self.volume_counts.add(verdict);
        }
        let Verdict::Keep(rate) = verdict else { return };
        if self.no_memory {
            self.refused.no_memory += 1;
            return;
        }
        for process in raw.process.iter().chain(&raw.peer_process) {
            self.processes.learn(process);
        }
        let mut transaction = self.redactor.redact(raw);
        self.volume.shape(&mut transaction, rate);
        self.record.clear();
        let context = Context { run: self.run, processes: &self.processes };
        let encoded = proto::transaction(&mut self.record, &transaction, &context);
        self.transactions += u64::from(!start);
        self.long_calls += u64::from(start);
        self.push(encoded, transaction.time_ns(), Kind::TRANSACTION);
    }

    /// Records a loss.
    pub(crate) fn loss(&mut self, loss: &Loss) {
        self.record.clear();
        let encoded = proto::loss(&mut self.record, loss);
        self.push(encoded, loss.time_ns, Kind::LOSS);
    }

    /// Records what happened to the recorder.
    pub(crate) fn lifecycle(&mut self, lifecycle: &Lifecycle) {
        self.record.clear();
        let encoded = proto::lifecycle(&mut self.record, lifecycle);
        self.push(encoded, lifecycle.time_ns, Kind::LIFECYCLE);
    }

    /// Records that the journal signed its state, in front of the next record: by itself it would be a reason to sign
    /// again.
    pub(crate) fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = Some(checkpoint);
    }

    fn push(&mut self, encoded: Result<(), TooLarge>, time_ns: u64, kind: Kind) {
        if encoded.is_err() {
            self.refused.too_large += 1;
            return;
        }
        if let Some(checkpoint) = self.checkpoint.take() {
            let mut record = Vec::with_capacity(512);
            let small = proto::checkpoint(&mut record, &checkpoint).is_ok();
            if small && self.block.push(&record, checkpoint.time_ns, Kind::CHECKPOINT.0).is_err() {
                self.refused.block_full += 1;
            }
        }
        if self.block.push(&self.record, time_ns, kind.0).is_err() {
            self.refused.block_full += 1;
            return;
        }
        self.begun.get_or_insert_with(Instant::now);
        if self.block.is_due() {
            self.hand_over();
        }
    }

    /// Hands over a block that has waited for so long.
    pub(crate) fn hand_over_if_older(&mut self, age: Duration) {
        let old = self.begun.is_some_and(|begun| begun.elapsed() >= age);
        if old || self.full {
            self.hand_over();
        }
    }

    /// Whether a record waits in the block at hand.
    pub(crate) fn has_waiting(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether more may come.
    pub(crate) fn has_room(&self) -> bool {
        !self.full
    }

    /// The keeper has ended, which it does not by itself.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    fn hand_over(&mut self) {
        if self.block.records() == 0 {
            return;
        }
        match self.empty.try_recv() {
            Ok(empty) => {
                let block = std::mem::replace(&mut self.block, empty);
                self.alone |= self.keeper.send(Order::Block(block)).is_err();
                self.begun = None;
                self.full = false;
            }
            Err(TryRecvError::Empty) => self.full = self.block.is_due(),
            Err(TryRecvError::Disconnected) => self.alone = true,
        }
    }

    /// Hands over what there is, at the end: waits until there is an empty block.
    pub(crate) fn finish(&mut self) {
        if self.block.records() > 0
            && let Ok(empty) = self.empty.recv()
        {
            let block = std::mem::replace(&mut self.block, empty);
            let _ = self.keeper.send(Order::Block(block));
            self.begun = None;
            self.full = false;
        }
    }
}

/// Whether it is a request that this process made, as far as that is known. Answers that it gave are recorded.
fn is_request_of(pid: u32, raw: &RawTransaction) -> bool {
    let client = if raw.role == Role::Client { &raw.process } else { &raw.peer_process };
    client.as_ref().is_some_and(|process| process.pid == pid)
}
