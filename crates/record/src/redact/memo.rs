//! Remembers what was decided on names: a handful of names makes up nearly all lines.

/// Longest name that is remembered, bytes.
const NAME_BYTES_MAX: usize = 46;

/// A table of the latest names, one place for each hash. Names are compared whole, so a peer that sends
/// colliding names makes the table useless to itself and nothing else; the table does not grow.
pub(super) struct Memo<T> {
    slots: Vec<Slot<T>>,
    shift: u32,
}

#[derive(Clone, Copy)]
struct Slot<T> {
    len: u8,
    bytes: [u8; NAME_BYTES_MAX],
    value: Option<T>,
}

impl<T: Copy> Memo<T> {
    /// A table of 2 to the power of `bits` names.
    pub(super) fn new(bits: u32) -> Self {
        let empty = Slot { len: 0, bytes: [0; NAME_BYTES_MAX], value: None };
        Self { slots: vec![empty; 1 << bits], shift: 64 - bits }
    }

    /// What `decide` says of `name`, or said lately.
    pub(super) fn get(&mut self, name: &[u8], decide: impl FnOnce(&[u8]) -> T) -> T {
        if name.len() > NAME_BYTES_MAX {
            return decide(name);
        }
        let at = (hash(name) >> self.shift) as usize;
        let slot = &mut self.slots[at];
        if let Some(value) = slot.value
            && slot.bytes.get(..usize::from(slot.len)) == Some(name)
        {
            return value;
        }
        let value = decide(name);
        slot.len = name.len() as u8;
        slot.bytes[..name.len()].copy_from_slice(name);
        slot.value = Some(value);
        value
    }
}

fn hash(name: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let (words, rest) = name.as_chunks::<8>();
    let mut hash = name.len() as u64;
    for word in words {
        hash = (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(K);
    }
    let tail = rest.iter().fold(0, |n, b| n << 8 | u64::from(*b));
    (hash.rotate_left(5) ^ tail).wrapping_mul(K)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_own_answer_among_many() {
        let mut memo = Memo::new(2);
        for round in 0..3 {
            for i in 0..100u32 {
                let name = format!("x-{i}");
                assert_eq!(memo.get(name.as_bytes(), |_| i), i, "{round}");
            }
        }
        assert_eq!(memo.get(b"x-99", |_| unreachable!()), 99);
        assert_eq!(memo.get(b"", |_| 7), 7);
        assert_eq!(memo.get(&[b'n'; 47], |_| 8), 8);
        assert_eq!(memo.get(&[b'n'; 47], |_| 9), 9);
    }
}
