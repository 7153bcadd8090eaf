//! Notes, checkpoints and proofs as texts: one spelling, and nothing that is not signed is believed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod tree_common;

use headtrail_journal::tree::{
    Checkpoint, CheckpointError, Hash, InclusionProof, KEY_NAME_BYTES_MAX, KeyError, LOG_PROOF_BYTES_MAX,
    LogProof, LogProofError, NOTE_BYTES_MAX, NoteError, ProofError, SIGNATURES_MAX, SignedNote, Signer,
    TREE_SIZE_MAX, VerifierKey, leaf_hash,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tree_common::{built, config, entry};

const ORIGIN: &str = "headtrail/gw1/0123456789abcdef";

fn signer() -> Signer {
    Signer::new(ORIGIN, &[7; 32]).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: ORIGIN.to_owned(), size: 4711, root: leaf_hash(b"root"), extensions: Vec::new() }
}

fn log_proof(extra: &[u8]) -> LogProof {
    let (tree, mut files) = built(700, &[]);
    let checkpoint = Checkpoint { size: tree.size(), root: tree.root(), ..checkpoint() };
    LogProof {
        extra: extra.to_vec(),
        index: 300,
        hashes: InclusionProof::make(&mut files, 300, 700).unwrap().hashes,
        checkpoint: checkpoint.sign(&signer()).unwrap(),
    }
}

/// A note with this line in the place of its signature.
fn note_with(line: &str) -> String {
    format!("text\n\n{line}\n")
}

#[test]
fn a_verifier_key_has_one_spelling() {
    let good = signer().verifier().to_string();
    assert_eq!(good.parse::<VerifierKey>().as_ref(), Ok(signer().verifier()));
    let (name_and_hash, key) = good.rsplit_once('+').unwrap();
    let hash = &name_and_hash[name_and_hash.len() - 8..];
    for (wrong, error) in [
        (String::new(), KeyError::Syntax),
        (ORIGIN.to_owned(), KeyError::Syntax),
        (format!("{ORIGIN}+{hash}"), KeyError::Syntax),
        (format!("{good}\n"), KeyError::Syntax),
        (format!("+{hash}+{key}"), KeyError::Name),
        (format!("a b+{hash}+{key}"), KeyError::Name),
        (format!("a\u{a0}b+{hash}+{key}"), KeyError::Name),
        (format!("a\u{1}b+{hash}+{key}"), KeyError::Name),
        (format!("{}+{hash}+{key}", "a".repeat(KEY_NAME_BYTES_MAX + 1)), KeyError::Name),
        (format!("other+{hash}+{key}"), KeyError::Hash),
        (format!("{ORIGIN}+0{hash}+{key}"), KeyError::Hash),
        (format!("{ORIGIN}+{}+{key}", hash.to_uppercase()), KeyError::Hash),
        // Another type, a key that is too short, and no point of the curve.
        (format!("{ORIGIN}+{hash}+BA=="), KeyError::Key),
        (format!("{ORIGIN}+{hash}+AQ=="), KeyError::Key),
        (format!("{ORIGIN}+{hash}+AQI{}=", "A".repeat(40)), KeyError::Key),
    ] {
        assert_eq!(wrong.parse::<VerifierKey>(), Err(error), "{wrong:?}");
    }
}

#[test]
fn a_signer_does_not_show_its_seed() {
    let shown = format!("{:?}", Signer::new("name", &[0x5a; 32]).unwrap());
    assert!(
        shown.contains("name") && !shown.contains("90, 90") && !shown.to_lowercase().contains("5a5a"),
        "{shown}"
    );
}

#[test]
fn only_text_is_signed() {
    for (text, error) in [
        ("", NoteError::Shape),
        ("no end", NoteError::Shape),
        ("\ttab\n", NoteError::Characters),
        ("\r\n", NoteError::Characters),
    ] {
        assert_eq!(signer().sign(text), Err(error), "{text:?}");
    }
    assert_eq!(signer().sign(&format!("{}\n", "a".repeat(NOTE_BYTES_MAX))), Err(NoteError::TooLong));
    for text in ["\n", "a\n\nb\n", "a\n\n\n", "a\n\n\u{2014} a AAAAAAA=\n"] {
        let note = signer().sign(text).unwrap();
        assert_eq!(SignedNote::parse(note.as_bytes()).unwrap().verify(signer().verifier()), Ok(text));
    }
}

#[test]
fn what_is_no_note_is_refused() {
    let line = "\u{2014} name AAAAAAA=";
    assert!(SignedNote::parse(note_with(line).as_bytes()).is_ok());
    for (note, error) in [
        (String::new(), NoteError::Shape),
        ("\n\n".to_owned(), NoteError::Shape),
        ("text\n".to_owned(), NoteError::Shape),
        (format!("text\n{line}\n"), NoteError::Shape),
        (format!("text\n\n{line}"), NoteError::Shape),
        (note_with(""), NoteError::Shape),
        (format!("{}\n", note_with(line)), NoteError::Shape),
        (note_with("text"), NoteError::SignatureLine(1)),
        (note_with(&format!("{line}\ntext")), NoteError::SignatureLine(2)),
        (note_with("- name AAAAAAA="), NoteError::SignatureLine(1)),
        (note_with("\u{2014}  AAAAAAA="), NoteError::SignatureLine(1)),
        (note_with("\u{2014} a+b AAAAAAA="), NoteError::SignatureLine(1)),
        (note_with("\u{2014} name  AAAAAAA="), NoteError::SignatureLine(1)),
        (note_with("\u{2014} name AAAAAAA= "), NoteError::SignatureLine(1)),
        (note_with("\u{2014} name AAAAAAA"), NoteError::SignatureLine(1)),
        (note_with("\u{2014} name AAAAAA=="), NoteError::SignatureLine(1)),
        (note_with(&format!("{line}\r")), NoteError::Characters),
        (note_with(&[line; SIGNATURES_MAX + 1].join("\n")), NoteError::TooManySignatures),
        ("a".repeat(NOTE_BYTES_MAX + 1), NoteError::TooLong),
    ] {
        assert_eq!(SignedNote::parse(note.as_bytes()), Err(error), "{:?}", &note[..note.len().min(100)]);
    }
    assert_eq!(SignedNote::parse(b"\xff\n\n"), Err(NoteError::Characters));
    assert!(SignedNote::parse(note_with(&[line; SIGNATURES_MAX].join("\n")).as_bytes()).is_ok());
}

#[test]
fn one_wrong_signature_of_the_key_spoils_the_note() {
    let (good, other) = (signer().sign("text\n").unwrap(), signer().sign("other\n").unwrap());
    let wrong_line = other.strip_prefix("other\n\n").unwrap();
    for note in [format!("{good}{wrong_line}"), format!("text\n\n{wrong_line}")] {
        let parsed = SignedNote::parse(note.as_bytes()).unwrap();
        assert_eq!(parsed.verify(signer().verifier()), Err(NoteError::WrongSignature));
    }
    let stranger = Signer::new(ORIGIN, &[8; 32]).unwrap();
    let parsed = SignedNote::parse(good.as_bytes()).unwrap();
    assert_eq!(parsed.verify(stranger.verifier()), Err(NoteError::NotSigned));
    let namesake = Signer::new("other", &[7; 32]).unwrap();
    assert_eq!(parsed.verify(namesake.verifier()), Err(NoteError::NotSigned));
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let root = leaf_hash(b"");
    for (text, error) in [
        (String::new(), CheckpointError::Lines),
        ("\n".to_owned(), CheckpointError::Lines),
        ("a\n".to_owned(), CheckpointError::Lines),
        ("a\n1\n".to_owned(), CheckpointError::Lines),
        (format!("a\n1\n{root}"), CheckpointError::Lines),
        (format!("\n1\n{root}\n"), CheckpointError::Lines),
        (format!("a\n1\n{root}\n\n"), CheckpointError::Lines),
        (format!("a\n1\n{root}\nb\n\nc\n"), CheckpointError::Lines),
        (format!("a\n01\n{root}\n"), CheckpointError::Size),
        (format!("a\n-1\n{root}\n"), CheckpointError::Size),
        (format!("a\n{}\n{root}\n", TREE_SIZE_MAX + 1), CheckpointError::Size),
        ("a\n1\nAAAA\n".to_owned(), CheckpointError::Root),
    ] {
        assert_eq!(Checkpoint::parse(&text), Err(error), "{text:?}");
    }
}

#[test]
fn a_checkpoint_of_another_log_is_neither_signed_nor_opened() {
    let other = Checkpoint { origin: "other".to_owned(), ..checkpoint() };
    assert_eq!(other.sign(&signer()), Err(CheckpointError::Origin));
    let note = signer().sign(&other.to_string()).unwrap();
    assert_eq!(Checkpoint::open(note.as_bytes(), signer().verifier()), Err(CheckpointError::Origin));
}

#[test]
fn what_would_not_read_back_is_not_signed() {
    for (origin, extensions) in [("", vec![]), ("a\nb", vec![]), (ORIGIN, vec![""]), (ORIGIN, vec!["a\nb"])] {
        let extensions = extensions.into_iter().map(str::to_owned).collect();
        assert!(
            Checkpoint { origin: origin.to_owned(), extensions, ..checkpoint() }.sign(&signer()).is_err()
        );
    }
    assert!(Checkpoint { size: TREE_SIZE_MAX + 1, ..checkpoint() }.sign(&signer()).is_err());
}

#[test]
fn a_log_proof_is_written_as_specified() {
    let mut proof = log_proof(b"");
    proof.hashes.truncate(2);
    let (a, b) = (proof.hashes[0], proof.hashes[1]);
    let checkpoint = &proof.checkpoint;
    assert_eq!(proof.to_string(), format!("c2sp.org/tlog-proof@v1\nindex 300\n{a}\n{b}\n\n{checkpoint}"));
    proof.extra = b"x".to_vec();
    assert_eq!(
        proof.to_string(),
        format!("c2sp.org/tlog-proof@v1\nextra eA==\nindex 300\n{a}\n{b}\n\n{checkpoint}")
    );
    proof.hashes.clear();
    assert_eq!(LogProof::parse(proof.to_string().as_bytes()), Ok(proof));
}

#[test]
fn a_log_proof_proves_one_entry_at_one_index() {
    let (proof, key) = (log_proof(&entry(300)), signer());
    let key = key.verifier();
    assert_eq!(proof.verify(&leaf_hash(&entry(300)), key).map(|c| c.size), Ok(700));
    assert_eq!(proof.verify(&leaf_hash(&entry(301)), key), Err(LogProofError::Proof(ProofError::Root)));
    let other = LogProof { index: 700, ..proof.clone() };
    assert_eq!(other.verify(&leaf_hash(&entry(300)), key), Err(LogProofError::Proof(ProofError::Sizes)));
    let unsigned = LogProof { checkpoint: proof.checkpoint.replace("\n700\n", "\n701\n"), ..proof };
    assert_eq!(
        unsigned.verify(&leaf_hash(&entry(300)), key),
        Err(LogProofError::Checkpoint(CheckpointError::Note(NoteError::WrongSignature)))
    );
}

#[test]
fn what_is_no_log_proof_is_refused() {
    let hash = leaf_hash(b"");
    let many = format!("{hash}\n").repeat(65);
    for (rest, line) in [
        ("", 2),
        ("index 1", 2),
        ("index 1\n", 3),
        ("index 01\n\n", 2),
        ("index -1\n\n", 2),
        ("index  1\n\n", 2),
        ("index 18446744073709551616\n\n", 2),
        ("extra eA==\n\n", 3),
        ("extra \nindex 1\n\n", 2),
        ("extra eA\nindex 1\n\n", 2),
        ("extra eA==\nextra eA==\nindex 1\n\n", 3),
        ("index 1\nAAAA\n\n", 3),
        (&format!("index 1\n{hash}\n{hash}"), 4),
    ] {
        let text = format!("c2sp.org/tlog-proof@v1\n{rest}");
        assert_eq!(LogProof::parse(text.as_bytes()), Err(LogProofError::Line(line)), "{text:?}");
    }
    for first in
        ["", "c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2\nindex 1\n\n", "c2sp.org/tlog-proof@v1\r\n"]
    {
        assert_eq!(LogProof::parse(first.as_bytes()), Err(LogProofError::Line(1)), "{first:?}");
    }
    let many = format!("c2sp.org/tlog-proof@v1\nindex 1\n{many}\n");
    assert_eq!(LogProof::parse(many.as_bytes()), Err(LogProofError::TooLong));
    assert_eq!(LogProof::parse(&vec![b'\n'; LOG_PROOF_BYTES_MAX + 1]), Err(LogProofError::TooLong));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_bit_of_a_signed_checkpoint_can_be_changed(seed: [u8; 32], size in 0..=TREE_SIZE_MAX, root: [u8; 32], bit: usize) {
        let signer = Signer::new(ORIGIN, &seed).unwrap();
        let good = Checkpoint { size, root: Hash(root), ..checkpoint() }.sign(&signer).unwrap();
        let mut bad = good.into_bytes();
        let bit = bit % (bad.len() * 8);
        bad[bit / 8] ^= 1_u8 << (bit % 8);
        prop_assert!(Checkpoint::open(&bad, signer.verifier()).is_err());
    }

    #[test]
    fn no_bit_of_a_log_proof_can_be_changed(bit: usize) {
        let good = log_proof(b"");
        let mut bad = good.to_string().into_bytes();
        let bit = bit % (bad.len() * 8);
        bad[bit / 8] ^= 1_u8 << (bit % 8);
        let verified = LogProof::parse(&bad).map(|p| p.verify(&leaf_hash(&entry(300)), signer().verifier()));
        prop_assert!(!matches!(verified, Ok(Ok(_))), "{}", String::from_utf8_lossy(&bad));
    }

    #[test]
    fn extension_lines_are_kept(extensions in vec("[ -~]{1,20}", 0..4)) {
        let checkpoint = Checkpoint { extensions, ..checkpoint() };
        let note = checkpoint.sign(&signer()).unwrap();
        prop_assert_eq!(Checkpoint::open(note.as_bytes(), signer().verifier()), Ok(checkpoint));
    }

    #[test]
    fn a_log_proof_reads_back(extra in vec(any::<u8>(), 0..300), index: u64, hashes in vec(any::<[u8; 32]>(), 0..=64), checkpoint in "[a-z\n]{0,40}") {
        let proof = LogProof { extra, index, hashes: hashes.into_iter().map(Hash).collect(), checkpoint };
        prop_assert_eq!(LogProof::parse(proof.to_string().as_bytes()), Ok(proof));
    }
}
