//! How many bytes a transaction takes in a journal: blocks of 1 MiB, zstd level 1, as docs/formats/journal.md has them.
//!
//! `cargo run --release -p headtrail-record --example stored_size`

#[path = "../benches/realistic/mod.rs"]
mod realistic;

use headtrail_record::json::Context;
use headtrail_record::{json, proto};
use realistic::{Gateway, Traffic};

const BLOCK_BYTES: usize = 1 << 20;
const BLOCKS: usize = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    measure(true)?;
    measure(false)
}

fn measure(unique_ids: bool) -> Result<(), Box<dyn std::error::Error>> {
    let gateway = Gateway::new();
    let context = Context { run: 0x0123_4567_89ab, processes: &gateway };
    let mut traffic = Traffic::new();
    traffic.unique_ids = unique_ids;
    let (mut records, mut raw, mut stored, mut lines, mut stored_lines) = (0, 0, 0, 0, 0);
    for _ in 0..BLOCKS {
        let (mut block, mut text) = (Vec::with_capacity(BLOCK_BYTES), Vec::new());
        while block.len() < BLOCK_BYTES {
            let t = traffic.next();
            let mut one = Vec::new();
            proto::transaction(&mut one, &t, &context)?;
            prefix(&mut block, one.len());
            block.extend(one);
            json::write_transaction(&mut text, &t, &context);
            records += 1;
        }
        raw += block.len();
        stored += zstd::bulk::compress(&block, 1)?.len();
        lines += text.len();
        stored_lines += zstd::bulk::compress(&text, 1)?.len();
    }
    let ids = if unique_ids { "with 40 random bytes in ids each" } else { "all with the same ids" };
    println!("{records} transactions in {BLOCKS} blocks, {ids}; bytes for each:");
    println!("protobuf {:5}, zstd {:5.1}", raw / records, stored as f64 / records as f64);
    println!("JSON     {:5}, zstd {:5.1}", lines / records, stored_lines as f64 / records as f64);
    Ok(())
}

/// The length before a record in a block.
fn prefix(block: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        block.push(len as u8 | 0x80);
        len >>= 7;
    }
    block.push(len as u8);
}
