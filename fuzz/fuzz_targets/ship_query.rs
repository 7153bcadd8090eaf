//! Any text as a query, and any bytes as the document: what is taken answers, and its negation answers otherwise wherever there is a
//! document at all.
#![no_main]

use headtrail_ship::select::Query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first line is the query.
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (query, document) = data.split_at(end);
    let Ok(query) = std::str::from_utf8(query) else { return };
    let document = document.get(1..).unwrap_or_default();
    match Query::parse(query) {
        Ok(parsed) => {
            assert_eq!(parsed.text(), query);
            let is = parsed.matches(document);
            // It may be too deep, or too long.
            if let Ok(other) = Query::parse(&format!("NOT ({query})")) {
                let all = Query::parse("event.id:* OR NOT event.id:*");
                let is_document = all.is_ok_and(|all| all.matches(document));
                assert_eq!(other.matches(document), is_document && !is);
            }
        }
        Err(error) => {
            assert!(error.at <= query.len());
            let told = error.to_string();
            assert!(told.is_ascii() && told.lines().count() == 3);
        }
    }
});
