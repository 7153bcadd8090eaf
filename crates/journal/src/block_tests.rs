use proptest::prelude::*;

use super::*;

fn unpack(header: BlockHeader, stored: &[u8]) -> std::result::Result<Block, &'static str> {
    Block::unpack(header, 0, stored, &mut Decompressor::new().unwrap())
}

fn header(packed: &Packed) -> BlockHeader {
    packed.header(0, 100, [0; 32], 9)
}

#[test]
fn the_header_says_what_is_in_a_block() {
    let mut builder = BlockBuilder::new().unwrap();
    for (time, type_number) in [(7, 1), (5, 3), (6, 99)] {
        builder.push(&[0; 500], time, type_number).unwrap();
    }
    assert_eq!(builder.records(), 3);
    let packed = builder.seal().unwrap();
    let header = header(&packed);
    assert_eq!((header.records, header.raw_bytes, header.codec), (3, 3 * 502, Codec::Zstd));
    assert_eq!((header.first_time_ns, header.last_time_ns, header.types), (5, 7, 1 << 1 | 1 << 3 | 1 << 31));
    assert_eq!(header.content, Hash::from(Sha256::digest(&packed.stored)));
    assert!(matches!(builder.seal(), Err(Error::BlockEmpty)));
    let block = unpack(header, &packed.stored).unwrap();
    assert_eq!(block.records().map(|(sequence, _)| sequence).collect::<Vec<_>>(), [100, 101, 102]);
    let passed = Block { passed: 2, ..block };
    assert_eq!(passed.records().map(|(sequence, _)| sequence).collect::<Vec<_>>(), [102]);
}

#[test]
fn what_zstd_does_not_make_smaller_is_stored_as_it_is() {
    let mut builder = BlockBuilder::new().unwrap();
    builder.push(b"abc", 1, 1).unwrap();
    let packed = builder.seal().unwrap();
    assert_eq!((packed.codec, &packed.stored[..]), (Codec::Raw, &b"\x03abc"[..]));
}

#[test]
fn a_record_that_fits_into_no_block_is_refused_and_the_block_goes_on() {
    let mut builder = BlockBuilder::new().unwrap();
    builder.push(b"a", 1, 1).unwrap();
    let bytes = RAW_BYTES_MAX + 1;
    let refused = builder.push(&vec![0; bytes - 4], 1, 1);
    assert!(matches!(refused, Err(Error::RecordTooLarge { bytes: told }) if told == bytes), "{refused:?}");
    assert!(matches!(builder.push(&vec![0; RAW_BYTES_MAX - 4], 1, 1), Err(Error::BlockFull)));
    assert!(!builder.is_due());
    builder.push(&vec![0; BLOCK_BYTES], 1, 1).unwrap();
    assert!(builder.is_due());
    assert_eq!(builder.seal().unwrap().records(), 2);
    builder.push(&vec![0; RAW_BYTES_MAX - 4], 1, 1).unwrap();
    let packed = builder.seal().unwrap();
    assert!(unpack(header(&packed), &packed.stored).is_ok());
}

#[test]
fn lengths_that_do_not_fit_are_damage() {
    let raw = |bytes: &[u8], records| {
        let mut builder = BlockBuilder::new().unwrap();
        builder.push(b"", 1, 1).unwrap();
        let header = header(&builder.seal().unwrap());
        let length = bytes.len() as u32;
        unpack(
            BlockHeader { records, codec: Codec::Raw, stored_bytes: length, raw_bytes: length, ..header },
            bytes,
        )
    };
    assert!(raw(b"\x01a\x00\x02bc", 3).is_ok());
    for (bytes, records) in [
        (&b"\x01a\x00\x02bc"[..], 2),
        (b"\x01a\x00\x02bc", 4),
        (b"\x01a\x03bc", 2),
        (b"\x80", 1),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1),
        (b"\xff\xff\xff\xff\x7f", 1),
    ] {
        assert!(raw(bytes, records).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_frame_that_unpacks_to_another_size_is_damage() {
    let mut builder = BlockBuilder::new().unwrap();
    builder.push(&[0; 1000], 1, 1).unwrap();
    let packed = builder.seal().unwrap();
    let header = header(&packed);
    for raw_bytes in [1, 1001, 1003, RAW_BYTES_MAX as u32] {
        assert!(unpack(BlockHeader { raw_bytes, ..header }, &packed.stored).is_err());
    }
}

proptest! {
    #[test]
    fn what_is_pushed_comes_out(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20)) {
        let mut builder = BlockBuilder::new().unwrap();
        for record in &records {
            builder.push(record, 1, 1).unwrap();
        }
        let packed = builder.seal().unwrap();
        let block = unpack(header(&packed), &packed.stored).unwrap();
        let out: Vec<Vec<u8>> = block.records().map(|(_, record)| record.to_vec()).collect();
        prop_assert_eq!(out, records);
    }

    #[test]
    fn any_bytes_are_records_or_none(bytes in proptest::collection::vec(any::<u8>(), 1..300), zstd in any::<bool>(), records in 1u32..10) {
        let mut builder = BlockBuilder::new().unwrap();
        builder.push(&[0; 100], 1, 1).unwrap();
        let packed = builder.seal().unwrap();
        let codec = if zstd { Codec::Zstd } else { Codec::Raw };
        let raw_bytes = if zstd { 101 } else { bytes.len() as u32 };
        let header = BlockHeader { codec, records, raw_bytes, stored_bytes: bytes.len() as u32, ..header(&packed) };
        if let Ok(block) = unpack(header, &bytes) {
            prop_assert_eq!(block.records().count(), records as usize);
        }
    }
}
