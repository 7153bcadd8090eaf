//! Remembers what was decided on names and values: a handful of them makes up nearly all lines.

/// A table of the latest texts of at most `BYTES` bytes, one place for each hash. Texts are compared whole, so a peer
/// that sends colliding ones makes the table useless to itself and nothing else; the table does not grow.
pub(super) struct Memo<T, const BYTES: usize> {
    slots: Vec<Slot<T, BYTES>>,
    shift: u32,
}

#[derive(Clone, Copy)]
struct Slot<T, const BYTES: usize> {
    value: Option<T>,
    len: u8,
    bytes: [u8; BYTES],
}

impl<T: Copy, const BYTES: usize> Memo<T, BYTES> {
    const FITS: () = assert!(BYTES <= u8::MAX as usize, "the length is kept in a byte");

    /// A table of 2 to the power of `bits` texts.
    pub(super) fn new(bits: u32) -> Self {
        let () = Self::FITS;
        let empty = Slot { value: None, len: 0, bytes: [0; BYTES] };
        Self { slots: vec![empty; 1 << bits], shift: 64 - bits }
    }

    /// What `decide` says of `text`, or said lately.
    #[inline]
    pub(super) fn get(&mut self, text: &[u8], decide: impl FnOnce(&[u8]) -> T) -> T {
        if text.len() > BYTES {
            return decide(text);
        }
        let at = (hash(text) >> self.shift) as usize;
        let slot = &mut self.slots[at];
        if let Some(value) = slot.value
            && usize::from(slot.len) == text.len()
            && slot.bytes[..text.len()] == *text
        {
            return value;
        }
        let value = decide(text);
        slot.len = text.len() as u8;
        slot.bytes[..text.len()].copy_from_slice(text);
        slot.value = Some(value);
        value
    }
}

/// Takes in eight bytes at a time; the last eight may overlap those before them.
#[inline]
fn hash(text: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(K);
    let mut hash = (text.len() as u64).wrapping_mul(K);
    if let Some(last) = text.last_chunk::<8>() {
        for word in text.as_chunks::<8>().0 {
            hash = mix(hash, u64::from_le_bytes(*word));
        }
        mix(hash, u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        mix(hash, u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)))
    } else {
        mix(hash, text.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_own_answer_among_many() {
        let mut memo = Memo::<_, 46>::new(2);
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
