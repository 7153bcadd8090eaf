//! Decoding of any bytes: it must not panic; what it takes can be printed and encoded, and that decodes to the same.
#![no_main]

use headtrail_record::{ecs, json, proto};
use libfuzzer_sys::fuzz_target;

fn line(record: &headtrail_record::record::Record) -> Vec<u8> {
    let mut out = Vec::new();
    json::write_record(&mut out, record);
    out
}

fuzz_target!(|data: &[u8]| {
    let peeked = proto::peek(data);
    let Ok(record) = proto::decode(data) else { return };
    assert_eq!(peeked.map(|(kind, _)| kind), Ok(record.kind()));
    let mut document = Vec::new();
    ecs::write_record(&mut document, &record, None);
    let mut again = Vec::new();
    if proto::record(&mut again, &record).is_ok() {
        let second = proto::decode(&again);
        assert_eq!(second.as_ref().map(line), Ok(line(&record)));
    }
});
