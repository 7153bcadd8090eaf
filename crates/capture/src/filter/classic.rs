//! Classic BPF: the instructions that libpcap compiles to, their check, and an interpreter.
//!
//! Semantics are those of libpcap's own interpreter: all values are 32 bits, and a load outside of the
//! packet, or a division by zero, ends the program with 0.

use std::fmt;

/// Scratch words that a program may use.
pub(super) const SCRATCH_WORDS: usize = 16;

/// Instructions in one program. What libpcap compiles without its optimiser has some 70 for each port and 30
/// for each host; more than this would not fit eBPF's jumps.
pub(super) const PROGRAM_LENGTH_INSNS_MAX: usize = 16 * 1024;

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassicInsn {
    /// Operation, addressing mode and size.
    pub code: u16,
    /// Instructions to skip where a condition holds.
    pub jt: u8,
    /// Instructions to skip where it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// The operation of an instruction, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// A = packet[k]
    LoadAbs(Width, u32),
    /// A = packet[X + k]
    LoadInd(Width, u32),
    LoadImm(u32),
    LoadLen,
    LoadMem(u32),
    LoadXImm(u32),
    LoadXLen,
    LoadXMem(u32),
    /// X = 4 * (packet[k] & 0xf)
    LoadXHeaderLen(u32),
    Store(u32),
    StoreX(u32),
    Alu(Alu, Operand),
    Neg,
    Jump(u32),
    Branch(Test, Operand, u8, u8),
    Ret(u32),
    RetA,
    AToX,
    XToA,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Byte,
    Half,
    Word,
}

impl Width {
    pub(super) fn bytes(self) -> u32 {
        match self {
            Width::Byte => 1,
            Width::Half => 2,
            Width::Word => 4,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    K(u32),
    X,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Or,
    And,
    Xor,
    Lsh,
    Rsh,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Eq,
    Gt,
    Ge,
    Set,
}

/// Why a program is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramError {
    /// No instruction, or more than the limit.
    Length(usize),
    /// An operation that is not in the instruction set, by its position.
    Operation(usize),
    /// A jump past the end, a scratch word that does not exist, or an end without a return.
    Target(usize),
    /// The translated program would need jumps longer than eBPF has, or offsets beyond its range.
    TooLong,
}

impl std::error::Error for ProgramError {}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramError::Length(n) => {
                write!(
                    f,
                    "is too long: it compiles to {n} instructions, and {PROGRAM_LENGTH_INSNS_MAX} can be run"
                )
            }
            ProgramError::Operation(at) => write!(f, "compiles to an unknown operation (instruction {at})"),
            ProgramError::Target(at) => {
                write!(f, "compiles to a program that runs astray (instruction {at})")
            }
            ProgramError::TooLong => {
                write!(f, "is too long: its program needs longer jumps than the kernel has")
            }
        }
    }
}

impl ClassicInsn {
    pub(super) fn decode(self) -> Option<Op> {
        let operand = if self.code & 0x08 != 0 { Operand::X } else { Operand::K(self.k) };
        // Class in bits 0-2; for loads the size is in bits 3-4 and the mode in bits 5-7, for the others the
        // source is bit 3 and the operation bits 4-7.
        let op = match (self.code & 0x07, self.code & 0xf8) {
            (0, 0x00) => Op::LoadImm(self.k),
            (0, 0x80) => Op::LoadLen,
            (0, 0x60) => Op::LoadMem(self.k),
            (0, 0x20) => Op::LoadAbs(Width::Word, self.k),
            (0, 0x28) => Op::LoadAbs(Width::Half, self.k),
            (0, 0x30) => Op::LoadAbs(Width::Byte, self.k),
            (0, 0x40) => Op::LoadInd(Width::Word, self.k),
            (0, 0x48) => Op::LoadInd(Width::Half, self.k),
            (0, 0x50) => Op::LoadInd(Width::Byte, self.k),
            (1, 0x00) => Op::LoadXImm(self.k),
            (1, 0x80) => Op::LoadXLen,
            (1, 0x60) => Op::LoadXMem(self.k),
            (1, 0xb0) => Op::LoadXHeaderLen(self.k),
            (2, 0x00) => Op::Store(self.k),
            (3, 0x00) => Op::StoreX(self.k),
            (4, 0x80) => Op::Neg,
            (4, rest) => Op::Alu(
                match rest & 0xf0 {
                    0x00 => Alu::Add,
                    0x10 => Alu::Sub,
                    0x20 => Alu::Mul,
                    0x30 => Alu::Div,
                    0x40 => Alu::Or,
                    0x50 => Alu::And,
                    0x60 => Alu::Lsh,
                    0x70 => Alu::Rsh,
                    0x90 => Alu::Mod,
                    0xa0 => Alu::Xor,
                    _ => return None,
                },
                operand,
            ),
            (5, 0x00) => Op::Jump(self.k),
            (5, rest) => {
                let test = match rest & 0xf0 {
                    0x10 => Test::Eq,
                    0x20 => Test::Gt,
                    0x30 => Test::Ge,
                    0x40 => Test::Set,
                    _ => return None,
                };
                Op::Branch(test, operand, self.jt, self.jf)
            }
            (6, 0x00) => Op::Ret(self.k),
            (6, 0x10) => Op::RetA,
            (7, 0x00) => Op::AToX,
            (7, 0x80) => Op::XToA,
            _ => return None,
        };
        (self.code < 0x100).then_some(op)
    }
}

/// Decodes a program and makes sure that it ends: jumps only go forward and stay inside, and no path
/// runs past the last instruction.
pub(super) fn check(program: &[ClassicInsn]) -> Result<Vec<Op>, ProgramError> {
    if program.is_empty() || program.len() > PROGRAM_LENGTH_INSNS_MAX {
        return Err(ProgramError::Length(program.len()));
    }
    let mut ops = Vec::with_capacity(program.len());
    for (at, insn) in program.iter().enumerate() {
        let op = insn.decode().ok_or(ProgramError::Operation(at))?;
        let inside = |skip: u32| (skip as usize) < program.len() - at - 1;
        let good = match op {
            Op::Ret(_) | Op::RetA => true,
            Op::Jump(skip) => inside(skip),
            Op::Branch(_, _, jt, jf) => inside(jt.into()) && inside(jf.into()),
            Op::Alu(Alu::Div | Alu::Mod, Operand::K(0)) => false,
            Op::LoadMem(k) | Op::LoadXMem(k) | Op::Store(k) | Op::StoreX(k) => {
                (k as usize) < SCRATCH_WORDS && inside(0)
            }
            _ => inside(0),
        };
        if !good {
            return Err(ProgramError::Target(at));
        }
        ops.push(op);
    }
    Ok(ops)
}

/// Runs a checked program over a packet; not 0 means that the packet matches.
pub(super) fn run(ops: &[Op], packet: &[u8], wire_bytes: u32) -> u32 {
    run_checked(ops, packet, wire_bytes).unwrap_or(0)
}

/// `None` where the program ended by itself: a load outside, a division by zero.
fn run_checked(ops: &[Op], packet: &[u8], wire_bytes: u32) -> Option<u32> {
    let (mut a, mut x) = (0u32, 0u32);
    let mut mem = [0u32; SCRATCH_WORDS];
    let mut at = 0usize;
    loop {
        let op = *ops.get(at)?;
        at += 1;
        match op {
            Op::LoadAbs(width, k) => a = load(packet, k, width)?,
            Op::LoadInd(width, k) => a = load(packet, x.checked_add(k)?, width)?,
            Op::LoadImm(k) => a = k,
            Op::LoadLen => a = wire_bytes,
            Op::LoadMem(k) => a = *mem.get(k as usize)?,
            Op::LoadXImm(k) => x = k,
            Op::LoadXLen => x = wire_bytes,
            Op::LoadXMem(k) => x = *mem.get(k as usize)?,
            Op::LoadXHeaderLen(k) => x = (load(packet, k, Width::Byte)? & 0xf) << 2,
            Op::Store(k) => *mem.get_mut(k as usize)? = a,
            Op::StoreX(k) => *mem.get_mut(k as usize)? = x,
            Op::Alu(alu, operand) => a = calculate(alu, a, value(operand, x))?,
            Op::Neg => a = a.wrapping_neg(),
            Op::Jump(skip) => at += skip as usize,
            Op::Branch(test, operand, jt, jf) => {
                at += usize::from(if holds(test, a, value(operand, x)) { jt } else { jf });
            }
            Op::Ret(k) => return Some(k),
            Op::RetA => return Some(a),
            Op::AToX => x = a,
            Op::XToA => a = x,
        }
    }
}

fn value(operand: Operand, x: u32) -> u32 {
    match operand {
        Operand::K(k) => k,
        Operand::X => x,
    }
}

fn calculate(alu: Alu, a: u32, b: u32) -> Option<u32> {
    Some(match alu {
        Alu::Add => a.wrapping_add(b),
        Alu::Sub => a.wrapping_sub(b),
        Alu::Mul => a.wrapping_mul(b),
        Alu::Div => a.checked_div(b)?,
        Alu::Mod => a.checked_rem(b)?,
        Alu::Or => a | b,
        Alu::And => a & b,
        Alu::Xor => a ^ b,
        Alu::Lsh => a.checked_shl(b).unwrap_or(0),
        Alu::Rsh => a.checked_shr(b).unwrap_or(0),
    })
}

fn holds(test: Test, a: u32, b: u32) -> bool {
    match test {
        Test::Eq => a == b,
        Test::Gt => a > b,
        Test::Ge => a >= b,
        Test::Set => a & b != 0,
    }
}

fn load(packet: &[u8], at: u32, width: Width) -> Option<u32> {
    let at = at as usize;
    let bytes = packet.get(at..at.checked_add(width.bytes() as usize)?)?;
    Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> ClassicInsn {
        ClassicInsn { code, jt, jf, k }
    }

    #[test]
    fn programs_that_run_astray_are_refused() {
        let ret = insn(0x06, 0, 0, 1);
        assert_eq!(check(&[]), Err(ProgramError::Length(0)));
        assert_eq!(check(&[insn(0x00, 0, 0, 1)]), Err(ProgramError::Target(0)));
        assert_eq!(check(&[insn(0x05, 0, 0, 1), ret]), Err(ProgramError::Target(0)));
        assert_eq!(check(&[insn(0x05, 0, 0, u32::MAX), ret]), Err(ProgramError::Target(0)));
        assert_eq!(check(&[insn(0x15, 0, 1, 1), ret]), Err(ProgramError::Target(0)));
        assert_eq!(check(&[insn(0x60, 0, 0, 16), ret]), Err(ProgramError::Target(0)));
        assert_eq!(check(&[insn(0x34, 0, 0, 0), ret]), Err(ProgramError::Target(0)));
        assert_eq!(check(&[insn(0xffff, 0, 0, 0), ret]), Err(ProgramError::Operation(0)));
        assert!(check(&[insn(0x05, 0, 0, 0), ret]).is_ok());
        assert!(matches!(check(&vec![ret; 20_000]), Err(ProgramError::Length(20_000))));
    }

    #[test]
    fn loads_outside_and_divisions_by_zero_return_zero() {
        let packet = [1u8, 2, 3, 4];
        for program in [
            vec![insn(0x20, 0, 0, 1), insn(0x06, 0, 0, 9)],        // ld [1]
            vec![insn(0x20, 0, 0, u32::MAX), insn(0x06, 0, 0, 9)], // ld [-1]
            vec![insn(0x01, 0, 0, u32::MAX), insn(0x50, 0, 0, 1), insn(0x06, 0, 0, 9)], // ldb [x + 1]
            vec![insn(0x3c, 0, 0, 0), insn(0x06, 0, 0, 9)],        // div x
        ] {
            assert_eq!(run(&check(&program).unwrap(), &packet, packet.len() as u32), 0, "{program:?}");
        }
        let program = [insn(0x20, 0, 0, 0), insn(0x16, 0, 0, 0)];
        assert_eq!(run(&check(&program).unwrap(), &packet, packet.len() as u32), 0x0102_0304);
    }
}
