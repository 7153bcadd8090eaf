//! The list of differences that are accepted: `accepted.tsv`.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use crate::compare::Difference;
use crate::message::Key;

/// Reasons, with what each means. The bytes of an entry stand in its file and show it.
const CLASSES: [(&str, &str); 10] = [
    (
        "ambiguous_body",
        "no reading of the framing is right: we take what follows for a body of unknown length, tshark for a request",
    ),
    (
        "before_socks",
        "something else is said before the SOCKS handshake: we do not look for HTTP there, tshark does everywhere",
    ),
    ("continuation", "a header block in several frames: tshark 4.0 does not join them"),
    ("cut_head", "the capture ends within the head: we show its beginning and say so, tshark shows none"),
    (
        "cut_line",
        "the capture ends within a line: tshark shows what is there of it as a line, we leave it out",
    ),
    (
        "gap_in_body",
        "bytes of a chunked body are missing: what follows may be body, and nothing proves that it is not",
    ),
    (
        "no_target",
        "a request-line without a target, or with two: tshark takes the version, or the first, for one",
    ),
    (
        "no_version",
        "a line without a version of HTTP: a whole request of HTTP/0.9 or no message, and tshark reads on",
    ),
    ("tunnel", "tshark shows what goes into a tunnel, and not what comes out of it"),
    ("unknown_method", "tshark 4.0 does not know the method"),
];

/// A difference that is accepted.
pub struct Accepted {
    pub file: String,
    key: String,
    side: String,
    number: usize,
    bytes: Vec<u8>,
}

impl Accepted {
    fn is(&self, file: &str, key: &str, difference: &Difference) -> bool {
        self.file == file
            && self.key == key
            && self.side == difference.side.name()
            && self.number == difference.number
    }
}

/// Reads the list.
pub fn read() -> Vec<Accepted> {
    let lines =
        include_str!("accepted.tsv").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let list: Vec<_> = lines
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [file, key, side, number, class, bytes] = columns[..] else {
                panic!("not six columns: {line}")
            };
            assert!(CLASSES.iter().any(|&(name, _)| name == class), "no such reason: {line}");
            let digits: Vec<u8> =
                bytes.chars().map(|c| c.to_digit(16).expect("a hexadecimal digit") as u8).collect();
            Accepted {
                file: file.to_string(),
                key: key.to_string(),
                side: side.to_string(),
                number: number.parse().expect("a number"),
                bytes: digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect(),
            }
        })
        .collect();
    list
}

/// Differences that are not on the list, and entries that are true no more.
pub fn against(
    list: &[Accepted],
    differ: &[(String, Key, Difference)],
    folder: &Path,
) -> (Vec<String>, Vec<String>) {
    let new = differ
        .iter()
        .filter(|(file, key, d)| !list.iter().any(|a| a.is(file, &key.to_string(), d)))
        .map(|(file, key, d)| format!("new\t{file}\t{key}\t{}\t{}\t{}", d.side.name(), d.number, d.text))
        .collect();
    let mut seen = HashSet::new();
    let stale = list
        .iter()
        .filter_map(|a| {
            let what = format!("{}\t{}\t{}\t{}", a.file, a.key, a.side, a.number);
            let occurs = differ.iter().any(|(file, key, d)| a.is(file, &key.to_string(), d));
            if !occurs {
                Some(format!("does not occur\t{what}"))
            } else if !seen.insert(what.clone()) {
                Some(format!("stands there twice\t{what}"))
            } else if a.bytes.is_empty() || !holds(&folder.join(&a.file), &a.bytes) {
                Some(format!("its bytes are not in the file\t{what}"))
            } else {
                None
            }
        })
        .collect();
    (new, stale)
}

fn holds(file: &Path, bytes: &[u8]) -> bool {
    let content = if file.extension().is_some_and(|e| e == "gz") {
        Command::new("gzip").arg("-dc").arg(file).output().expect("gzip runs").stdout
    } else {
        std::fs::read(file).expect("reads")
    };
    content.windows(bytes.len()).any(|window| window == bytes)
}
