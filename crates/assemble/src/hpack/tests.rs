//! The stories, an encoder that knows the truth, and hostile bytes.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const ALL: Budget = Budget { fields_max: usize::MAX, octets_max: usize::MAX };

/// What was given out of a block; None is unknown.
type Fields = Vec<(Option<Vec<u8>>, Option<Vec<u8>>)>;

fn known(text: Text<'_>) -> Option<Vec<u8>> {
    match text {
        Text::Known(octets) => Some(octets.to_vec()),
        Text::Unknown => None,
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Error> {
    let mut fields = Vec::new();
    decoder.block(block, ALL, &mut |f| fields.push((known(f.name), known(f.value))))?;
    Ok(fields)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn pairs(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(n, v)| (Some(n.as_bytes().to_vec()), Some(v.as_bytes().to_vec()))).collect()
}

#[test]
fn examples_of_the_rfc() {
    // RFC 7541, C.4: requests with Huffman code.
    let mut decoder = Decoder::new(65_536);
    let first = decode(&mut decoder, &hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff")).unwrap();
    let start = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    assert_eq!(first, pairs(&start));
    let second = decode(&mut decoder, &hex("8286 84be 5886 a8eb 1064 9cbf")).unwrap();
    assert_eq!(second, pairs(&[&start[..], &[("cache-control", "no-cache")]].concat()));
    // C.2.3: a literal that is never indexed.
    let mut marked = false;
    let block = hex("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let summary = decoder.block(&block, ALL, &mut |f| {
        marked = f.never_indexed && f.name == Text::Known(b"password") && f.value == Text::Known(b"secret");
    });
    assert_eq!(summary.map(|s| s.fields), Ok(1));
    assert!(marked);
}

#[test]
fn a_joined_decoder_knows_the_static_table_and_literals_only() {
    let mut decoder = Decoder::joined(65_536);
    // :method GET; an index into the unknown; a new entry; the same by its index; the unknown behind it.
    let block = [&[0x82, 0xbe, 0x40, 1, b'a', 1, b'b', 0xbe, 0xbf][..]].concat();
    let fields = decode(&mut decoder, &block).unwrap();
    let ab = || (Some(b"a".to_vec()), Some(b"b".to_vec()));
    assert_eq!(fields, [pairs(&[(":method", "GET")])[0].clone(), (None, None), ab(), ab(), (None, None)]);
    // An insertion whose name is unknown has an unknown name; its value is known.
    let fields = decode(&mut decoder, &[0x40 | 63, 0, 1, b'c', 0xbe]).unwrap();
    assert_eq!(fields, [(None, Some(b"c".to_vec())), (None, Some(b"c".to_vec()))]);
    // A table of no octets is known to be empty.
    assert_eq!(decode(&mut decoder, &[0x20, 0xbe]), Err(Error::IndexInvalid));
}

#[test]
fn what_no_encoder_may_write_is_refused() {
    let refused = |block: &[u8]| decode(&mut Decoder::new(65_536), block).unwrap_err();
    assert_eq!(refused(&[0x80]), Error::IndexInvalid);
    assert_eq!(refused(&[0xbe]), Error::IndexInvalid);
    assert_eq!(refused(&[0x3f]), Error::Cut);
    assert_eq!(refused(&[0x40]), Error::Cut);
    assert_eq!(refused(&[0x40, 5, b'a']), Error::Cut);
    assert_eq!(refused(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), Error::IntegerTooLarge);
    assert_eq!(refused(&[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0]), Error::IntegerTooLarge);
    assert_eq!(refused(&[0x82, 0x20]), Error::SizeUpdateInvalid);
    assert_eq!(refused(&[0x3f, 0xe2, 0x1f]), Error::SizeUpdateInvalid);
    assert_eq!(refused(&[0x40, 0x81, 0xff, 1, b'a']), Error::HuffmanInvalid);
}

#[test]
fn the_budget_holds_and_the_table_goes_on() {
    let mut decoder = Decoder::new(65_536);
    decode(&mut decoder, &[&[0x40, 1, b'n', 100][..], &[b'v'; 100]].concat()).unwrap();
    let mut given = 0;
    let budget = Budget { fields_max: 1000, octets_max: 1010 };
    let block = [vec![0xbe; 5000], vec![0x40, 1, b'x', 1, b'y']].concat();
    let summary = decoder.block(&block, budget, &mut |_| given += 1).unwrap();
    assert_eq!((given, summary.fields, summary.over_budget), (10, 5001, true));
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), pairs(&[("x", "y")]));
}

/// The folder of the stories of github.com/http2jp/hpack-test-case, if it is there.
fn stories() -> Vec<serde_json::Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/hpack");
    let Ok(encoders) = fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no stories at {}", folder.display());
        return Vec::new();
    };
    let mut stories = Vec::new();
    for encoder in encoders.map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        for file in fs::read_dir(encoder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|e| e == "json") {
                stories.push(serde_json::from_slice(&fs::read(path).unwrap()).unwrap());
            }
        }
    }
    assert_eq!(stories.len(), 66);
    stories
}

/// Table size, block and fields of each case.
fn cases(story: &serde_json::Value) -> Vec<(Option<u32>, Vec<u8>, Fields)> {
    let text = |v: &serde_json::Value| Some(v.as_str().unwrap().as_bytes().to_vec());
    let mut cases = Vec::new();
    for case in story["cases"].as_array().unwrap() {
        let pairs = case["headers"].as_array().unwrap().iter().flat_map(|p| p.as_object().unwrap());
        let fields = pairs.map(|(n, v)| (Some(n.as_bytes().to_vec()), text(v))).collect();
        let size = case["header_table_size"].as_u64().map(|s| s as u32);
        cases.push((size, hex(case["wire"].as_str().unwrap()), fields));
    }
    cases
}

#[test]
fn all_stories_decode_exactly() {
    let mut fields_in_all = 0;
    for story in stories() {
        let mut decoder = Decoder::new(65_536);
        for (size, block, fields) in cases(&story) {
            size.into_iter().for_each(|s| decoder.set_limit(s));
            assert_eq!(decode(&mut decoder, &block).unwrap(), fields);
            fields_in_all += fields.len();
        }
    }
    assert!(fields_in_all == 0 || fields_in_all == 22_533, "{fields_in_all}");
}

/// Nothing that is known differs from the truth; returns how many texts are unknown.
fn no_wrong_pair(got: &Fields, truth: &Fields) -> usize {
    assert_eq!(got.len(), truth.len());
    let mut unknown = 0;
    for (got, truth) in got.iter().zip(truth) {
        for (got, truth) in [(&got.0, &truth.0), (&got.1, &truth.1)] {
            match got {
                Some(_) => assert_eq!(got, truth),
                None => unknown += 1,
            }
        }
    }
    unknown
}

#[test]
fn stories_joined_at_every_block_give_no_wrong_pair() {
    for story in stories() {
        let cases = cases(&story);
        for from in 0..cases.len() {
            let mut decoder = Decoder::joined(65_536);
            for (_, block, fields) in &cases[from..] {
                no_wrong_pair(&decode(&mut decoder, block).unwrap(), fields);
            }
        }
    }
}

/// An encoder that uses every representation, and a table that is the RFC's to the letter.
struct Encoder {
    table: Vec<(Vec<u8>, Vec<u8>)>,
    max: usize,
}

/// What it does next.
#[derive(Clone, Debug)]
enum Step {
    Resize(usize),
    Field { name: u8, value: u8, repeat: u8, way: u8, huffman: bool },
    EndOfBlock,
}

impl Encoder {
    fn evict(&mut self) {
        while self.table.iter().map(|(n, v)| n.len() + v.len() + 32).sum::<usize>() > self.max {
            self.table.pop();
        }
    }

    fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
        let full = (1 << prefix) - 1;
        if value < full {
            out.push(first | value as u8);
            return;
        }
        out.push(first | full as u8);
        let mut rest = value - full;
        while rest >= 128 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn string(out: &mut Vec<u8>, text: &[u8], huffman: bool) {
        let mut coded = Vec::new();
        if huffman {
            huffman::encode(text, &mut coded);
        }
        let text = if huffman { &coded } else { text };
        Self::integer(out, if huffman { 0x80 } else { 0 }, 7, text.len());
        out.extend_from_slice(text);
    }

    fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8], way: u8, huffman: bool) {
        let whole = self.table.iter().position(|(n, v)| (&n[..], &v[..]) == (name, value));
        if let (Some(at), true) = (whole, way & 4 == 0) {
            return Self::integer(out, 0x80, 7, DYNAMIC + at);
        }
        let index = self.table.iter().position(|(n, _)| n == name).filter(|_| way & 8 == 0);
        let (first, prefix) = [(0x40, 6), (0x40, 6), (0, 4), (0x10, 4)][usize::from(way & 3)];
        Self::integer(out, first, prefix, index.map_or(0, |at| DYNAMIC + at));
        if index.is_none() {
            Self::string(out, name, huffman);
        }
        Self::string(out, value, huffman);
        if first == 0x40 {
            self.table.insert(0, (name.to_vec(), value.to_vec()));
            self.evict();
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => prop_oneof![Just(0), 1usize..100, 100usize..4097].prop_map(Step::Resize),
        20 => (0u8..8, 0u8..8, 1u8..40, any::<u8>(), any::<bool>())
            .prop_map(|(name, value, repeat, way, huffman)| Step::Field { name, value, repeat, way, huffman }),
        4 => Just(Step::EndOfBlock),
    ]
}

/// Blocks with the fields that they mean.
fn encode(steps: &[Step]) -> Vec<(Vec<u8>, Fields)> {
    let mut encoder = Encoder { table: Vec::new(), max: 4096 };
    let mut blocks = vec![(Vec::new(), Vec::new())];
    for step in steps {
        let last = blocks.len() - 1;
        let (block, fields): &mut (Vec<u8>, Fields) = &mut blocks[last];
        match *step {
            Step::Resize(max) if fields.is_empty() => {
                Encoder::integer(block, 0x20, 5, max);
                encoder.max = max;
                encoder.evict();
            }
            Step::Resize(_) | Step::EndOfBlock => blocks.push(Default::default()),
            Step::Field { name, value, repeat, way, huffman } => {
                let name = format!("name-{name}").into_bytes();
                let value = format!("{value}").repeat(usize::from(repeat)).into_bytes();
                encoder.field(block, &name, &value, way, huffman);
                fields.push((Some(name), Some(value)));
            }
        }
    }
    blocks
}

proptest! {
    #[test]
    fn what_is_seen_from_the_first_block_on_is_known(steps in prop::collection::vec(step(), 0..200)) {
        let mut decoder = Decoder::new(65_536);
        for (block, fields) in encode(&steps) {
            prop_assert_eq!(decode(&mut decoder, &block).unwrap(), fields);
        }
    }

    #[test]
    fn what_is_missed_is_unknown_and_never_wrong(
        steps in prop::collection::vec(step(), 0..200),
        joined in any::<bool>(),
        missed in prop::collection::vec(prop::bool::weighted(0.2), 200),
        ceiling in prop_oneof![Just(65_536usize), 0usize..600],
    ) {
        let mut decoder = if joined { Decoder::joined(ceiling) } else { Decoder::new(ceiling) };
        for ((block, fields), missed) in encode(&steps).iter().zip(missed) {
            if missed {
                decoder.forget();
                continue;
            }
            no_wrong_pair(&decode(&mut decoder, block).unwrap(), fields);
            // An entry takes less than twice its size.
            prop_assert!(decoder.held_octets() < 2 * ceiling + 32 * 1024);
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        joined in any::<bool>(),
    ) {
        let mut decoder = if joined { Decoder::joined(1024) } else { Decoder::new(1024) };
        for block in blocks {
            let _ = decode(&mut decoder, &block);
            prop_assert!(decoder.held_octets() < 64 * 1024);
        }
    }
}

/// A decoder that does not notice that a block is missing is found out.
#[test]
fn the_properties_can_fail() {
    let mut wrong = 0;
    for value in 0..8 {
        let field = |name, value| Step::Field { name, value, repeat: 1, way: 0, huffman: false };
        let steps = [field(1, value), Step::EndOfBlock, field(2, 1), Step::EndOfBlock, field(1, value)];
        let blocks = encode(&steps);
        let mut decoder = Decoder::new(65_536);
        decode(&mut decoder, &blocks[0].0).unwrap();
        // The second block is missed, and nobody calls `forget`.
        let got = decode(&mut decoder, &blocks[2].0);
        wrong += usize::from(got.as_ref() != Ok(&blocks[2].1));
    }
    assert_eq!(wrong, 8);
}
