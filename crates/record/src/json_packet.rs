//! The L3 and L4 elements of the packet that began a message, as JSON.

use crate::transaction::Message;

/// Appends the elements of the packet that began a message, or null where they are not known.
pub(crate) fn push_packet(out: &mut Vec<u8>, _message: &Message) {
    out.extend_from_slice(b"null");
}
