use super::*;

const TAILS: [Tail; 5] = [Tail::Whole, Tail::NoSegment, Tail::NoBlock, Tail::Torn, Tail::Wrong];
const AGAINST: [Against; 2] = [Against::Enough, Against::Fewer];
const HASHES: [Hashes; 3] = [Hashes::InTiles, Hashes::InSegments, Hashes::Nowhere];

#[test]
fn each_combination_is_in_exactly_one_row() {
    for tail in TAILS {
        for against in AGAINST {
            for hashes in HASHES {
                let rows: Vec<&Row> = TABLE
                    .iter()
                    .filter(|row| {
                        row.tail.contains(&tail)
                            && row.against.contains(&against)
                            && row.hashes.contains(&hashes)
                    })
                    .collect();
                assert_eq!(rows.len(), 1, "{tail:?} {against:?} {hashes:?}: {rows:?}");
                assert_eq!(decide(tail, against, hashes), (rows[0].act, rows[0].told));
            }
        }
    }
}

#[test]
fn nothing_is_cut_or_removed_while_signed_blocks_are_missing() {
    for tail in TAILS {
        for hashes in HASHES {
            let (act, told) = decide(tail, Against::Fewer, hashes);
            assert!(matches!(act, Act::BehindKnown | Act::Refuse), "{tail:?} {hashes:?}: {act:?}");
            assert_eq!(told, Told::Damage);
        }
    }
}

#[test]
fn only_what_changes_nothing_is_told_to_nobody() {
    for row in &TABLE {
        assert_eq!(row.told == Told::Nothing, matches!(row.act, Act::GoOn | Act::Begin), "{row:?}");
    }
}
