//! Any bytes as a capture file, through the assembler: nothing panics or goes on without end, and what is held is bounded.
#![no_main]

use std::io::Cursor;

use headtrail_assemble::{Assembler, Limits};
use headtrail_files::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = Reader::open(Cursor::new(data.to_vec()), headtrail_files::Limits::default()) else {
        return;
    };
    let mut assembler = Assembler::new(Limits::default());
    let mut packets = 0;
    while let Ok(true) = reader.next(&mut |event| assembler.event(event, &mut drop)) {
        assembler.take_resyncs();
        packets += 1;
        // A packet has a header of 8 bytes at least, but for what compression makes of it.
        assert!(packets <= data.len() * 1024);
    }
    assembler.tick(reader.now_ns(), &mut drop);
    assembler.finish(&mut drop);
});
