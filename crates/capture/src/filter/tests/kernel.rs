//! The real kernel: its verifier takes what is emitted, and it comes to the same verdicts.
//!
//! A run: `setup` puts the test's bytes into the storage of the packet's socket and tail-calls the filter,
//! which tail-calls `resume`, which returns the verdict.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::{LAYOUT, STORAGE_SIZE_BYTES, properties, storage};
use crate::filter::classic::{self, ProgramError};
use crate::filter::ebpf::*;
use crate::filter::program::{Hook, install, load, load_filter};
use crate::filter::translate::emit;
use crate::filter::{ClassicInsn, Filter, flow_header};

const FILTER_INDEX: u32 = 1;
const HELPER_SKB_LOAD_BYTES: i32 = 26;

/// Result of `resume`; a filter that bails out would return 1, which is neither.
const RETURNED_IN: u32 = 3;
const RETURNED_OUT: u32 = 2;

struct Kernel {
    storage: OwnedFd,
    array: OwnedFd,
    setup: OwnedFd,
}

impl Kernel {
    /// `None`, and a line saying so, where this host does not let us load programs.
    fn new() -> Option<Kernel> {
        match Kernel::build() {
            Ok(kernel) => Some(kernel),
            Err(error) if std::env::var_os("CI").is_none() => {
                println!("skipped: this host does not take BPF programs from this user: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn build() -> Result<Kernel, Box<dyn std::error::Error>> {
        let storage = storage_map()?;
        let array = map(libbpf_sys::BPF_MAP_TYPE_PROG_ARRAY, c"flt_test_progs", 4, 8, None)?;
        let load =
            |insns: &[Insn]| load(insns, Hook::Egress, c"flt_test").map_err(|e| format!("{e}\n{}", e.log));
        let setup = load(&setup(&storage, &array))?;
        install(array.as_fd(), LAYOUT.resume_index, load(&resume(&storage))?.as_fd())?;
        Ok(Kernel { storage, array, setup })
    }

    fn emit(&self, program: &[ClassicInsn]) -> Result<Vec<Insn>, ProgramError> {
        emit(program, self.storage.as_raw_fd(), self.array.as_raw_fd(), &LAYOUT)
    }

    fn load(&self, program: &[ClassicInsn]) {
        let insns = self.emit(program).unwrap();
        let fd = load_filter(&insns, Hook::Egress).unwrap_or_else(|e| panic!("{e}\n{program:?}\n{}", e.log));
        install(self.array.as_fd(), FILTER_INDEX, fd.as_fd()).unwrap();
    }

    fn verdict(&self, forward: &[u8], mirrored: &[u8]) -> bool {
        let mut packet = vec![0; 14];
        packet.extend(storage(forward, mirrored));
        match test_run(self.setup.as_fd(), &packet) {
            RETURNED_IN => true,
            RETURNED_OUT => false,
            other => panic!("the programs returned {other}"),
        }
    }
}

fn socket_storage(asm: &mut Assembler, map: &OwnedFd, create: bool, none: Label) {
    asm.alu64(MOV, R6, R1);
    asm.load(DW, R1, R6, SKB_SK_OFFSET);
    asm.jump_if_imm(JMP | JEQ, R1, 0, none);
    asm.call(HELPER_SK_FULLSOCK);
    asm.jump_if_imm(JMP | JEQ, R0, 0, none);
    asm.map_fd(R1, map.as_raw_fd());
    asm.alu64(MOV, R2, R0);
    asm.alu64_imm(MOV, R3, 0);
    asm.alu64_imm(MOV, R4, create.into());
    asm.call(HELPER_SK_STORAGE_GET);
    asm.jump_if_imm(JMP | JEQ, R0, 0, none);
    asm.alu64(MOV, R7, R0);
}

fn setup(map: &OwnedFd, array: &OwnedFd) -> Vec<Insn> {
    let mut asm = Assembler::default();
    let none = asm.label();
    socket_storage(&mut asm, map, true, none);
    asm.alu64(MOV, R1, R6);
    asm.alu64_imm(MOV, R2, 0);
    asm.alu64(MOV, R3, R7);
    asm.alu64_imm(MOV, R4, STORAGE_SIZE_BYTES as i32);
    asm.call(HELPER_SKB_LOAD_BYTES);
    asm.jump_if_imm(JMP | JNE, R0, 0, none);
    asm.alu64(MOV, R1, R6);
    asm.map_fd(R2, array.as_raw_fd());
    asm.alu64_imm(MOV, R3, FILTER_INDEX as i32);
    asm.call(HELPER_TAIL_CALL);
    asm.bind(none);
    asm.alu64_imm(MOV, R0, 0);
    asm.push(JMP | EXIT, 0, 0, 0, 0);
    asm.finish().unwrap()
}

fn resume(map: &OwnedFd) -> Vec<Insn> {
    let mut asm = Assembler::default();
    let (none, out) = (asm.label(), asm.label());
    socket_storage(&mut asm, map, false, none);
    asm.load(B, R1, R7, LAYOUT.verdict as i16);
    asm.alu64_imm(MOV, R0, RETURNED_IN as i32);
    asm.jump_if_imm(JMP | JEQ, R1, crate::filter::translate::VERDICT_IN.into(), out);
    asm.alu64_imm(MOV, R0, RETURNED_OUT as i32);
    asm.jump_if_imm(JMP | JEQ, R1, crate::filter::translate::VERDICT_OUT.into(), out);
    asm.bind(none);
    asm.alu64_imm(MOV, R0, 0);
    asm.bind(out);
    asm.push(JMP | EXIT, 0, 0, 0, 0);
    asm.finish().unwrap()
}

/// Type information for the storage map, which demands some: `u32` as key, an array of `u8` as value.
fn storage_btf() -> Vec<u8> {
    const KIND_INT: u32 = 1 << 24;
    const KIND_ARRAY: u32 = 3 << 24;
    let types = [
        [1, KIND_INT, 4, 32].as_slice(),
        &[5, KIND_INT, 1, 8],
        &[0, KIND_ARRAY, 0, 2, 1, STORAGE_SIZE_BYTES as u32],
    ]
    .concat();
    let strings = b"\0u32\0u8\0";
    let type_len = 4 * types.len() as u32;
    let header = [0x0001_eb9f, 24, 0, type_len, type_len, strings.len() as u32];
    let mut btf: Vec<u8> = header.iter().chain(&types).flat_map(|word: &u32| word.to_ne_bytes()).collect();
    btf.extend(strings);
    btf
}

fn storage_map() -> io::Result<OwnedFd> {
    let btf = storage_btf();
    // SAFETY: the bytes and their length are those of a live vector; no options.
    let btf = owned(unsafe {
        libbpf_sys::bpf_btf_load(btf.as_ptr().cast(), btf.len() as libbpf_sys::size_t, std::ptr::null_mut())
    })?;
    map(
        libbpf_sys::BPF_MAP_TYPE_SK_STORAGE,
        c"flt_test_store",
        STORAGE_SIZE_BYTES as u32,
        0,
        Some(btf.as_fd()),
    )
}

fn map(
    kind: u32,
    name: &CStr,
    value_size: u32,
    entries: u32,
    btf: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let mut opts = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    if let Some(btf) = btf {
        opts.btf_fd = btf.as_raw_fd() as u32;
        opts.btf_key_type_id = 1;
        opts.btf_value_type_id = 3;
        opts.map_flags = libbpf_sys::BPF_F_NO_PREALLOC;
    }
    // SAFETY: name and options are live for the call.
    owned(unsafe { libbpf_sys::bpf_map_create(kind, name.as_ptr(), 4, value_size, entries, &opts) })
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the calls that give these descriptors have just made them, and nothing else owns them.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn test_run(program: BorrowedFd<'_>, packet: &[u8]) -> u32 {
    let mut opts = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as libbpf_sys::size_t,
        data_in: packet.as_ptr().cast(),
        data_size_in: packet.len() as u32,
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: the options and the packet that they point to are live for the call.
    let ret = unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut opts) };
    assert_eq!(ret, 0);
    opts.retval
}

fn sample<S: Strategy>(runner: &mut TestRunner, strategy: S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

#[test]
fn the_kernel_gives_the_verdicts_that_filters_mean() {
    let Some(kernel) = Kernel::new() else { return };
    let mut runner = TestRunner::deterministic();
    let (mut flows_in, mut flows_out) = (0, 0);
    for _ in 0..300 {
        let expr = sample(&mut runner, properties::expr());
        let Ok(filter) = Filter::parse(&expr.to_string()) else { panic!("{expr}") };
        kernel.load(filter.insns());
        for _ in 0..10 {
            let (src, dst) = sample(&mut runner, properties::tuple());
            let verdict = kernel.verdict(&flow_header(src, dst).unwrap(), &flow_header(dst, src).unwrap());
            assert_eq!(verdict, expr.matches_flow(src, dst), "{expr} {src} {dst}");
            *if verdict { &mut flows_in } else { &mut flows_out } += 1;
        }
    }
    assert!(flows_in > 100 && flows_out > 100, "{flows_in} in, {flows_out} out");
}

#[test]
fn the_kernel_runs_any_classic_program_alike() {
    let Some(kernel) = Kernel::new() else { return };
    let mut runner = TestRunner::deterministic();
    for _ in 0..500 {
        let program = sample(&mut runner, properties::program());
        let ops = classic::check(&program).unwrap();
        kernel.load(&program);
        for _ in 0..3 {
            let (a, b) =
                (sample(&mut runner, properties::header()), sample(&mut runner, properties::header()));
            let wanted =
                classic::run(&ops, &a, a.len() as u32) != 0 || classic::run(&ops, &b, b.len() as u32) != 0;
            assert_eq!(kernel.verdict(&a, &b), wanted, "{program:?} {a:?} {b:?}");
        }
    }
}

#[test]
fn the_verifier_takes_long_filters() {
    let Some(kernel) = Kernel::new() else { return };
    let hosts =
        |n: usize| (0..n).map(|i| format!("10.{}.{}.1", i / 200, i % 200)).collect::<Vec<_>>().join(" or ");
    let nets = |n: usize| (0..n).map(|i| format!("net 2001:db8:{i:x}::/48")).collect::<Vec<_>>().join(" or ");
    let ports = |n: usize| (0..n).map(|i| format!("portrange {}-{}", i * 10, i * 10 + 3)).collect::<Vec<_>>();
    for text in [
        format!("host {}", hosts(250)),
        format!("(host {}) and ({}) and not ({})", hosts(50), ports(40).join(" or "), nets(40)),
        nets(60),
        ports(70).join(" or "),
        format!("port {}", (0..200).map(|p| p.to_string()).collect::<Vec<_>>().join(" or ")),
        ports(60).iter().map(|p| format!("not {p}")).collect::<Vec<_>>().join(" and "),
    ] {
        let filter = Filter::parse(&text).unwrap_or_else(|e| panic!("{e}"));
        kernel.load(filter.insns());
    }
}

#[test]
fn each_hook_loads_with_a_program_array_of_its_own() {
    let Some(kernel) = Kernel::new() else { return };
    let array = map(libbpf_sys::BPF_MAP_TYPE_PROG_ARRAY, c"flt_test_progs", 4, 8, None).unwrap();
    let filter = Filter::parse("port 80").unwrap();
    let insns = emit(filter.insns(), kernel.storage.as_raw_fd(), array.as_raw_fd(), &LAYOUT).unwrap();
    let program = load_filter(&insns, Hook::Ingress).unwrap_or_else(|e| panic!("{e}\n{}", e.log));
    install(array.as_fd(), FILTER_INDEX, program.as_fd()).unwrap();
}

#[test]
fn a_refused_program_comes_with_the_reason_of_the_verifier() {
    if Kernel::new().is_none() {
        return;
    }
    let reads_r0_unwritten = [Insn { code: JMP | EXIT, dst: 0, src: 0, off: 0, imm: 0 }];
    let error = load_filter(&reads_r0_unwritten, Hook::Egress).unwrap_err();
    assert!(error.to_string().contains("R0 !read_ok"), "{error}");
}
