//! What was read, and what was not, by reason.

/// Why something in a file was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// The file ends within a packet or a header.
    FileCut,
    /// What follows in the file cannot be read: a length that cannot be, or damaged compression.
    FileDamaged,
    /// A block of a pcapng file contradicts itself.
    BlockDamaged,
    /// A packet is longer than the limit.
    PacketTooLong,
    /// A packet of an interface that was not described.
    InterfaceUnknown,
    /// A link type that is not known here.
    LinkTypeUnknown,
    /// A packet that ends within its headers, or whose lengths cannot be.
    HeadersCut,
    /// More headers than the limit.
    TooManyLayers,
    /// A fragmented packet of which fragments are missing.
    FragmentsMissing,
    /// Fragments that overlap: what the receiver made of them is not known.
    FragmentsOverlap,
    /// Payload bytes that were cut off when the packet was captured.
    SnapLength,
    /// State of a connection was forgotten because there were too many.
    ConnectionsMax,
    /// A block of secrets is longer than the limit.
    SecretsTooLong,
}

impl Unread {
    /// All of them, with their names in loss records and what is counted.
    pub const ALL: [(Self, &'static str, &'static str); 13] = [
        (Self::FileCut, "file_cut", "files that end early"),
        (Self::FileDamaged, "file_damaged", "files of which the rest cannot be read"),
        (Self::BlockDamaged, "block_damaged", "blocks"),
        (Self::PacketTooLong, "packet_too_long", "packets"),
        (Self::InterfaceUnknown, "interface_unknown", "packets"),
        (Self::LinkTypeUnknown, "link_type_unknown", "packets"),
        (Self::HeadersCut, "headers_cut", "packets"),
        (Self::TooManyLayers, "too_many_layers", "packets"),
        (Self::FragmentsMissing, "fragments_missing", "packets"),
        (Self::FragmentsOverlap, "fragments_overlap", "packets"),
        (Self::SnapLength, "snap_length", "payload bytes"),
        (Self::ConnectionsMax, "connections_max", "connections"),
        (Self::SecretsTooLong, "secrets_too_long", "blocks of keys"),
    ];
}

/// Counts of a [`Reader`](crate::Reader).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Packets in the file so far.
    pub packets: u64,
    /// TCP segments in them, those of tunnels too.
    pub segments: u64,
    /// Connections that were seen.
    pub connections: u64,
    /// Connections that the filter left out.
    pub connections_filtered: u64,
    /// Packets that are whole and not TCP: no business of this reader.
    pub packets_other: u64,
    /// Packets whose content is encrypted below TCP (ESP, 802.11).
    pub packets_encrypted: u64,
    unread: [u64; Unread::ALL.len()],
}

impl Counters {
    /// How much was not read for that reason.
    #[must_use]
    pub fn unread(&self, why: Unread) -> u64 {
        self.unread[why as usize]
    }

    pub(crate) fn count(&mut self, why: Unread) {
        self.add(why, 1);
    }

    pub(crate) fn add(&mut self, why: Unread, count: u64) {
        self.unread[why as usize] += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_the_order_of_their_numbers() {
        for (i, (why, ..)) in Unread::ALL.iter().enumerate() {
            assert_eq!(*why as usize, i);
        }
    }
}
