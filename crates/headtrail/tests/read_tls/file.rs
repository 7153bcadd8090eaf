//! Capture files of what two ends send.

use std::path::{Path, PathBuf};

/// One end sends bytes.
pub type Step = (bool, Vec<u8>);

/// A packet: raw IPv4, TCP.
#[derive(Clone)]
pub struct Packet {
    pub from_client: bool,
    pub sequence: u32,
    acknowledgement: u32,
    flags: u8,
    pub payload: Vec<u8>,
}

impl Packet {
    fn bytes(&self) -> Vec<u8> {
        let ends = [([10, 0, 0, 1], 40_000u16), ([10, 0, 0, 2], 443)];
        let [from, to] = if self.from_client { ends } else { [ends[1], ends[0]] };
        let mut bytes = vec![0x45, 0];
        bytes.extend((40 + self.payload.len() as u16).to_be_bytes());
        bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        bytes.extend(from.0);
        bytes.extend(to.0);
        bytes.extend(from.1.to_be_bytes());
        bytes.extend(to.1.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.extend([0x50, self.flags, 1, 0, 0, 0, 0, 0]);
        bytes.extend(&self.payload);
        bytes
    }
}

/// The packets of a connection, with SYN and FIN; each acknowledges all that came before.
pub fn packets(steps: &[Step], payload_max: usize) -> Vec<Packet> {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    // Sequence numbers pass over zero on the way.
    let mut next = [u32::MAX - 700, 5000];
    let mut packets = Vec::new();
    let mut push = |from_client: bool, flags: u8, payload: &[u8]| {
        let (own, other) = if from_client { (0, 1) } else { (1, 0) };
        packets.push(Packet {
            from_client,
            sequence: next[own],
            acknowledgement: if flags & ACK != 0 { next[other] } else { 0 },
            flags,
            payload: payload.to_vec(),
        });
        next[own] = next[own].wrapping_add(payload.len() as u32 + u32::from(flags & (SYN | 1) != 0));
    };
    push(true, SYN, b"");
    push(false, SYN | ACK, b"");
    for (from_client, bytes) in steps {
        for payload in bytes.chunks(payload_max) {
            push(*from_client, ACK | 8, payload);
        }
    }
    push(true, ACK | 1, b"");
    push(false, ACK | 1, b"");
    packets
}

/// Writes them in the format pcap.
pub fn pcap(packets: &[Packet], folder: &Path) -> PathBuf {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, 101] {
        file.extend(word.to_le_bytes());
    }
    for (i, packet) in (0u32..).zip(packets) {
        let bytes = packet.bytes();
        let len = bytes.len() as u32;
        for word in [1_700_000_000, i * 1000, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(bytes);
    }
    write(folder, "capture.pcap", &file)
}

/// Writes them in the format pcapng, with a key log in it.
pub fn pcapng(packets: &[Packet], key_log: &str, folder: &Path) -> PathBuf {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = (body.len() as u32 + 12).to_le_bytes();
        file.extend(kind.to_le_bytes());
        file.extend(len);
        file.extend(body);
        file.extend(len);
    };
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    block(1, &words(&[101, 0]));
    block(10, &[words(&[0x544c_534b, key_log.len() as u32]), key_log.as_bytes().to_vec()].concat());
    for (i, packet) in (0u32..).zip(packets) {
        let bytes = packet.bytes();
        let len = bytes.len() as u32;
        block(6, &[words(&[0, 0, i * 1000, len, len]), bytes].concat());
    }
    write(folder, "capture.pcapng", &file)
}

pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
