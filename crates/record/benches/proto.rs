//! What it costs to encode and to decode one transaction as it lies in a journal: twelve request and eight response lines,
//! both packets, a process with all its names.

mod realistic;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use headtrail_record::json::Context;
use headtrail_record::{json, proto};
use realistic::{Gateway, Traffic};

fn main() {
    divan::main();
}

fn encoded() -> Vec<u8> {
    let gateway = Gateway::new();
    let mut out = Vec::new();
    let _ = proto::transaction(&mut out, &Traffic::new().next(), &Context { run: 1, processes: &gateway });
    out
}

#[divan::bench(sample_size = 1000)]
fn encode(bencher: Bencher) {
    let gateway = Gateway::new();
    let context = Context { run: 0x0123_4567_89ab, processes: &gateway };
    let t = Traffic::new().next();
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(encoded().len())).bench_local(|| {
        out.clear();
        let _ = proto::transaction(&mut out, black_box(&t), &context);
        black_box(out.len())
    });
}

/// The floor: the same number of bytes in one copy.
#[divan::bench(sample_size = 1000)]
fn copy_of_the_encoded(bencher: Bencher) {
    let encoded = encoded();
    let mut out = Vec::with_capacity(encoded.len());
    bencher.counter(BytesCount::new(encoded.len())).bench_local(|| {
        out.clear();
        out.extend_from_slice(black_box(&encoded));
        black_box(out.len())
    });
}

#[divan::bench(sample_size = 1000)]
fn decode(bencher: Bencher) {
    let encoded = encoded();
    bencher.counter(BytesCount::new(encoded.len())).bench_local(|| proto::decode(black_box(&encoded)));
}

#[divan::bench(sample_size = 1000)]
fn peek(bencher: Bencher) {
    let encoded = encoded();
    bencher.bench_local(|| proto::peek(black_box(&encoded)));
}

/// For comparison: the line of JSON.
#[divan::bench(sample_size = 1000)]
fn json_of_the_same(bencher: Bencher) {
    let gateway = Gateway::new();
    let context = Context { run: 0x0123_4567_89ab, processes: &gateway };
    let t = Traffic::new().next();
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        json::write_transaction(&mut out, black_box(&t), &context);
        black_box(out.len())
    });
}
