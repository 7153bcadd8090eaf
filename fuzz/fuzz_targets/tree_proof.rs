//! Any bytes as a proof: in its text form what is taken is written back as it was; verifying takes any numbers.
#![no_main]

use headtrail_journal::tree::{ConsistencyProof, Hash, InclusionProof, LogProof, Signer, leaf_hash};
use libfuzzer_sys::fuzz_target;

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    bytes.iter().skip(at).zip(&mut number).for_each(|(from, to)| *to = *from);
    u64::from_le_bytes(number) >> (bytes.first().copied().unwrap_or(0) % 64)
}

fuzz_target!(|data: &[u8]| {
    let Ok(signer) = Signer::new("headtrail/gw1/0123456789abcdef", &[7; 32]) else { return };
    if let Ok(proof) = LogProof::parse(data) {
        assert_eq!(proof.to_string().as_bytes(), data);
        let _ = proof.verify(&leaf_hash(b""), signer.verifier());
    }
    let (a, b) = (number(data, 1), number(data, 9));
    let (hashes, _) = data.get(17..).unwrap_or_default().as_chunks::<32>();
    let hashes: Vec<_> = hashes.iter().map(|hash| Hash(*hash)).collect();
    let leaf = leaf_hash(b"leaf");
    let _ = InclusionProof { index: a, size: b, hashes: hashes.clone() }.verify(&leaf, &leaf);
    let _ = ConsistencyProof { old_size: a, size: b, hashes }.verify(&leaf, &leaf);
});
