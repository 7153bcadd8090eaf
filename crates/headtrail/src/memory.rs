//! The ceiling on the memory of the daemon, and the order in which it gives things up to stay below it.
//!
//! Most of what can grow has a bound of its own that holds at every moment: the assembler counts what it holds, blocks that
//! wait have a bound, the rings have their size ([`Allotment`]). Their sum leaves a part of the ceiling for everything else. What
//! is resident is looked at as well, since neither what an allocator keeps nor what a library takes is in those sums:
//!
//! | level | from | what the daemon does | how it is told |
//! | --- | --- | --- | --- |
//! | `calm` | | everything | |
//! | `assembler` | 80 % | the assembler may hold less, down to a sixteenth: it sheds in its own order | `memory` on the records, counted by step |
//! | `records` | 90 % | what is complete is not put into blocks | loss, stage `memory`, reason `records` |
//! | `rings` | 97 % | the rings are not read: nothing is allocated, and the kernel counts what they do not take | loss, stage `kernel`; `ring_full` on the records |
//!
//! When a journal does not write, as many blocks wait as may, and it refuses what comes then (loss, stage `journal`, reason `backlog`). That is no
//! level: it holds at every moment, and nothing else has to be given up for it.
//!
//! A level is left only when there has been room for a second, one at a time. docs/memory.md has it for users.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// There must have been room for so long before a level is left.
const CALM_AFTER: Duration = Duration::from_secs(1);
/// A level is left so many hundredths of the ceiling below where it begins.
const SLACK_PERCENT: u64 = 5;
/// The assembler is never told to hold less than this part of its allotment.
const ASSEMBLER_PART_MIN: u64 = 16;

/// How short memory is. Each level does what those before it do, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) enum Level {
    /// There is room.
    #[default]
    Calm,
    /// The assembler holds less.
    Assembler,
    /// Transactions are not recorded.
    Records,
    /// The rings are not read.
    Rings,
}

impl Level {
    const ALL: [Self; 4] = [Self::Calm, Self::Assembler, Self::Records, Self::Rings];

    /// Where it begins, in hundredths of the ceiling.
    fn begins_at_percent(self) -> u64 {
        match self {
            Self::Calm => 0,
            Self::Assembler => 80,
            Self::Records => 90,
            Self::Rings => 97,
        }
    }

    /// The name in counts and losses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Assembler => "assembler",
            Self::Records => "records",
            Self::Rings => "rings",
        }
    }

    fn below(self) -> Self {
        match self {
            Self::Calm | Self::Assembler => Self::Calm,
            Self::Records => Self::Assembler,
            Self::Rings => Self::Records,
        }
    }
}

/// Which part of the ceiling is whose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Allotment {
    /// [`headtrail_assemble::Limits::held_bytes_max`].
    pub(crate) assembler_bytes_max: usize,
    /// Of all blocks between the assembler and the disk.
    pub(crate) blocks_bytes_max: usize,
    /// Of the kernel's rings. Their pages count twice as resident, since each is mapped twice.
    pub(crate) rings_bytes_max: usize,
}

impl Allotment {
    /// Three eighths for the assembler, an eighth for blocks, a sixteenth (twice) for the rings. The rest is for what has no bound of its
    /// own, first of all for what the allocator keeps: measured, up to 1.6 times of what the assembler holds in states that
    /// fragment it is resident.
    pub(crate) fn of(ceiling_bytes: u64) -> Self {
        let part = |of| usize::try_from(ceiling_bytes / of).unwrap_or(usize::MAX);
        Self { assembler_bytes_max: part(8) * 3, blocks_bytes_max: part(8), rings_bytes_max: part(16) }
    }
}

/// What there is at one moment, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Resident, of the whole process.
    pub(crate) resident: u64,
    /// [`headtrail_assemble::Assembler::held_bytes`].
    pub(crate) assembler: u64,
}

/// Keeps the process below its ceiling.
pub(crate) struct Ceiling {
    bytes_max: u64,
    allotment: Allotment,
    level: Level,
    assembler_bytes_max: u64,
    /// Since when there has been room enough for the level below.
    room_since: Option<Instant>,
    /// How often each level began, by its place in [`Level::ALL`].
    begun: [u64; 4],
}

impl Ceiling {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let allotment = Allotment::of(bytes_max);
        Self {
            bytes_max,
            allotment,
            level: Level::Calm,
            assembler_bytes_max: allotment.assembler_bytes_max as u64,
            room_since: None,
            begun: [0; 4],
        }
    }

    pub(crate) fn allotment(&self) -> Allotment {
        self.allotment
    }

    /// The level as it was at the last look.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// What the assembler may hold now: for [`headtrail_assemble::Assembler::set_held_bytes_max`].
    pub(crate) fn assembler_bytes_max(&self) -> usize {
        usize::try_from(self.assembler_bytes_max).unwrap_or(usize::MAX)
    }

    /// How often each level began.
    pub(crate) fn begun(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Level::ALL.into_iter().zip(self.begun).skip(1).map(|(level, count)| (level.name(), count))
    }

    /// Looks at what is held and decides. Once in 100 ms is enough.
    pub(crate) fn look(&mut self, now: Instant, held: Held) -> Level {
        let wanted = self.wanted(held, 0);
        if wanted > self.level {
            for level in Level::ALL.into_iter().filter(|&l| l > self.level && l <= wanted) {
                self.begun[level as usize] += 1;
            }
            self.level = wanted;
            self.room_since = None;
        } else if self.wanted(held, SLACK_PERCENT) < self.level {
            let since = *self.room_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= CALM_AFTER {
                self.level = self.level.below();
                self.room_since = Some(now);
            }
        } else {
            self.room_since = None;
        }
        self.assembler_bytes_max = self.assembler_share(held);
        self.level
    }

    /// The level that `held` asks for, where each begins `earlier` hundredths earlier.
    fn wanted(&self, held: Held, earlier: u64) -> Level {
        let used_percent = held.resident.saturating_mul(100) / self.bytes_max.max(1);
        let begins = |level: &Level| used_percent >= level.begins_at_percent().saturating_sub(earlier);
        Level::ALL.into_iter().rfind(begins).unwrap_or_default()
    }

    /// Less than it holds by as much as is resident too much, as long as memory is short.
    fn assembler_share(&self, held: Held) -> u64 {
        let whole = self.allotment.assembler_bytes_max as u64;
        if self.level == Level::Calm {
            return whole;
        }
        let room_at = self.bytes_max / 100 * (Level::Assembler.begins_at_percent() - SLACK_PERCENT);
        let excess = held.resident.saturating_sub(room_at);
        let share = held.assembler.min(self.assembler_bytes_max).saturating_sub(excess);
        let least = whole / ASSEMBLER_PART_MIN;
        if excess == 0 { self.assembler_bytes_max.max(least) } else { share.clamp(least, whole) }
    }
}

/// What is resident of this process. The file stays open, since a sandbox that comes later may hide it.
pub(crate) struct Resident {
    statm: File,
    page_bytes: u64,
}

impl Resident {
    /// # Errors
    /// Where /proc is not there.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { statm: File::open("/proc/self/statm")?, page_bytes: rustix::param::page_size() as u64 })
    }

    /// Bytes; one read of a few bytes that the kernel makes up from its own counts.
    ///
    /// # Errors
    /// Where the kernel refuses or says something else than it says today.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        let mut text = [0; 128];
        let len = self.statm.read_at(&mut text, 0)?;
        let mut fields = text[..len].split(|b| *b == b' ').skip(1);
        let pages = fields.next().and_then(|field| std::str::from_utf8(field).ok()?.parse::<u64>().ok());
        pages.map(|pages| pages * self.page_bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
