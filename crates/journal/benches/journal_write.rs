//! What it costs to write a record of about 1 KB: pushing, packing and appending it, on a disk that takes everything at once.
//!
//! The disk is left out since it is not ours; its share is one `pwritev` for each block of 1 MiB.
#![expect(clippy::unwrap_used, reason = "a benchmark may stop")]

use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use headtrail_journal::Result;
use headtrail_journal::block::BlockBuilder;
use headtrail_journal::recovery::Unsigned;
use headtrail_journal::storage::{File, Lock, Storage};
use headtrail_journal::writer::{Options, Writer};

fn main() {
    divan::main();
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Storage for Nowhere {
    fn create_dir(&self, _: &str) -> Result<()> {
        Ok(())
    }
    fn create(&self, _: &str) -> Result<Box<dyn File>> {
        Ok(Box::new(Nowhere))
    }
    fn open(&self, path: &str, _: bool) -> Result<Box<dyn File>> {
        Err(headtrail_journal::Error::disk(path, std::io::ErrorKind::NotFound.into()))
    }
    fn list(&self, _: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn rename(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }
    fn remove(&self, _: &str) -> Result<()> {
        Ok(())
    }
    fn remove_dir(&self, _: &str) -> Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _: &str) -> Result<()> {
        Ok(())
    }
    fn lock(&self, _: &str) -> Result<Box<dyn Lock>> {
        Ok(Box::new(Nowhere))
    }
}

impl Lock for Nowhere {}

impl File for Nowhere {
    fn size(&self) -> Result<u64> {
        Ok(0)
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<usize> {
        Ok(0)
    }
    fn write_some_at(&mut self, _: u64, head: &[u8], body: &[u8]) -> Result<usize> {
        Ok(black_box(head).len() + black_box(body).len())
    }
    fn truncate(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Records as those of one host's traffic: the same words, other numbers.
fn records() -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..1_000)
        .map(|_| {
            let mut text = format!(
                "GET /api/v1/customers/{}/orders/{} 200 {:016x} 10.0.{}.{} host: shop.example.com ",
                number(),
                number(),
                number() << 20 | number(),
                number() % 256,
                number() % 256
            );
            while text.len() < 1_000 {
                let name =
                    ["x-request-id", "traceparent", "etag", "cookie", "authorization"][number() as usize % 5];
                text += &format!(
                    "{name}: hmac:1:{:08x}{:08x} accept: application/json, text/plain; q=0.9 ",
                    number(),
                    number()
                );
            }
            text.truncate(1_000);
            text.into_bytes()
        })
        .collect()
}

/// Pushes all records again and again until a block is due, then appends it. One iteration is a block of 1 MiB.
#[divan::bench(args = ["push", "push_seal", "push_seal_append"])]
fn block(bencher: Bencher, what: &str) {
    let records = records();
    let per_block = (1usize << 20).div_ceil(1_002);
    let mut builder = BlockBuilder::new().unwrap();
    let (mut writer, _) =
        Writer::open(Arc::new(Nowhere), Options::new("headtrail/bench/0"), &Unsigned, 1).unwrap();
    let seal = what != "push";
    let append = what == "push_seal_append";
    bencher.counter(ItemsCount::new(per_block)).counter(BytesCount::new(per_block * 1_002)).bench_local(
        || {
            for record in records.iter().cycle().take(per_block) {
                builder.push(record, 1, 1).unwrap();
            }
            if !seal {
                // Its memory is kept, as sealing does.
                return black_box(&mut builder).clear();
            }
            let packed = builder.seal().unwrap();
            if append {
                black_box(writer.append(packed, 1).unwrap());
            }
        },
    );
}
