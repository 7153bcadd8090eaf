//! What the filter protects: the same flows are in, whoever is asked: libpcap's program, its translation,
//! the kernel, and the words of the filter themselves.

mod accepts;
mod kernel;
mod properties;
mod vm;

use super::ebpf::Insn;
use super::translate::{Layout, VERDICT_IN, VERDICT_OUT, emit};
use super::{ClassicInsn, HEADER_SIZE_BYTES};

/// Headers, then the verdict, not at offset 0 so that offsets matter.
const LAYOUT: Layout = Layout {
    forward: 16,
    mirrored: 16 + HEADER_SIZE_BYTES as u16,
    header_size_bytes: HEADER_SIZE_BYTES as u16,
    verdict: 8,
    resume_index: 5,
};

const STORAGE_SIZE_BYTES: usize = 16 + 2 * HEADER_SIZE_BYTES + 8;

const STORAGE_FD: i32 = 1000;
const ARRAY_FD: i32 = 2000;

/// The translated program's answer, from the interpreter of eBPF.
fn verdict_in_vm(insns: &[Insn], forward: &[u8], mirrored: &[u8]) -> bool {
    let mut storage = storage(forward, mirrored);
    let outcome = vm::run(insns, Some(&mut storage));
    assert_eq!(outcome, vm::Outcome { returned: 1, tail_call: Some((ARRAY_FD, LAYOUT.resume_index)) });
    match storage[usize::from(LAYOUT.verdict)] {
        VERDICT_IN => true,
        VERDICT_OUT => false,
        other => panic!("verdict {other}"),
    }
}

fn storage(forward: &[u8], mirrored: &[u8]) -> Vec<u8> {
    let mut storage = vec![0; STORAGE_SIZE_BYTES];
    storage[usize::from(LAYOUT.forward)..][..HEADER_SIZE_BYTES].copy_from_slice(forward);
    storage[usize::from(LAYOUT.mirrored)..][..HEADER_SIZE_BYTES].copy_from_slice(mirrored);
    storage
}

fn emitted(program: &[ClassicInsn]) -> Vec<Insn> {
    emit(program, STORAGE_FD, ARRAY_FD, &LAYOUT).unwrap()
}
