//! `headtrail verify`: compares the journal with what was signed, or proves that one record is in it.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headtrail_journal::cursor::Position;
use headtrail_journal::reader::{Next, Reader};
use headtrail_journal::storage::{Disk, Storage};
use headtrail_journal::tree::VerifierKey;
use headtrail_journal::verify::{
    self, Finding, Progress, Proved, Report, Request, SegmentReport, Verdict, Which,
};
use headtrail_record::printable::Printable;
use headtrail_record::record::Record;
use headtrail_record::{json, proto};
use serde_json::{Value, json};

use crate::cli::{self, VerifyFormat};
use crate::exit::Failure;
use crate::run::journal_failure;

/// The public key, in the data folder.
const KEY: &str = "keys/journal.pub";
/// Largest file of a key or a checkpoint that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Between two states of the progress bar.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Width of the bar, columns.
const BAR_COLUMNS: u64 = 40;

/// Verifies. A journal that is not whole is the answer no.
pub(crate) fn run(options: &cli::Verify) -> Result<(), Failure> {
    let key_file = options.key.clone().unwrap_or_else(|| options.data_dir.join(KEY));
    let key = text_of(&key_file)?
        .trim()
        .parse::<VerifierKey>()
        .map_err(|error| Failure::usage(format_args!("{}: {error}", key_file.display())))?;
    let storage: Arc<dyn Storage> = Arc::new(Disk::new(&options.data_dir));
    if let Some(id) = &options.record {
        return prove(&storage, &key, id, options.format);
    }
    let exported = options.checkpoint.as_deref().map(text_of).transpose()?;
    let against = exported.as_deref().map(notes).unwrap_or_default();
    if exported.is_some() && against.is_empty() {
        return Err(Failure::usage("--checkpoint: there is no checkpoint in that file"));
    }
    let mut bar = Bar::new();
    let request = Request { key: &key, against: &against, deep: true };
    let report = verify::verify(&storage, request, &mut |progress| bar.show(progress));
    bar.clear();
    let report = report.map_err(journal_failure)?;
    // Asked only where it matters: it takes reading all records.
    let on_record = match report.verdict() {
        Verdict::Unsigned => checkpoint_on_record(&storage).map_err(journal_failure)?,
        _ => None,
    };
    let out = match options.format {
        VerifyFormat::Text => text(&report, !against.is_empty(), on_record),
        VerifyFormat::Json => format!("{}\n", report_json(&report, on_record)),
    };
    print(&out)?;
    match report.verdict() {
        Verdict::Whole => Ok(()),
        Verdict::Unsigned => Err(Failure::no(unsigned(&report, on_record))),
        Verdict::Damaged => Err(Failure::no("the journal is not as it was signed")),
    }
}

/// Blocks of the greatest checkpoint that the journal's own records tell of.
fn checkpoint_on_record(storage: &Arc<dyn Storage>) -> headtrail_journal::Result<Option<u64>> {
    let mut reader = Reader::open(storage.clone(), Position::default())?;
    let mut greatest = None;
    while let Some(next) = reader.next_block()? {
        let Next::Block(block) = next else { continue };
        for (_, bytes) in block.records() {
            if let Ok(Record::Checkpoint(checkpoint)) = proto::decode(bytes) {
                greatest = greatest.max(Some(checkpoint.size));
            }
        }
    }
    Ok(greatest)
}

/// What it comes to without a checkpoint.
fn unsigned(report: &Report, on_record: Option<u64>) -> String {
    match on_record {
        Some(size) => format!(
            "NOT PROVED: no checkpoint is there, although a record tells of one of {size} blocks: they have been removed"
        ),
        None if report.records == 0 => "NOT PROVED: there is neither a checkpoint nor a record".to_owned(),
        None => format!(
            "NOT PROVED: no checkpoint signs the {} records; one comes within seconds, so in a journal that is older they have been removed",
            report.records
        ),
    }
}

fn text_of(path: &Path) -> Result<String, Failure> {
    let at = |error: &dyn std::fmt::Display| Failure::usage(format_args!("{}: {error}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| at(&error))?;
    io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX), &mut text)
        .map_err(|error| at(&error))?;
    Ok(text)
}

/// The signed notes in a text: one, or all that were exported. A note ends with its signatures, whose lines begin with a dash.
fn notes(text: &str) -> Vec<Vec<u8>> {
    let mut notes = Vec::new();
    let mut note = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if note.is_empty() && line.is_empty() {
            continue;
        }
        note.push_str(line);
        note.push('\n');
        let is_signature = |line: &str| line.starts_with("\u{2014} ");
        if (is_signature(line) && !lines.peek().is_some_and(|next| is_signature(next)))
            || lines.peek().is_none()
        {
            notes.push(std::mem::take(&mut note).into_bytes());
        }
    }
    notes
}

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::output(error)),
        _ => Ok(()),
    }
}

/// How far it is, where somebody looks.
struct Bar {
    shown: Option<Instant>,
    on: bool,
}

impl Bar {
    fn new() -> Self {
        Self { shown: None, on: io::stderr().is_terminal() }
    }

    fn show(&mut self, progress: Progress) {
        let soon = self.shown.is_some_and(|shown| shown.elapsed() < PROGRESS_INTERVAL);
        if !self.on || soon {
            return;
        }
        self.shown = Some(Instant::now());
        let share = progress.blocks.min(progress.signed) * BAR_COLUMNS / progress.signed.max(1);
        let done: String = (0..BAR_COLUMNS).map(|column| if column < share { '#' } else { '.' }).collect();
        eprint!(
            "\r[{done}] {} of {} blocks, {}",
            progress.blocks,
            progress.signed,
            mebibytes(progress.bytes)
        );
    }

    fn clear(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// For people.
fn text(report: &Report, against: bool, on_record: Option<u64>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "journal       {}", report.origin);
    let from = if report.first_block == 0 {
        String::new()
    } else {
        format!("; blocks before {} were removed by retention", report.first_block)
    };
    let bytes: u64 = report.segments.iter().map(|segment| segment.bytes).sum();
    let _ = writeln!(
        out,
        "read          {} records in {} blocks, {} segments, {}{from}",
        report.records,
        report.blocks,
        report.segments.len(),
        mebibytes(bytes)
    );
    match &report.checkpoint {
        None => {
            let _ = writeln!(out, "checkpoint    none");
        }
        Some(checkpoint) => {
            let behind = report.segments.last().map_or(0, |s| s.blocks.end).saturating_sub(checkpoint.size);
            let _ = writeln!(out, "checkpoint    {} blocks, root {}", checkpoint.size, checkpoint.root);
            if behind > 0 {
                let _ = writeln!(out, "not signed    {behind} blocks behind it, chained only");
            }
        }
    }
    for finding in &report.findings {
        let _ = writeln!(out, "wrong         {}", finding_text(finding));
    }
    if report.findings_beyond > 0 {
        let _ = writeln!(out, "wrong         {} more places", report.findings_beyond);
    }
    let verdict = match report.verdict() {
        Verdict::Whole if against => "whole, and it goes on from the earlier checkpoint".to_owned(),
        Verdict::Whole => {
            "whole; that nobody with the key has rewritten it shows only against an earlier checkpoint (--checkpoint)".to_owned()
        }
        Verdict::Unsigned => unsigned(report, on_record),
        Verdict::Damaged => "NOT as it was signed".to_owned(),
    };
    let _ = writeln!(out, "verdict       {verdict}");
    out
}

fn finding_text(finding: &Finding) -> String {
    let mut text = format!("{} at byte {}: {}", finding.file, finding.offset, finding.what);
    if !finding.blocks.is_empty() {
        let _ = write!(text, "; blocks {} to {}", finding.blocks.start, finding.blocks.end - 1);
    }
    if let Some(records) = finding.records.as_ref().filter(|records| !records.is_empty()) {
        let _ = write!(text, ", records {} to {}", records.start, records.end - 1);
    }
    Printable(text.as_bytes()).to_string()
}

/// Ranges are half-open: `end` is the first that is not in it.
fn report_json(report: &Report, on_record: Option<u64>) -> Value {
    let range = |range: &std::ops::Range<u64>| json!({"start": range.start, "end": range.end});
    let segment = |segment: &SegmentReport| {
        json!({
            "file": segment.file,
            "blocks": range(&segment.blocks),
            "records": range(&segment.records),
            "signed_bytes": segment.signed_bytes,
            "bytes": segment.bytes,
            "file_bytes": segment.file_bytes,
        })
    };
    let finding = |finding: &Finding| {
        json!({
            "file": finding.file,
            "offset": finding.offset,
            "blocks": range(&finding.blocks),
            "records": finding.records.as_ref().map(range),
            "what": finding.what,
        })
    };
    let checkpoint = report.checkpoint.as_ref().map(|checkpoint| {
        json!({"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.to_string()})
    });
    json!({
        "type": "verify",
        "verdict": match report.verdict() {
            Verdict::Whole => "whole",
            Verdict::Unsigned => "unsigned",
            Verdict::Damaged => "damaged",
        },
        "proved": report.verdict() == Verdict::Whole,
        "origin": report.origin,
        "checkpoint": checkpoint,
        "checkpoint_on_record": on_record,
        "first_block": report.first_block,
        "blocks": report.blocks,
        "records": report.records,
        "segments": report.segments.iter().map(segment).collect::<Vec<_>>(),
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "findings_beyond": report.findings_beyond,
    })
}

/// Proves one record, by its id or its sequence number.
fn prove(
    storage: &Arc<dyn Storage>,
    key: &VerifierKey,
    id: &str,
    format: VerifyFormat,
) -> Result<(), Failure> {
    let sequence = match id.parse() {
        Ok(sequence) => sequence,
        Err(_) => sequence_of(storage, id)?,
    };
    let proved = verify::record(storage, key, Which::Sequence(sequence)).map_err(journal_failure)?;
    let mut record = Vec::new();
    if let Ok(decoded) = proto::decode(&proved.record) {
        json::write_record(&mut record, &decoded);
    }
    print(&match format {
        VerifyFormat::Text => proved_text(&proved, &String::from_utf8_lossy(&record)),
        VerifyFormat::Json => {
            let hex: String = proved.header.iter().map(|b| format!("{b:02x}")).collect();
            let value = json!({
                "type": "proof", "sequence": proved.sequence, "file": proved.file, "offset": proved.offset,
                "block": proved.block, "index": proved.index, "entry": hex, "proof": proved.proof,
                "record": serde_json::from_slice::<Value>(&record).unwrap_or(Value::Null),
            });
            format!("{value}\n")
        }
    })
}

fn proved_text(proved: &Proved, record: &str) -> String {
    format!(
        "record        {}, number {} of block {}, in {} from byte {}\nverdict       it is in the journal that was signed; the proof (C2SP tlog-proof) is of the block's header\n\n{}\n{record}",
        proved.sequence, proved.index, proved.block, proved.file, proved.offset, proved.proof
    )
}

/// The number of the record with that id, by reading them all.
fn sequence_of(storage: &Arc<dyn Storage>, id: &str) -> Result<u64, Failure> {
    let mut reader = Reader::open(storage.clone(), Position::default()).map_err(journal_failure)?;
    let mut text = Vec::new();
    while let Some(next) = reader.next_block().map_err(journal_failure)? {
        let Next::Block(block) = next else { continue };
        for (sequence, bytes) in block.records() {
            let Ok(Record::Transaction(stored)) = proto::decode(bytes) else { continue };
            text.clear();
            json::write_transaction_id(&mut text, stored.context().run, stored.transaction().facts());
            if text == id.as_bytes() {
                return Ok(sequence);
            }
        }
    }
    Err(Failure::no(format_args!("there is no record with the id {}", Printable(id.as_bytes()))))
}
