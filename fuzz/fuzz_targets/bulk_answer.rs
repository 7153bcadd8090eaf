//! Any status and any bytes as the answer to a bulk request: each document has a result or none has, and what is kept of its words is
//! bounded and fit for a terminal.
#![no_main]

use std::time::Duration;

use headtrail_ship::elasticsearch::answer;
use headtrail_ship::http::Reply;
use headtrail_ship::sink::{Answer, Item, Refusal, TEXT_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fn check(text: &str) {
    assert!(text.len() <= TEXT_BYTES_MAX + '…'.len_utf8());
    assert!(!text.contains(char::is_control));
}

fn check_refusal(refusal: &Refusal, status: u16) {
    check(&refusal.kind);
    check(&refusal.reason);
    assert_eq!(refusal.status, Some(status));
}

fuzz_target!(|data: &[u8]| {
    let Some((&[low, high, sent], body)) = data.split_first_chunk() else { return };
    // The status, and the number of documents.
    let (status, sent) = (u16::from_le_bytes([low, high]), usize::from(sent));
    let retry_after = Some(Duration::from_secs(sent as u64));
    let reply = Reply { status, retry_after, body: body.to_vec() };
    match answer(&reply, sent) {
        Answer::Items(items) => {
            assert!((200..300).contains(&status));
            assert_eq!(items.len(), sent);
            for item in &items {
                if let Item::Refused(refusal) = item {
                    let of_item = refusal.status.unwrap();
                    assert!(!(200..300).contains(&of_item) && of_item != 409 && of_item != 429);
                    assert!(!(500..600).contains(&of_item));
                    check_refusal(refusal, of_item);
                }
            }
        }
        Answer::TooLarge(refusal) => {
            assert!(status == 413 || status == 400);
            check_refusal(&refusal, status);
        }
        Answer::Again(trouble) => {
            assert_eq!(trouble.wait, retry_after);
            check(&trouble.what);
        }
    }
});
