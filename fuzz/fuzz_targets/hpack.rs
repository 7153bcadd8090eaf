//! Header blocks, some of them missed: nothing panics, what is held is bounded, and a decoder that came late never
//! contradicts one that saw everything.
#![no_main]

use headtrail_assemble::hpack::{Budget, Decoder, Field, Text};
use libfuzzer_sys::fuzz_target;

const TABLE_OCTETS_MAX: usize = 4096;
const BUDGET: Budget = Budget { fields_max: 512, octets_max: 65_536 };

type Fields = Vec<(Option<Vec<u8>>, Option<Vec<u8>>)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Option<Fields> {
    let known = |text: Text<'_>| match text {
        Text::Known(octets) => Some(octets.to_vec()),
        Text::Unknown => None,
    };
    let mut fields = Vec::new();
    let mut take = |f: Field<'_>| fields.push((known(f.name), known(f.value)));
    let decoded = decoder.block(block, BUDGET, &mut take).is_ok();
    assert!(decoder.held_octets() < 64 * 1024 + 4 * block.len());
    decoded.then_some(fields)
}

// The first octet of each block says how long it is (7 bits) and whether the late decoder misses it.
fuzz_target!(|data: &[u8]| {
    let (mut all, mut late) = (Decoder::new(TABLE_OCTETS_MAX), Decoder::joined(TABLE_OCTETS_MAX));
    let mut rest = data;
    while let Some((&head, after)) = rest.split_first() {
        let (block, after) = after.split_at(usize::from(head & 0x7f).min(after.len()));
        rest = after;
        let Some(truth) = decode(&mut all, block) else { return };
        if head & 0x80 != 0 {
            late.forget();
            continue;
        }
        let Some(seen) = decode(&mut late, block) else { panic!("refused what was taken") };
        for (seen, truth) in seen.iter().zip(&truth) {
            assert!(seen.0.is_none() || truth.0.is_none() || seen.0 == truth.0);
            assert!(seen.1.is_none() || truth.1.is_none() || seen.1 == truth.1);
        }
    }
});
