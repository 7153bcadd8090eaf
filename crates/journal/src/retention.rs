//! Which segments may go. Nothing is removed here: the writer does it.

use std::ops::Range;

/// A closed segment, as far as retention cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its first block, which is its name.
    pub first_block: u64,
    /// Sequence number of its first record, if its header tells it.
    pub first_record: Option<u64>,
    /// When it was made, if its header tells it.
    pub created_ns: Option<u64>,
    /// Bytes of its file.
    pub bytes: u64,
}

/// What is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Bytes of all segments.
    pub bytes_max: u64,
    /// Age of the newest record of a segment.
    pub age_ns_max: u64,
}

/// What was removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Its blocks, to remove their entry bundles, too.
    pub blocks: Range<u64>,
    /// How many of them some cursor had not passed.
    pub undelivered_blocks: u64,
    /// Bytes that are free now.
    pub bytes: u64,
}

/// How many of `segments`, which are in order, go by size and age. The last one is the newest and always stays.
///
/// What a reader has not had yet goes, too: a destination that is away for weeks must not fill the disk. It is counted ([`removed`]).
///
/// The newest record of a segment is taken to be as old as the segment behind it: that costs one header instead of all of its blocks, and
/// keeps a segment longer by the time that a block waits to be sealed.
#[must_use]
pub fn due(segments: &[Segment], retention: Retention, now_ns: u64) -> usize {
    let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut go = 0;
    for pair in segments.windows(2) {
        let [segment, next] = pair else { break };
        let old = next.created_ns.is_some_and(|newest| now_ns.saturating_sub(newest) > retention.age_ns_max);
        if !old && bytes <= retention.bytes_max {
            break;
        }
        bytes -= segment.bytes;
        go += 1;
    }
    go
}

/// How many of `segments` go to set `bytes` free. The oldest ones, which are also those that were delivered first, and the last one never.
#[must_use]
pub fn forced(segments: &[Segment], bytes: u64) -> usize {
    let mut free = 0;
    segments
        .split_last()
        .map_or(&[][..], |(_, older)| older)
        .iter()
        .take_while(|segment| {
            let more = free < bytes;
            free += segment.bytes;
            more
        })
        .count()
}

/// What it means that the first `count` of `segments` go.
#[must_use]
pub fn removed(segments: &[Segment], count: usize, floor: Option<u64>) -> Removed {
    let (Some(first), Some(next)) = (segments.first(), segments.get(count)) else {
        return Removed::default();
    };
    let blocks = first.first_block..next.first_block;
    Removed {
        undelivered_blocks: floor.map_or(0, |floor| blocks.end.saturating_sub(floor.max(blocks.start))),
        bytes: segments[..count].iter().map(|segment| segment.bytes).sum(),
        blocks,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segments(bytes: &[u64]) -> Vec<Segment> {
        let mut first_block = 0;
        bytes
            .iter()
            .enumerate()
            .map(|(i, &bytes)| {
                first_block += 10;
                let created_ns = Some(100 * i as u64);
                Segment { first_block: first_block - 10, first_record: None, created_ns, bytes }
            })
            .collect()
    }

    const ALL: Retention = Retention { bytes_max: u64::MAX, age_ns_max: u64::MAX };

    #[test]
    fn the_oldest_go_by_size() {
        let all = segments(&[5, 5, 5, 5]);
        assert_eq!(due(&all, ALL, 1_000), 0);
        assert_eq!(due(&all, Retention { bytes_max: 20, ..ALL }, 0), 0);
        assert_eq!(due(&all, Retention { bytes_max: 19, ..ALL }, 0), 1);
        assert_eq!(due(&all, Retention { bytes_max: 0, ..ALL }, 0), 3);
        assert_eq!(due(&[], Retention { bytes_max: 0, ..ALL }, 0), 0);
    }

    #[test]
    fn a_segment_is_as_old_as_the_one_behind_it() {
        let all = segments(&[5, 5, 5, 5]);
        assert_eq!(due(&all, Retention { age_ns_max: 50, ..ALL }, 150), 0);
        assert_eq!(due(&all, Retention { age_ns_max: 50, ..ALL }, 151), 1);
        assert_eq!(due(&all, Retention { age_ns_max: 50, ..ALL }, 1_000), 3);
        // A clock that went back removes nothing.
        assert_eq!(due(&all, Retention { age_ns_max: 50, ..ALL }, 0), 0);
    }

    #[test]
    fn what_a_cursor_needed_is_counted() {
        let all = segments(&[5, 5, 5, 5]);
        assert_eq!(forced(&all, 6), 2);
        assert_eq!(removed(&all, 2, Some(15)), Removed { blocks: 0..20, undelivered_blocks: 5, bytes: 10 });
        assert_eq!(removed(&all, 2, Some(25)).undelivered_blocks, 0);
        assert_eq!(removed(&all, 0, Some(25)), Removed::default());
    }

    proptest! {
        #[test]
        fn the_newest_stays_and_no_more_goes_than_must(
            bytes in proptest::collection::vec(1u64..100, 0..20), max in 0u64..500, now in 0u64..5_000, age in 0u64..5_000,
        ) {
            let all = segments(&bytes);
            let retention = Retention { bytes_max: max, age_ns_max: age };
            let go = due(&all, retention, now);
            prop_assert!(go == 0 || go < all.len());
            prop_assert_eq!(due(&all[go..], retention, now), 0);
            let forced = forced(&all, max);
            prop_assert!(forced == 0 || forced < all.len());
            let free: u64 = bytes[..forced].iter().sum();
            prop_assert!(free >= max || forced + 1 >= all.len());
        }
    }
}
