//! Any bytes as what a receiver says of a window: never more is acknowledged than was sent, never less than before, and how the bytes were
//! cut changes nothing.
#![no_main]

use headtrail_ship::logstash::Acks;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[window, cut], bytes)) = data.split_first_chunk::<2>() else { return };
    let window = u32::from(window);
    let mut whole = Acks::default();
    whole.begin(window);
    let result = whole.hear(bytes);
    assert!(whole.acked() <= window);

    let mut parts = Acks::default();
    parts.begin(window);
    let mut acked = 0;
    let mut parts_result = Ok(false);
    for part in bytes.chunks(usize::from(cut).max(1)) {
        let part_result = parts.hear(part);
        assert!(parts.acked() >= acked && parts.acked() <= window);
        acked = parts.acked();
        match part_result {
            Ok(heard) => parts_result = parts_result.map(|before| before || heard),
            Err(trouble) => {
                parts_result = Err(trouble);
                break;
            }
        }
    }
    assert_eq!(parts_result, result);
    assert_eq!(acked, whole.acked());
});
