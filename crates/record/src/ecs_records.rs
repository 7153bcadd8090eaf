//! One document per record of any type but transactions, which [`crate::ecs`] writes and where the rules are.

use crate::ecs::{push_head, write_transaction};
use crate::json_records::{base64, hex, push_details};
use crate::json_text::{comma, push_number, push_str, push_time};
use crate::record::{Annotation, Checkpoint, Coverage, Kind, Lifecycle, Loss, Record, Unknown};

/// Appends any record as a document, with the line end. `id` is that of its place in a journal ([`record_id`](crate::record::record_id)), for those that have none of their own.
pub fn write_record(out: &mut Vec<u8>, record: &Record, id: Option<&str>) {
    match record {
        Record::Transaction(stored) => write_transaction(out, stored.transaction(), &stored.context()),
        Record::Annotation(annotation) => write_annotation(out, annotation, id),
        Record::Loss(loss) => write_loss(out, loss, id),
        Record::Lifecycle(lifecycle) => write_lifecycle(out, lifecycle, id),
        Record::Coverage(coverage) => write_coverage(out, coverage, id),
        Record::Checkpoint(checkpoint) => write_checkpoint(out, checkpoint, id),
        Record::Unknown(unknown) => write_unknown(out, unknown, id),
    }
}

/// Appends `"name":"text"` behind what stands there, unless there is none.
fn push_text(out: &mut Vec<u8>, first: &mut bool, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        comma(out, first);
        push_str(out, name);
        out.push(b':');
        push_str(out, text);
    }
}

/// Appends the id within `event`, where there is one.
fn push_id(out: &mut Vec<u8>, id: Option<&str>) {
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        push_str(out, id);
    }
}

/// Appends start and end of a span of time, within `event`.
fn push_span(out: &mut Vec<u8>, since_ns: u64, until_ns: u64) {
    out.extend_from_slice(b",\"start\":");
    push_time(out, since_ns);
    out.extend_from_slice(b",\"end\":");
    push_time(out, until_ns);
}

/// Appends a loss as a document, with the line end.
pub fn write_loss(out: &mut Vec<u8>, loss: &Loss, id: Option<&str>) {
    push_head(out, loss.time_ns, "loss");
    push_id(out, id);
    push_span(out, loss.since_ns, loss.until_ns);
    out.extend_from_slice(b"},\"headtrail\":{\"loss\":{\"stage\":");
    push_str(out, &loss.stage);
    out.extend_from_slice(b",\"reason\":");
    push_str(out, &loss.reason);
    out.extend_from_slice(b",\"count\":");
    push_number(out, loss.count);
    out.extend_from_slice(b"}}}\n");
}

/// Appends a lifecycle record as a document, with the line end.
pub fn write_lifecycle(out: &mut Vec<u8>, lifecycle: &Lifecycle, id: Option<&str>) {
    push_head(out, lifecycle.time_ns, "lifecycle");
    push_id(out, id);
    out.extend_from_slice(b",\"action\":");
    push_str(out, &lifecycle.event);
    if let Some((since_ns, until_ns)) = lifecycle.off_ns {
        push_span(out, since_ns, until_ns);
    }
    out.extend_from_slice(b"},\"headtrail\":{\"lifecycle\":{");
    let mut first = true;
    push_text(out, &mut first, "version", Some(&lifecycle.version));
    push_text(out, &mut first, "filter", lifecycle.filter.as_deref());
    push_text(out, &mut first, "config_hash", lifecycle.config_hash.map(|hash| hex(&hash)).as_deref());
    push_text(out, &mut first, "redaction", lifecycle.redaction.as_deref());
    if !lifecycle.details.is_empty() {
        out.extend_from_slice(b",\"details\":");
        push_details(out, &lifecycle.details);
    }
    out.extend_from_slice(b"}}}\n");
}

/// Appends an annotation as a document, with the line end.
pub fn write_annotation(out: &mut Vec<u8>, annotation: &Annotation, id: Option<&str>) {
    push_head(out, annotation.time_ns, "annotation");
    push_id(out, id);
    out.extend_from_slice(b"},\"headtrail\":{\"annotation\":{");
    let mut first = true;
    push_text(out, &mut first, "record", Some(&annotation.record));
    push_text(out, &mut first, "fact", Some(&annotation.fact));
    if !annotation.details.is_empty() {
        out.extend_from_slice(b",\"details\":");
        push_details(out, &annotation.details);
    }
    out.extend_from_slice(b"}}}\n");
}

/// Appends a coverage record as a document, with the line end.
pub fn write_coverage(out: &mut Vec<u8>, coverage: &Coverage, id: Option<&str>) {
    push_head(out, coverage.time_ns, "coverage");
    push_id(out, id);
    out.extend_from_slice(b"},\"headtrail\":{\"coverage\":{\"unread\":[");
    let mut first_entry = true;
    for unread in &coverage.unread {
        comma(out, &mut first_entry);
        out.push(b'{');
        let mut first = true;
        push_text(out, &mut first, "what", Some(&unread.what));
        push_text(out, &mut first, "why", Some(&unread.why));
        push_text(out, &mut first, "where", Some(&*unread.place).filter(|place| !place.is_empty()));
        if let Some(process) = &unread.process {
            out.extend_from_slice(b",\"process\":{\"pid\":");
            push_number(out, process.pid);
            push_text(out, &mut first, "name", Some(&process.name));
            push_text(out, &mut first, "executable", process.executable.as_deref());
            push_text(out, &mut first, "cgroup", process.cgroup.as_deref());
            push_text(out, &mut first, "container", process.container.as_deref());
            out.push(b'}');
        }
        out.extend_from_slice(b",\"count\":");
        push_number(out, unread.count);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}}}\n");
}

/// Appends a checkpoint as a document, with the line end.
pub fn write_checkpoint(out: &mut Vec<u8>, checkpoint: &Checkpoint, id: Option<&str>) {
    push_head(out, checkpoint.time_ns, "checkpoint");
    push_id(out, id);
    out.extend_from_slice(b"},\"headtrail\":{\"checkpoint\":{\"origin\":");
    push_str(out, &checkpoint.origin);
    out.extend_from_slice(b",\"size\":");
    push_number(out, checkpoint.size);
    out.extend_from_slice(b",\"root\":");
    push_str(out, &base64(&checkpoint.root));
    out.extend_from_slice(b",\"signature\":");
    push_str(out, &base64(&checkpoint.signature));
    out.extend_from_slice(b"}}}\n");
}

/// Appends what is known of a record that is not, as a document, with the line end.
pub fn write_unknown(out: &mut Vec<u8>, unknown: &Unknown, id: Option<&str>) {
    push_head(out, unknown.time_ns, &Kind::name(unknown.kind));
    push_id(out, id);
    out.extend_from_slice(b"},\"headtrail\":{\"undecoded_bytes\":");
    push_number(out, unknown.bytes.len() as u64);
    out.extend_from_slice(b"}}\n");
}
