//! One line of JSON per record of any type but transactions, which [`crate::json`] writes and where the rules are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::json::write_transaction;
use crate::json_text::{comma, push_number, push_optional_number, push_optional_str, push_str, push_time};
use crate::record::{Annotation, Checkpoint, Coverage, Details, Kind, Lifecycle, Loss, Record, Unknown};
use crate::transaction::Process;

/// Appends any record as a line, with the line end.
pub fn write_record(out: &mut Vec<u8>, record: &Record) {
    match record {
        Record::Transaction(stored) => write_transaction(out, stored.transaction(), &stored.context()),
        Record::Annotation(annotation) => write_annotation(out, annotation),
        Record::Loss(loss) => write_loss(out, loss),
        Record::Lifecycle(lifecycle) => write_lifecycle(out, lifecycle),
        Record::Coverage(coverage) => write_coverage(out, coverage),
        Record::Checkpoint(checkpoint) => write_checkpoint(out, checkpoint),
        Record::Unknown(unknown) => write_unknown(out, unknown),
    }
}

fn push_head(out: &mut Vec<u8>, kind: Kind, time_ns: u64) {
    out.extend_from_slice(b"{\"type\":");
    push_str(out, &kind.name());
    out.extend_from_slice(b",\"time\":");
    push_time(out, time_ns);
}

/// Appends `,"name":"text"`.
fn push_text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.push(b',');
    push_str(out, name);
    out.push(b':');
    push_str(out, text);
}

/// Appends names as members of an object, each with the list of its values: a name that comes again would be a second
/// member, which stores refuse and parsers forget.
pub(crate) fn push_details(out: &mut Vec<u8>, details: &Details) {
    out.push(b'{');
    let mut first = true;
    for (at, (name, _)) in details.iter().enumerate() {
        if details[..at].iter().any(|(before, _)| before == name) {
            continue;
        }
        comma(out, &mut first);
        push_str(out, name);
        out.extend_from_slice(b":[");
        let mut first_value = true;
        for (_, value) in details[at..].iter().filter(|(again, _)| again == name) {
            comma(out, &mut first_value);
            push_str(out, value);
        }
        out.push(b']');
    }
    out.push(b'}');
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as in a signed note.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// Appends a loss as a line, with the line end.
pub fn write_loss(out: &mut Vec<u8>, loss: &Loss) {
    push_head(out, Kind::LOSS, loss.time_ns);
    push_text(out, "stage", &loss.stage);
    push_text(out, "reason", &loss.reason);
    out.extend_from_slice(b",\"count\":");
    push_number(out, loss.count);
    out.extend_from_slice(b",\"since\":");
    push_time(out, loss.since_ns);
    out.extend_from_slice(b",\"until\":");
    push_time(out, loss.until_ns);
    out.extend_from_slice(b"}\n");
}

/// Appends a lifecycle record as a line, with the line end.
pub fn write_lifecycle(out: &mut Vec<u8>, lifecycle: &Lifecycle) {
    push_head(out, Kind::LIFECYCLE, lifecycle.time_ns);
    push_text(out, "event", &lifecycle.event);
    push_text(out, "version", &lifecycle.version);
    out.extend_from_slice(b",\"filter\":");
    push_optional_str(out, lifecycle.filter.as_deref());
    out.extend_from_slice(b",\"config_hash\":");
    push_optional_str(out, lifecycle.config_hash.map(|hash| hex(&hash)).as_deref());
    out.extend_from_slice(b",\"redaction\":");
    push_optional_str(out, lifecycle.redaction.as_deref());
    out.extend_from_slice(b",\"off\":");
    match lifecycle.off_ns {
        Some((since_ns, until_ns)) => {
            out.extend_from_slice(b"{\"since\":");
            push_time(out, since_ns);
            out.extend_from_slice(b",\"until\":");
            push_time(out, until_ns);
            out.push(b'}');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"details\":");
    push_details(out, &lifecycle.details);
    out.extend_from_slice(b"}\n");
}

/// Appends an annotation as a line, with the line end.
pub fn write_annotation(out: &mut Vec<u8>, annotation: &Annotation) {
    push_head(out, Kind::ANNOTATION, annotation.time_ns);
    push_text(out, "record", &annotation.record);
    push_text(out, "fact", &annotation.fact);
    out.extend_from_slice(b",\"details\":");
    push_details(out, &annotation.details);
    out.extend_from_slice(b"}\n");
}

/// Appends a coverage record as a line, with the line end.
pub fn write_coverage(out: &mut Vec<u8>, coverage: &Coverage) {
    push_head(out, Kind::COVERAGE, coverage.time_ns);
    out.extend_from_slice(b",\"unread\":[");
    let mut first = true;
    for unread in &coverage.unread {
        comma(out, &mut first);
        out.extend_from_slice(b"{\"what\":");
        push_str(out, &unread.what);
        push_text(out, "why", &unread.why);
        out.extend_from_slice(b",\"where\":");
        push_optional_str(out, Some(&*unread.place).filter(|place| !place.is_empty()));
        out.extend_from_slice(b",\"process\":");
        match &unread.process {
            Some(process) => push_process(out, process),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"count\":");
        push_number(out, unread.count);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}\n");
}

/// The same form as on a transaction.
fn push_process(out: &mut Vec<u8>, process: &Process) {
    out.extend_from_slice(b"{\"pid\":");
    push_optional_number(out, Some(process.pid));
    push_text(out, "name", &process.name);
    for (name, text) in
        [("executable", &process.executable), ("cgroup", &process.cgroup), ("container", &process.container)]
    {
        out.push(b',');
        push_str(out, name);
        out.push(b':');
        push_optional_str(out, text.as_deref());
    }
    out.push(b'}');
}

/// Appends a checkpoint as a line, with the line end.
pub fn write_checkpoint(out: &mut Vec<u8>, checkpoint: &Checkpoint) {
    push_head(out, Kind::CHECKPOINT, checkpoint.time_ns);
    push_text(out, "origin", &checkpoint.origin);
    out.extend_from_slice(b",\"size\":");
    push_number(out, checkpoint.size);
    push_text(out, "root", &base64(&checkpoint.root));
    push_text(out, "signature", &base64(&checkpoint.signature));
    out.extend_from_slice(b"}\n");
}

/// Appends what is known of a record that is not, as a line, with the line end.
pub fn write_unknown(out: &mut Vec<u8>, unknown: &Unknown) {
    push_head(out, unknown.kind, unknown.time_ns);
    out.extend_from_slice(b",\"undecoded_bytes\":");
    push_number(out, unknown.bytes.len() as u64);
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
#[path = "json_records_tests.rs"]
mod tests;
