//! A walk over chunked coding (RFC 9112, 7.1) that keeps no byte of the body.

use headtrail_record::event::ChunkAt;

/// Where the walk stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// In a chunk-size; `digits` so far.
    Size { value: u64, digits: u8 },
    /// In the whitespace or the extensions behind it, to the end of the line.
    Extension { value: u64, cr: bool },
    /// In chunk-data.
    Data { remaining: u64 },
    /// Behind chunk-data, where CR LF must follow.
    DataEnd { cr: bool },
}

/// What a step of the walk came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// All bytes are walked over; the body goes on.
    More,
    /// The last-chunk line has ended behind so many bytes; the trailer section follows.
    Last(usize),
    /// The coding is broken.
    Invalid,
}

/// The walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Walk {
    at: At,
    /// Content octets walked over or passed over.
    octets: u64,
    /// Octets were passed over that nobody counted.
    uncounted: bool,
    /// A line ended with a bare LF, where some readers see no end.
    bare_lf: bool,
}

impl Walk {
    pub(crate) fn new() -> Self {
        Self { at: At::Size { value: 0, digits: 0 }, octets: 0, uncounted: false, bare_lf: false }
    }

    /// A walk that begins behind chunk-data that was passed over: with its CR LF, or with the next line.
    pub(crate) fn behind_unknown(bytes: &[u8]) -> Self {
        let line_end = matches!(bytes.first(), Some(b'\r' | b'\n'));
        let at = if line_end { At::DataEnd { cr: false } } else { At::Size { value: 0, digits: 0 } };
        Self { at, octets: 0, uncounted: true, bare_lf: false }
    }

    /// A walk that goes on where the capturing side's ended.
    pub(crate) fn from(at: ChunkAt, octets: u64) -> Self {
        let at = match at {
            // Leading zeros do not count here.
            ChunkAt::Size { value: 0, digits } => At::Size { value: 0, digits: digits.min(1) },
            ChunkAt::Size { value, .. } => {
                At::Size { value, digits: (u64::BITS - value.leading_zeros()).div_ceil(4) as u8 }
            }
            ChunkAt::Extension { value } => At::Extension { value, cr: false },
            ChunkAt::Data { remaining } => At::Data { remaining },
            ChunkAt::DataEnd => At::DataEnd { cr: false },
        };
        Self { at, octets, uncounted: false, bare_lf: false }
    }

    /// Content octets so far; None where they are not known.
    pub(crate) fn octets(&self) -> Option<u64> {
        (!self.uncounted).then_some(self.octets)
    }

    /// A line ended with a bare LF.
    pub(crate) fn has_bare_lf(&self) -> bool {
        self.bare_lf
    }

    /// Octets of chunk-data that follow: a hole within them costs nothing.
    pub(crate) fn data_remaining(&self) -> u64 {
        match self.at {
            At::Data { remaining } => remaining,
            _ => 0,
        }
    }

    /// Passes over octets of chunk-data, at most those that remain.
    pub(crate) fn pass(&mut self, octets: u64) {
        if let At::Data { remaining } = self.at {
            let left = remaining - octets.min(remaining);
            self.octets = self.octets.saturating_add(remaining - left);
            self.at = if left == 0 { At::DataEnd { cr: false } } else { At::Data { remaining: left } };
        }
    }

    /// Walks over `bytes`. Accepts a bare LF as line end, as it does elsewhere in heads.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Step {
        let mut i = 0;
        while let Some(&byte) = bytes.get(i) {
            match self.at {
                At::Size { value, digits } => {
                    if let Some(digit) = (byte as char).to_digit(16) {
                        // Sixteen digits fill 64 bits; leading zeros do not count.
                        if digits == 16 {
                            return Step::Invalid;
                        }
                        let digits = if value == 0 { 1 } else { digits + 1 };
                        self.at = At::Size { value: value << 4 | u64::from(digit), digits };
                    } else if digits > 0 && matches!(byte, b';' | b' ' | b'\t' | b'\r' | b'\n') {
                        self.at = At::Extension { value, cr: false };
                        continue;
                    } else {
                        return Step::Invalid;
                    }
                    i += 1;
                }
                At::Extension { value, cr } => {
                    let Some(end) = memchr::memchr(b'\n', &bytes[i..]) else {
                        self.at = At::Extension { value, cr: bytes.ends_with(b"\r") };
                        return Step::More;
                    };
                    self.bare_lf |= !(if end > 0 { bytes[i + end - 1] == b'\r' } else { cr });
                    i += end + 1;
                    if value == 0 {
                        return Step::Last(i);
                    }
                    self.at = At::Data { remaining: value };
                }
                At::Data { remaining } => {
                    let here = remaining.min((bytes.len() - i) as u64);
                    self.pass(here);
                    i += here as usize;
                }
                At::DataEnd { cr } => {
                    match byte {
                        b'\r' if !cr => self.at = At::DataEnd { cr: true },
                        b'\n' => {
                            self.bare_lf |= !cr;
                            self.at = At::Size { value: 0, digits: 0 };
                        }
                        _ => return Step::Invalid,
                    }
                    i += 1;
                }
            }
        }
        Step::More
    }
}

/// Length of a last-chunk line (`1*"0" [ chunk-ext ] CRLF`) at the beginning of `bytes`: None where it is not one,
/// 0 where more bytes are needed to tell.
pub(crate) fn last_chunk_line(bytes: &[u8]) -> Option<usize> {
    let zeros = bytes.iter().take_while(|&&b| b == b'0').count();
    match bytes.get(zeros) {
        None => Some(0),
        Some(b';' | b' ' | b'\t' | b'\r' | b'\n') if zeros > 0 => {
            Some(memchr::memchr(b'\n', bytes).map_or(0, |end| end + 1))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(bytes: &[u8]) -> (Step, u64) {
        let mut walk = Walk::new();
        let step = walk.step(bytes);
        (step, walk.octets)
    }

    #[test]
    fn rfc9112_7_1_sizes_extensions_and_last_chunk() {
        assert_eq!(walk(b"5\r\nhello\r\n0\r\n\r\n"), (Step::Last(13), 5));
        assert_eq!(walk(b"00A;a=\"b\";c\r\n0123456789\r\n000 ;x\r\n"), (Step::Last(33), 10));
        assert_eq!(walk(b"5\nhello\n0\n"), (Step::Last(10), 5));
        assert_eq!(walk(b"5\r\nhel"), (Step::More, 3));
    }

    #[test]
    fn broken_chunks_are_invalid() {
        for bad in
            [&b"\r\n"[..], b"x\r\n", b"5\r\nhelloX", b"5\r\nhello\r\r", b"10000000000000000\r\n", b"-1\r\n"]
        {
            assert_eq!(walk(bad).0, Step::Invalid, "{bad:?}");
        }
        assert_eq!(walk(b"ffffffffffffffff\r\n").0, Step::More);
    }

    #[test]
    fn rfc9112_7_1_a_bare_lf_behind_a_size_an_extension_or_data_is_told() {
        for (bytes, bare) in [
            (&b"1;a\r\nx\r\n0\r\n"[..], false),
            (b"1\nx\r\n0\r\n", true),
            (b"1;a\nx\r\n0\r\n", true),
            (b"1\r\nx\n0\r\n", true),
            (b"1\r\nx\r\n0\n", true),
        ] {
            for cut in 0..bytes.len() {
                let mut walk = Walk::new();
                assert_eq!(walk.step(&bytes[..cut]), Step::More);
                assert_eq!(walk.step(&bytes[cut..]), Step::Last(bytes.len() - cut));
                assert_eq!((walk.has_bare_lf(), walk.octets), (bare, 1), "{bytes:?} {cut}");
            }
        }
    }

    #[test]
    fn leading_zeros_do_not_count_wherever_the_walk_begins() {
        let mut walk = Walk::from(ChunkAt::Size { value: 0, digits: 16 }, 0);
        assert_eq!(walk.step(b"00001\r\nx\r\n0\r\n"), Step::Last(13));
        let mut walk = Walk::from(ChunkAt::Size { value: 0xfff, digits: 15 }, 0);
        assert_eq!(walk.step(b"ff\r\n"), Step::More);
        assert_eq!(walk.data_remaining(), 0xf_ffff);
    }

    #[test]
    fn every_cut_gives_the_same_walk() {
        let bytes = b"5;a=b\r\nhello\r\n1a\r\nabcdefghijklmnopqrstuvwxyz\r\n0;q\r\n";
        for cut in 0..bytes.len() {
            let mut walk = Walk::new();
            assert_eq!(walk.step(&bytes[..cut]), Step::More, "{cut}");
            assert_eq!(walk.step(&bytes[cut..]), Step::Last(bytes.len() - cut));
            assert_eq!(walk.octets, 31);
        }
    }

    #[test]
    fn last_chunk_line_is_told_from_a_trailer_field() {
        assert_eq!(last_chunk_line(b"0\r\n\r\n"), Some(3));
        assert_eq!(last_chunk_line(b"000;a\r\nx"), Some(7));
        assert_eq!(last_chunk_line(b"0"), Some(0));
        assert_eq!(last_chunk_line(b"0: x\r\n"), None);
        assert_eq!(last_chunk_line(b"\r\n"), None);
    }
}
