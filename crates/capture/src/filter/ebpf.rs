//! eBPF instructions, as values: just those that a filter needs.

/// One instruction in a form that does not depend on the host's bit-field order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Class, operation and source or size.
    pub code: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register.
    pub src: u8,
    /// Offset of a memory access or a jump.
    pub off: i16,
    /// Immediate value.
    pub imm: i32,
}

/// Registers. R10 is the frame pointer.
pub(super) const R0: u8 = 0;
pub(super) const R1: u8 = 1;
pub(super) const R2: u8 = 2;
pub(super) const R3: u8 = 3;
pub(super) const R4: u8 = 4;
pub(super) const R6: u8 = 6;
pub(super) const R7: u8 = 7;
pub(super) const R10: u8 = 10;

/// Classes.
pub(super) const LDX: u8 = 0x01;
pub(super) const ST: u8 = 0x02;
pub(super) const STX: u8 = 0x03;
pub(super) const ALU32: u8 = 0x04;
pub(super) const JMP: u8 = 0x05;
pub(super) const JMP32: u8 = 0x06;
pub(super) const ALU64: u8 = 0x07;

/// Sizes of memory accesses, with the mode 'memory'.
pub(super) const W: u8 = 0x60;
pub(super) const H: u8 = 0x68;
pub(super) const B: u8 = 0x70;
pub(super) const DW: u8 = 0x78;

/// The operand is a register and not the immediate value.
pub(super) const X: u8 = 0x08;

/// Arithmetic.
pub(super) const ADD: u8 = 0x00;
pub(super) const SUB: u8 = 0x10;
pub(super) const MUL: u8 = 0x20;
pub(super) const DIV: u8 = 0x30;
pub(super) const OR: u8 = 0x40;
pub(super) const AND: u8 = 0x50;
pub(super) const LSH: u8 = 0x60;
pub(super) const RSH: u8 = 0x70;
pub(super) const NEG: u8 = 0x80;
pub(super) const MOD: u8 = 0x90;
pub(super) const XOR: u8 = 0xa0;
pub(super) const MOV: u8 = 0xb0;
/// Between host and big-endian order, on ALU32 with [`X`]; the immediate value has the bits.
pub(super) const END: u8 = 0xd0;

/// Jumps.
pub(super) const JA: u8 = 0x00;
pub(super) const JEQ: u8 = 0x10;
pub(super) const JGT: u8 = 0x20;
pub(super) const JGE: u8 = 0x30;
pub(super) const JSET: u8 = 0x40;
pub(super) const JNE: u8 = 0x50;
pub(super) const CALL: u8 = 0x80;
pub(super) const EXIT: u8 = 0x90;
pub(super) const JLT: u8 = 0xa0;
pub(super) const JLE: u8 = 0xb0;

/// First half of a 64-bit constant, and the mark that makes it a map by its file descriptor.
pub(super) const LD_IMM64: u8 = 0x18;
pub(super) const PSEUDO_MAP_FD: u8 = 1;

/// Helpers, by the numbers of the kernel's interface.
pub(super) const HELPER_TAIL_CALL: i32 = 12;
pub(super) const HELPER_SK_FULLSOCK: i32 = 95;
pub(super) const HELPER_SK_STORAGE_GET: i32 = 107;

/// Offset of `sk` in `struct __sk_buff`.
pub(super) const SKB_SK_OFFSET: i16 = 168;

/// A place in the program that jumps lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Collects instructions, with jumps to labels that may be bound later.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    insns: Vec<Insn>,
    bound: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    pub(super) fn label(&mut self) -> Label {
        self.bound.push(None);
        Label(self.bound.len() - 1)
    }

    /// The label's place is the next instruction.
    pub(super) fn bind(&mut self, label: Label) {
        if let Some(place) = self.bound.get_mut(label.0) {
            *place = Some(self.insns.len());
        }
    }

    /// Does any jump lead to the label?
    pub(super) fn is_target(&self, label: Label) -> bool {
        self.jumps.iter().any(|(_, target)| *target == label)
    }

    pub(super) fn push(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insns.push(Insn { code, dst, src, off, imm });
    }

    pub(super) fn alu32_imm(&mut self, op: u8, dst: u8, imm: i32) {
        self.push(ALU32 | op, dst, 0, 0, imm);
    }

    pub(super) fn alu32(&mut self, op: u8, dst: u8, src: u8) {
        self.push(ALU32 | X | op, dst, src, 0, 0);
    }

    pub(super) fn alu64_imm(&mut self, op: u8, dst: u8, imm: i32) {
        self.push(ALU64 | op, dst, 0, 0, imm);
    }

    pub(super) fn alu64(&mut self, op: u8, dst: u8, src: u8) {
        self.push(ALU64 | X | op, dst, src, 0, 0);
    }

    pub(super) fn load(&mut self, size: u8, dst: u8, src: u8, off: i16) {
        self.push(LDX | size, dst, src, off, 0);
    }

    pub(super) fn map_fd(&mut self, dst: u8, fd: i32) {
        self.push(LD_IMM64, dst, PSEUDO_MAP_FD, 0, fd);
        self.push(0, 0, 0, 0, 0);
    }

    pub(super) fn call(&mut self, helper: i32) {
        self.push(JMP | CALL, 0, 0, 0, helper);
    }

    pub(super) fn jump(&mut self, to: Label) {
        self.jump_if_imm(JMP | JA, 0, 0, to);
    }

    /// `op` holds the class too: 64 or 32 bits wide.
    pub(super) fn jump_if_imm(&mut self, op: u8, dst: u8, imm: i32, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(op, dst, 0, 0, imm);
    }

    pub(super) fn jump_if(&mut self, op: u8, dst: u8, src: u8, to: Label) {
        self.jumps.push((self.insns.len(), to));
        self.push(op | X, dst, src, 0, 0);
    }

    /// Fills in the jumps; `None` if one is too long or leads nowhere.
    pub(super) fn finish(mut self) -> Option<Vec<Insn>> {
        for (at, label) in &self.jumps {
            let target = (*self.bound.get(label.0)?)?;
            let off = i64::try_from(target).ok()? - i64::try_from(*at).ok()? - 1;
            self.insns.get_mut(*at)?.off = i16::try_from(off).ok()?;
        }
        Some(self.insns)
    }
}
