//! A small interpreter of eBPF that trusts nothing: memory is checked, registers must be written before
//! they are read, helpers know their arguments.

use crate::filter::ebpf::*;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) returned: u64,
    /// The last tail call tried, as map and index. It never succeeds here, so the program goes on.
    pub(super) tail_call: Option<(i32, u32)>,
}

const CONTEXT: u64 = 1 << 32;
const SOCK: u64 = 2 << 32;
const FULL_SOCK: u64 = 3 << 32;
const STORAGE: u64 = 4 << 32;
const STACK_TOP: u64 = 5 << 32;
const MAP: u64 = 6 << 32;
const STACK_SIZE: u64 = 512;

/// Runs `insns`; no storage means that the socket has none.
pub(super) fn run(insns: &[Insn], mut storage: Option<&mut Vec<u8>>) -> Outcome {
    let mut regs: [Option<u64>; 11] = [None; 11];
    regs[1] = Some(CONTEXT);
    regs[10] = Some(STACK_TOP);
    let mut stack: Vec<Option<u8>> = vec![None; STACK_SIZE as usize];
    let mut outcome = Outcome { returned: 0, tail_call: None };
    let mut at = 0usize;
    loop {
        let insn = insns[at];
        at += 1;
        let reg = |r: u8| regs[usize::from(r)].unwrap_or_else(|| panic!("r{r} read before written, at {at}"));
        let (dst, src) = (usize::from(insn.dst), insn.src);
        let operand = |wide: bool| match (insn.code & X != 0, wide) {
            (true, _) => reg(src),
            (false, true) => insn.imm as i64 as u64,
            (false, false) => u64::from(insn.imm as u32),
        };
        match insn.code & 0x07 {
            0 => {
                assert_eq!((insn.code, insn.src), (LD_IMM64, PSEUDO_MAP_FD));
                regs[dst] = Some(MAP | insn.imm as u64);
                at += 1;
            }
            LDX => {
                let address = reg(src).wrapping_add_signed(insn.off.into());
                let size = size(insn.code);
                regs[dst] = Some(if address == CONTEXT + SKB_SK_OFFSET as u64 {
                    assert_eq!(size, 8);
                    SOCK
                } else if let Some(place) = stack_place(address, size) {
                    let bytes =
                        stack[place..place + size].iter().map(|b| b.expect("stack read before written"));
                    little_endian(bytes)
                } else {
                    let place = (address - STORAGE) as usize;
                    let storage = storage.as_ref().expect("storage");
                    little_endian(storage[place..place + size].iter().copied())
                });
            }
            ST | STX => {
                let address = reg(insn.dst).wrapping_add_signed(insn.off.into());
                let size = size(insn.code);
                let value = if insn.code & 0x07 == ST { insn.imm as i64 as u64 } else { reg(src) };
                let bytes = &value.to_le_bytes()[..size];
                if let Some(place) = stack_place(address, size) {
                    for (slot, byte) in stack[place..].iter_mut().zip(bytes) {
                        *slot = Some(*byte);
                    }
                } else {
                    let place = (address - STORAGE) as usize;
                    storage.as_mut().expect("storage")[place..place + size].copy_from_slice(bytes);
                }
            }
            ALU32 if insn.code & 0xf0 == END => {
                let value = reg(insn.dst);
                regs[dst] = Some(match insn.imm {
                    16 => u64::from((value as u16).swap_bytes()),
                    32 => u64::from((value as u32).swap_bytes()),
                    bits => panic!("end {bits}"),
                });
            }
            ALU32 => {
                let op = insn.code & 0xf0;
                let a = if op == MOV { 0 } else { reg(insn.dst) as u32 };
                let b = if op == NEG { 0 } else { operand(false) as u32 };
                regs[dst] = Some(u64::from(match op {
                    ADD => a.wrapping_add(b),
                    SUB => a.wrapping_sub(b),
                    MUL => a.wrapping_mul(b),
                    DIV => a / b,
                    MOD => a % b,
                    OR => a | b,
                    AND => a & b,
                    XOR => a ^ b,
                    LSH => a.checked_shl(b).expect("shift in range"),
                    RSH => a.checked_shr(b).expect("shift in range"),
                    NEG => a.wrapping_neg(),
                    MOV => b,
                    _ => panic!("alu32 {op:#x}"),
                }));
            }
            ALU64 => {
                regs[dst] = Some(match insn.code & 0xf0 {
                    MOV => operand(true),
                    ADD => reg(insn.dst).wrapping_add(operand(true)),
                    op => panic!("alu64 {op:#x}"),
                });
            }
            JMP if insn.code & 0xf0 == EXIT => {
                outcome.returned = reg(0);
                return outcome;
            }
            JMP if insn.code & 0xf0 == CALL => {
                let result = match insn.imm {
                    HELPER_SK_FULLSOCK => {
                        assert_eq!(reg(1), SOCK);
                        FULL_SOCK
                    }
                    HELPER_SK_STORAGE_GET => {
                        assert_eq!((reg(1), reg(2)), (MAP | super::STORAGE_FD as u64, FULL_SOCK));
                        assert_eq!((reg(3), reg(4)), (0, 0));
                        if storage.is_some() { STORAGE } else { 0 }
                    }
                    HELPER_TAIL_CALL => {
                        assert_eq!(reg(1), CONTEXT);
                        outcome.tail_call = Some(((reg(2) - MAP) as i32, reg(3) as u32));
                        -2i64 as u64
                    }
                    helper => panic!("helper {helper}"),
                };
                regs[0] = Some(result);
                regs[1..=5].fill(None);
            }
            class => {
                let wide = class == JMP;
                let op = insn.code & 0xf0;
                let (mut a, mut b) = (0, 0);
                if op != JA {
                    (a, b) = (reg(insn.dst), operand(wide));
                }
                if !wide {
                    (a, b) = (a & 0xffff_ffff, b & 0xffff_ffff);
                }
                let holds = match op {
                    JA => true,
                    JEQ => a == b,
                    JNE => a != b,
                    JGT => a > b,
                    JGE => a >= b,
                    JLT => a < b,
                    JLE => a <= b,
                    JSET => a & b != 0,
                    _ => panic!("jump {op:#x}"),
                };
                if holds {
                    assert!(insn.off >= 0, "backward jump");
                    at += insn.off as usize;
                }
            }
        }
    }
}

fn size(code: u8) -> usize {
    match code & 0xf8 {
        B => 1,
        H => 2,
        W => 4,
        DW => 8,
        other => panic!("size {other:#x}"),
    }
}

fn stack_place(address: u64, size: usize) -> Option<usize> {
    let place = address.checked_sub(STACK_TOP - STACK_SIZE)?;
    (place + size as u64 <= STACK_SIZE).then_some(place as usize)
}

fn little_endian(bytes: impl DoubleEndedIterator<Item = u8>) -> u64 {
    bytes.rev().fold(0, |sum, byte| sum << 8 | u64::from(byte))
}

#[test]
fn a_socket_without_storage_passes_and_gets_no_verdict() {
    let program = super::emitted(&[crate::filter::ClassicInsn { code: 0x06, jt: 0, jf: 0, k: 1 }]);
    assert_eq!(run(&program, None), Outcome { returned: 1, tail_call: None });
}
