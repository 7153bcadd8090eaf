//! Documents as lines (NDJSON).

use crate::batch::Document;

/// Lines that are written in one call, but for a single document that is larger.
pub(super) const WRITE_BYTES_MAX: usize = 1 << 20;

/// Bytes of a document in the file.
pub(super) fn line_bytes(document: &Document<'_>) -> usize {
    document.body.len() + 1
}

/// Fills `lines` with the first of the documents: as many as fit into it and into `room` bytes of the file. Answers how many, which may be
/// none; with `at_least_one`, one goes in whatever the room.
pub(super) fn lines(documents: &[Document<'_>], room: u64, at_least_one: bool, lines: &mut Vec<u8>) -> usize {
    lines.clear();
    lines.shrink_to(2 * WRITE_BYTES_MAX);
    let mut taken = 0;
    for document in documents {
        let bytes = lines.len() + line_bytes(document);
        let fits = match taken {
            0 => at_least_one || bytes as u64 <= room,
            _ => bytes as u64 <= room && bytes <= WRITE_BYTES_MAX,
        };
        if !fits {
            break;
        }
        lines.extend_from_slice(document.body);
        lines.push(b'\n');
        taken += 1;
    }
    taken
}

#[cfg(test)]
mod tests {
    use headtrail_record::record::Kind;

    use super::*;

    #[test]
    fn lines_fill_the_room_and_no_more() {
        let bodies = [b"{\"a\":1}".as_slice(), b"{}", b"{}"];
        let documents =
            bodies.map(|body| Document { kind: Kind::TRANSACTION, id: "a", body, time_ns: 0, record: 0 });
        let mut out = Vec::new();
        for (room, at_least_one, taken, text) in [
            (0, false, 0, ""),
            (0, true, 1, "{\"a\":1}\n"),
            (7, false, 0, ""),
            (8, false, 1, "{\"a\":1}\n"),
            (11, false, 2, "{\"a\":1}\n{}\n"),
            (u64::MAX, false, 3, "{\"a\":1}\n{}\n{}\n"),
        ] {
            assert_eq!(lines(&documents, room, at_least_one, &mut out), taken, "{room}");
            assert_eq!(out, text.as_bytes(), "{room}");
        }
    }
}
