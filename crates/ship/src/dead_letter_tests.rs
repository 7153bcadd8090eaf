use headtrail_record::record::Kind;
use tempfile::TempDir;

use super::*;

fn document(id: &str) -> Document<'_> {
    Document { kind: Kind::TRANSACTION, id, body: br#"{"a":"\u001b"}"#, time_ns: 1, record: 7 }
}

fn all(dead: &DeadLetters) -> Vec<Letter> {
    let files = dead.take().unwrap();
    files.iter().flat_map(|file| read(file).unwrap()).map(Result::unwrap).collect()
}

#[test]
fn a_letter_has_the_document_and_the_reason() {
    let data_dir = TempDir::new().unwrap();
    let dead = DeadLetters::new(data_dir.path(), "elk");
    assert!(dead.take().unwrap().is_empty());
    let refusal = Refusal { status: Some(400), kind: "mapper".to_owned(), reason: "\"no\"".to_owned() };
    assert_eq!(dead.append(11, &[(document("x-1"), &refusal)]).unwrap(), 0);
    let text = fs::read_to_string(data_dir.path().join("dead-letter/elk.ndjson")).unwrap();
    assert_eq!(
        text,
        "{\"refused_at\":11,\"id\":\"x-1\",\"kind\":\"transaction\",\"record\":7,\"reason\":{\"status\":400,\"type\":\"mapper\",\
         \"reason\":\"\\\"no\\\"\"},\"document\":{\"a\":\"\\u001b\"}}\n"
    );
    assert_eq!(DeadLetters::names(data_dir.path()).unwrap(), ["elk"]);
    let letters = all(&dead);
    assert_eq!((letters.len(), letters[0].document.get()), (1, r#"{"a":"\u001b"}"#));
    // The next one goes into a new file, and both are found.
    dead.append(12, &[(document("x-2"), &refusal)]).unwrap();
    assert_eq!(all(&dead).iter().map(|letter| letter.id.as_str()).collect::<Vec<_>>(), ["x-1", "x-2"]);
}

#[test]
fn of_too_many_files_the_oldest_goes_and_is_counted() {
    let data_dir = TempDir::new().unwrap();
    let dead = DeadLetters::new(data_dir.path(), "elk");
    let refusal = Refusal { reason: "x".repeat(1 << 20), ..Refusal::default() };
    let per_file = 16;
    let mut removed = 0;
    for number in 0..per_file * (FILES_MAX as u64 + 4) {
        removed += dead.append(number, &[(document("x"), &refusal)]).unwrap();
    }
    let left = all(&dead);
    assert_eq!(left.len() as u64 + removed, per_file * (FILES_MAX as u64 + 4));
    assert!(left.len() as u64 <= per_file * FILES_MAX as u64 && removed >= 4 * per_file);
    assert!(left.windows(2).all(|pair| pair[0].refused_at + 1 == pair[1].refused_at));
}
