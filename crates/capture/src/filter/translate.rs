//! Classic BPF to an eBPF program that gives a flow its verdict.
//!
//! The program, in the order of its instructions (R6 is the context, R7 the socket's storage):
//!
//! 1. finds the storage of the packet's socket, which the main program has made and filled; none: returns 1;
//! 2. runs the filter over the forward header, then over the mirrored one, until one matches;
//! 3. writes the verdict into the storage;
//! 4. goes on with the main program by a tail call;
//! 5. returns 1 where that fails, so that the packet passes.
//!
//! Inside the filter R0 is A, R1 is X, R2 and R3 are free, and the scratch words lie on the stack, eight
//! bytes each so that a spilled value keeps the bounds that the verifier knows of it. A and X are always
//! zero-extended, since only 32-bit operations write them.
//!
//! Loads are checked here where their place is constant, and at run time where it is X plus a constant: a
//! 64-bit compare of the zero-extended X, which verifiers of every supported kernel take as a bound. Code
//! that no path reaches is left out, because the verifier refuses it. Jumps are resolved to 16 bits, and a
//! program that needs more is an error.

use super::classic::{self, Alu, ClassicInsn, Op, Operand, ProgramError, SCRATCH_WORDS, Test, Width};
use super::ebpf::*;

/// The filter's part of the socket's storage, and the place to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Byte offset of the header as seen from the flow's first end.
    pub forward: u16,
    /// Byte offset of the header with the two ends swapped.
    pub mirrored: u16,
    /// Size of each header in bytes; loads beyond it end the filter with 'no match'.
    pub header_size_bytes: u16,
    /// Byte offset of the byte that gets the verdict.
    pub verdict: u16,
    /// Index in the program array of the program that goes on after the verdict.
    pub resume_index: u32,
}

/// Verdict: the flow is selected.
pub const VERDICT_IN: u8 = 1;
/// Verdict: the flow is not selected.
pub const VERDICT_OUT: u8 = 2;

const A: u8 = R0;
const INDEX: u8 = R1;
const CONTEXT: u8 = R6;
const STORAGE: u8 = R7;

/// Emits the whole program. The maps are named by file descriptor, so the program loads in this process.
pub fn emit(
    program: &[ClassicInsn],
    storage_map_fd: i32,
    prog_array_fd: i32,
    layout: &Layout,
) -> Result<Vec<Insn>, ProgramError> {
    let ops = classic::check(program)?;
    let last_byte = u32::from(layout.header_size_bytes) + u32::from(layout.forward.max(layout.mirrored));
    if last_byte > i16::MAX as u32 || layout.verdict > i16::MAX as u16 {
        return Err(ProgramError::TooLong);
    }
    let reached = reached(&ops, layout.header_size_bytes.into());
    let mut asm = Assembler::default();
    let (start, out) = (asm.label(), asm.label());
    let (matched_forward, matched, unmatched_forward, unmatched, resume) =
        (asm.label(), asm.label(), asm.label(), asm.label(), asm.label());

    asm.alu64(MOV, CONTEXT, R1);
    asm.load(DW, R1, CONTEXT, SKB_SK_OFFSET);
    asm.jump_if_imm(JMP | JEQ, R1, 0, out);
    // `sk` may be a request or time-wait socket, which has no storage.
    asm.call(HELPER_SK_FULLSOCK);
    asm.jump_if_imm(JMP | JEQ, R0, 0, out);
    asm.map_fd(R1, storage_map_fd);
    asm.alu64(MOV, R2, R0);
    asm.alu64_imm(MOV, R3, 0);
    asm.alu64_imm(MOV, R4, 0);
    asm.call(HELPER_SK_STORAGE_GET);
    asm.jump_if_imm(JMP | JNE, R0, 0, start);
    asm.bind(out);
    pass(&mut asm);
    asm.bind(start);
    asm.alu64(MOV, STORAGE, R0);

    let header = |base: u16| Header { base: base as i16, len: layout.header_size_bytes.into() };
    run(&mut asm, &ops, &reached, header(layout.forward), matched_forward, unmatched_forward);
    // One jump over the second run, so that those of the first run stay inside of it and may be twice as far.
    if asm.is_target(matched_forward) {
        asm.bind(matched_forward);
        asm.jump(matched);
    }
    if asm.is_target(unmatched_forward) {
        asm.bind(unmatched_forward);
        run(&mut asm, &ops, &reached, header(layout.mirrored), matched, unmatched);
    }
    if asm.is_target(unmatched) {
        asm.bind(unmatched);
        asm.push(ST | B, STORAGE, 0, layout.verdict as i16, VERDICT_OUT.into());
        if asm.is_target(matched) {
            asm.jump(resume);
        }
    }
    if asm.is_target(matched) {
        asm.bind(matched);
        asm.push(ST | B, STORAGE, 0, layout.verdict as i16, VERDICT_IN.into());
    }
    asm.bind(resume);
    asm.alu64(MOV, R1, CONTEXT);
    asm.map_fd(R2, prog_array_fd);
    asm.alu64_imm(MOV, R3, layout.resume_index as i32);
    asm.call(HELPER_TAIL_CALL);
    // Only where nothing goes on: the packet passes, as it does on every path.
    pass(&mut asm);
    asm.finish().ok_or(ProgramError::TooLong)
}

fn pass(asm: &mut Assembler) {
    asm.alu64_imm(MOV, R0, 1);
    asm.push(JMP | EXIT, 0, 0, 0, 0);
}

/// Where the packet that the classic program sees lies in the storage.
#[derive(Clone, Copy)]
struct Header {
    base: i16,
    len: u32,
}

/// Can a load of `width` at `k` succeed in `len` bytes, at least for X = 0?
fn fits(k: u32, width: Width, len: u32) -> bool {
    k.checked_add(width.bytes()).is_some_and(|end| end <= len)
}

/// The instructions that some path reaches, given that loads outside of `len` bytes end the program.
fn reached(ops: &[Op], len: u32) -> Vec<bool> {
    fn mark(at: usize, reached: &mut [bool]) {
        if let Some(flag) = reached.get_mut(at) {
            *flag = true;
        }
    }
    let mut reached = vec![false; ops.len()];
    mark(0, &mut reached);
    for (at, op) in ops.iter().enumerate() {
        if reached.get(at) != Some(&true) {
            continue;
        }
        match *op {
            Op::Ret(_) | Op::RetA => {}
            Op::LoadAbs(width, k) | Op::LoadInd(width, k) if !fits(k, width, len) => {}
            Op::LoadXHeaderLen(k) if !fits(k, Width::Byte, len) => {}
            Op::Jump(skip) => mark(at + 1 + skip as usize, &mut reached),
            Op::Branch(_, _, jt, jf) => {
                mark(at + 1 + usize::from(jt), &mut reached);
                mark(at + 1 + usize::from(jf), &mut reached);
            }
            _ => mark(at + 1, &mut reached),
        }
    }
    reached
}

/// The filter over one header: ends with a jump to `matched` or `unmatched`.
fn run(asm: &mut Assembler, ops: &[Op], reached: &[bool], header: Header, matched: Label, unmatched: Label) {
    let labels: Vec<Label> = ops.iter().map(|_| asm.label()).collect();
    asm.alu32_imm(MOV, A, 0);
    asm.alu32_imm(MOV, INDEX, 0);
    // The verifier does not let uninitialised stack be read; a classic program may.
    for word in (0..SCRATCH_WORDS as u32).filter(|word| reads_scratch(ops, *word)) {
        asm.push(ST | DW, R10, 0, scratch(word), 0);
    }
    for (at, op) in ops.iter().enumerate() {
        let (Some(label), Some(true)) = (labels.get(at), reached.get(at)) else { continue };
        asm.bind(*label);
        let target = |skip: u32| labels.get(at + 1 + skip as usize).copied().unwrap_or(unmatched);
        match *op {
            Op::LoadAbs(width, k) => load(asm, A, header, k, width, unmatched),
            Op::LoadInd(width, k) => load_indirect(asm, header, k, width, unmatched),
            Op::LoadImm(k) => asm.alu32_imm(MOV, A, k as i32),
            Op::LoadLen => asm.alu32_imm(MOV, A, header.len as i32),
            Op::LoadMem(k) => asm.load(DW, A, R10, scratch(k)),
            Op::LoadXImm(k) => asm.alu32_imm(MOV, INDEX, k as i32),
            Op::LoadXLen => asm.alu32_imm(MOV, INDEX, header.len as i32),
            Op::LoadXMem(k) => asm.load(DW, INDEX, R10, scratch(k)),
            Op::LoadXHeaderLen(k) => {
                load(asm, INDEX, header, k, Width::Byte, unmatched);
                if fits(k, Width::Byte, header.len) {
                    asm.alu32_imm(AND, INDEX, 0xf);
                    asm.alu32_imm(LSH, INDEX, 2);
                }
            }
            Op::Store(k) => asm.push(STX | DW, R10, A, scratch(k), 0),
            Op::StoreX(k) => asm.push(STX | DW, R10, INDEX, scratch(k), 0),
            Op::Alu(alu, operand) => calculate(asm, alu, operand, unmatched),
            Op::Neg => asm.alu32_imm(NEG, A, 0),
            Op::Jump(skip) => asm.jump(target(skip)),
            Op::Branch(test, operand, jt, jf) => {
                branch(asm, test, operand, (target(jt.into()), jt), (target(jf.into()), jf));
            }
            Op::Ret(k) => asm.jump(if k != 0 { matched } else { unmatched }),
            Op::RetA => {
                asm.jump_if_imm(JMP32 | JNE, A, 0, matched);
                asm.jump(unmatched);
            }
            Op::AToX => asm.alu32(MOV, INDEX, A),
            Op::XToA => asm.alu32(MOV, A, INDEX),
        }
    }
}

fn reads_scratch(ops: &[Op], word: u32) -> bool {
    ops.iter().any(|op| matches!(op, Op::LoadMem(k) | Op::LoadXMem(k) if *k == word))
}

fn scratch(word: u32) -> i16 {
    -8 * (word as i16 + 1)
}

fn load(asm: &mut Assembler, dst: u8, header: Header, k: u32, width: Width, outside: Label) {
    if !fits(k, width, header.len) {
        asm.jump(outside);
        return;
    }
    load_big_endian(asm, dst, STORAGE, header.base + k as i16, width);
}

fn load_indirect(asm: &mut Assembler, header: Header, k: u32, width: Width, outside: Label) {
    if !fits(k, width, header.len) {
        asm.jump(outside);
        return;
    }
    let index_max = header.len - width.bytes() - k;
    asm.alu32(MOV, R2, INDEX);
    asm.jump_if_imm(JMP | JGT, R2, index_max as i32, outside);
    asm.alu64(MOV, R3, STORAGE);
    asm.alu64(ADD, R3, R2);
    load_big_endian(asm, A, R3, header.base + k as i16, width);
}

fn load_big_endian(asm: &mut Assembler, dst: u8, src: u8, off: i16, width: Width) {
    match width {
        Width::Byte => asm.load(B, dst, src, off),
        Width::Half => {
            asm.load(H, dst, src, off);
            asm.push(ALU32 | END | X, dst, 0, 0, 16);
        }
        Width::Word => {
            asm.load(W, dst, src, off);
            asm.push(ALU32 | END | X, dst, 0, 0, 32);
        }
    }
}

fn calculate(asm: &mut Assembler, alu: Alu, operand: Operand, by_zero: Label) {
    let op = match alu {
        Alu::Add => ADD,
        Alu::Sub => SUB,
        Alu::Mul => MUL,
        Alu::Div => DIV,
        Alu::Mod => MOD,
        Alu::Or => OR,
        Alu::And => AND,
        Alu::Xor => XOR,
        Alu::Lsh => LSH,
        Alu::Rsh => RSH,
    };
    let is_shift = matches!(alu, Alu::Lsh | Alu::Rsh);
    match operand {
        // eBPF refuses shifts by 32 and more, or takes them modulo 32; classic BPF gives 0.
        Operand::K(k) if is_shift && k >= 32 => asm.alu32_imm(MOV, A, 0),
        Operand::K(k) => asm.alu32_imm(op, A, k as i32),
        Operand::X if is_shift => {
            let (small, done) = (asm.label(), asm.label());
            asm.jump_if_imm(JMP32 | JLT, INDEX, 32, small);
            asm.alu32_imm(MOV, A, 0);
            asm.jump(done);
            asm.bind(small);
            asm.alu32(op, A, INDEX);
            asm.bind(done);
        }
        Operand::X => {
            if matches!(alu, Alu::Div | Alu::Mod) {
                asm.jump_if_imm(JMP32 | JEQ, INDEX, 0, by_zero);
            }
            asm.alu32(op, A, INDEX);
        }
    }
}

/// A condition and its two ways, each with the number of classic instructions it skips: a way that skips
/// none is the next instruction, and needs no jump.
fn branch(asm: &mut Assembler, test: Test, operand: Operand, (yes, jt): (Label, u8), (no, jf): (Label, u8)) {
    if jt == jf {
        asm.jump(yes);
        return;
    }
    let (op, inverse) = match test {
        Test::Eq => (JEQ, Some(JNE)),
        Test::Gt => (JGT, Some(JLE)),
        Test::Ge => (JGE, Some(JLT)),
        Test::Set => (JSET, None),
    };
    let (op, to, then) = match inverse {
        Some(inverse) if jt == 0 => (inverse, no, None),
        _ => (op, yes, (jf != 0).then_some(no)),
    };
    match operand {
        Operand::K(k) => asm.jump_if_imm(JMP32 | op, A, k as i32, to),
        Operand::X => asm.jump_if(JMP32 | op, A, INDEX, to),
    }
    if let Some(then) = then {
        asm.jump(then);
    }
}
