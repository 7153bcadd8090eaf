//! Documents to the body of a bulk request.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::batch::Document;

/// Appends two lines for each document.
pub(super) fn bulk(out: &mut Vec<u8>, documents: &[Document<'_>], namespace: &str) {
    for document in documents {
        out.extend_from_slice(b"{\"create\":{\"_index\":\"logs-headtrail.");
        out.extend_from_slice(document.kind.name().as_bytes());
        out.push(b'-');
        out.extend_from_slice(namespace.as_bytes());
        out.extend_from_slice(b"\",\"_id\":\"");
        out.extend_from_slice(document.id.as_bytes());
        out.extend_from_slice(b"\"}}\n");
        out.extend_from_slice(document.body);
        out.push(b'\n');
    }
}

/// The same, packed.
pub(super) fn gzip(raw: &[u8], out: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(out, Compression::fast());
    gzip.write_all(raw)?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use headtrail_record::record::Kind;

    #[test]
    fn each_document_is_created_in_the_data_stream_of_its_type() {
        let document =
            Document { kind: Kind::TRANSACTION, id: "ab-1", body: b"{\"a\":1}", time_ns: 1, record: 7 };
        let loss = Document { kind: Kind::LOSS, id: "ab-2", body: b"{}", ..document };
        let mut out = Vec::new();
        bulk(&mut out, &[document, loss], "prod");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"create\":{\"_index\":\"logs-headtrail.transaction-prod\",\"_id\":\"ab-1\"}}\n{\"a\":1}\n\
             {\"create\":{\"_index\":\"logs-headtrail.loss-prod\",\"_id\":\"ab-2\"}}\n{}\n"
        );
    }
}
