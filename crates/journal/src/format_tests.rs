use proptest::prelude::*;

use super::*;

fn segment() -> SegmentHeader {
    SegmentHeader {
        first_block: 0x0102_0304_0506_0708,
        first_record: 0x1112_1314_1516_1718,
        created_ns: 0x2122_2324_2526_2728,
        journal: *b"0123456789abcdef",
    }
}

fn block() -> BlockHeader {
    BlockHeader {
        block: 0x0102_0304_0506_0708,
        first_record: 0x1112_1314_1516_1718,
        records: 3,
        codec: Codec::Zstd,
        stored_bytes: 0x0001_0203,
        raw_bytes: 0x0011_1213,
        first_time_ns: 0x2122_2324_2526_2728,
        last_time_ns: 0x3132_3334_3536_3738,
        sealed_ns: 0x4142_4344_4546_4748,
        previous: [0x55; 32],
        content: [0x66; 32],
        stored_crc: 0x7172_7374,
        types: 0x8182_8384,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_segment_header_has_the_bytes_of_the_page() {
    let bytes = segment().encode();
    assert_eq!(
        hex(&bytes[..60]),
        concat!(
            "48545345470d0a1a",
            "0100",
            "4000",
            "00000000",
            "0807060504030201",
            "1817161514131211",
            "2827262524232221",
            "30313233343536373839616263646566",
            "00000000"
        )
    );
    assert_eq!(bytes[60..], crc32c::crc32c(&bytes[..60]).to_le_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), Ok(segment()));
}

#[test]
fn a_block_header_has_the_bytes_of_the_page() {
    let bytes = block().encode();
    let previous = "55".repeat(32);
    let content = "66".repeat(32);
    assert_eq!(
        hex(&bytes[..156]),
        format!(
            "4854424b0100a00008070605040302011817161514131211030000000100000003020100131211002827262524232221\
             38373635343332314847464544434241{previous}{content}74737271{}84838281",
            "00".repeat(20)
        )
    );
    assert_eq!(bytes[156..], crc32c::crc32c(&bytes[..156]).to_le_bytes());
    assert_eq!(BlockHeader::decode(&bytes), Ok(block()));
}

#[test]
fn the_checksum_is_castagnoli() {
    // RFC 3720, B.4: 32 bytes of zeros.
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn a_lost_leaf_is_an_entry_of_no_bytes() {
    assert_eq!(LOST_LEAF, Hash::from(Sha256::digest([0])));
}

#[test]
fn a_later_version_is_told_from_a_flipped_bit() {
    let mut later = vec![0; 100];
    later[..8].copy_from_slice(&SEGMENT_MAGIC);
    later[8] = 2;
    later[10] = 100;
    assert!(matches!(SegmentHeader::decode(&later), Err(HeaderError::Wrong(_))));
    let crc = crc32c::crc32c(&later[..96]);
    later[96..].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(SegmentHeader::decode(&later), Err(HeaderError::Newer(2)));
}

/// Puts a right checksum behind changed fields.
fn with_crc(mut bytes: BlockHeaderBytes) -> BlockHeaderBytes {
    let crc = crc32c::crc32c(&bytes[..156]);
    bytes[156..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn fields_that_are_never_written_are_no_header() {
    let changed = |change: &dyn Fn(&mut BlockHeader)| {
        let mut header = block();
        change(&mut header);
        BlockHeader::decode(&header.encode())
    };
    assert!(changed(&|_| {}).is_ok());
    for change in [
        |header: &mut BlockHeader| header.records = 0,
        |header: &mut BlockHeader| header.records = header.raw_bytes + 1,
        |header: &mut BlockHeader| header.stored_bytes = 0,
        |header: &mut BlockHeader| header.stored_bytes = STORED_BYTES_MAX as u32 + 1,
        |header: &mut BlockHeader| header.raw_bytes = RAW_BYTES_MAX as u32 + 1,
        |header: &mut BlockHeader| header.codec = Codec::Raw,
        |header: &mut BlockHeader| header.first_time_ns = header.last_time_ns + 1,
        |header: &mut BlockHeader| header.block = u64::MAX,
        |header: &mut BlockHeader| header.first_record = u64::MAX,
    ] {
        assert!(matches!(changed(&change), Err(HeaderError::Wrong(_))));
    }
    for at in [4, 6, 28, 30, 132, 151] {
        let mut bytes = block().encode();
        bytes[at] ^= 0x40;
        assert!(BlockHeader::decode(&with_crc(bytes)).is_err(), "{at}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_header_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = SegmentHeader::decode(&bytes);
        let mut header = [0; BLOCK_HEADER_BYTES];
        let count = bytes.len().min(header.len());
        header[..count].copy_from_slice(&bytes[..count]);
        let _ = BlockHeader::decode(&header);
    }

    #[test]
    fn what_decodes_is_encoded_to_the_same_bytes(
        at in proptest::collection::vec((0usize..156, any::<u8>()), 0..4)
    ) {
        let mut bytes = block().encode();
        for (at, byte) in at {
            bytes[at] = byte;
        }
        let bytes = with_crc(bytes);
        if let Ok(header) = BlockHeader::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }

    #[test]
    fn so_is_a_segment_header(at in proptest::collection::vec((0usize..60, any::<u8>()), 0..4)) {
        let mut bytes = segment().encode();
        for (at, byte) in at {
            bytes[at] = byte;
        }
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        if let Ok(header) = SegmentHeader::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }

    #[test]
    fn each_flipped_bit_is_found(bit in 0usize..8 * BLOCK_HEADER_BYTES) {
        let mut bytes = block().encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(BlockHeader::decode(&bytes).is_err());
        let mut bytes = segment().encode();
        let bit = bit % (8 * SEGMENT_HEADER_BYTES);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(SegmentHeader::decode(&bytes).is_err());
    }
}
