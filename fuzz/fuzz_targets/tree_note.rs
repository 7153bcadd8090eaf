//! Any bytes as a signed note, a checkpoint and a verifier key: what is taken is written back as it was, and nothing is believed that
//! the key has not signed.
#![no_main]

use headtrail_journal::tree::{Checkpoint, CheckpointError, NoteError, SignedNote, Signer, VerifierKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(signer) = Signer::new("headtrail/gw1/0123456789abcdef", &[7; 32]) else { return };
    if let Ok(note) = SignedNote::parse(data)
        && let Ok(text) = note.verify(signer.verifier())
    {
        // Ed25519 gives one signature for a text, so this is the one note that the key makes of it.
        let signed = signer.sign(text).unwrap_or_default();
        let line = &signed[text.len() + 1..];
        assert!(data.starts_with(text.as_bytes()) && String::from_utf8_lossy(data).contains(line));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Checkpoint::parse(text) {
        Ok(checkpoint) => {
            assert_eq!(checkpoint.to_string(), text);
            match checkpoint.sign(&signer) {
                Ok(note) => assert_eq!(Checkpoint::open(note.as_bytes(), signer.verifier()), Ok(checkpoint)),
                Err(error) => assert!(matches!(
                    error,
                    CheckpointError::Origin
                        | CheckpointError::Note(NoteError::Characters | NoteError::TooLong)
                )),
            }
        }
        Err(_) => {
            if let Ok(note) = signer.sign(text) {
                assert!(Checkpoint::open(note.as_bytes(), signer.verifier()).is_err());
            }
        }
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text);
    }
});
