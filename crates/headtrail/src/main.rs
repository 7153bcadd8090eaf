//! Headtrail.
fn main() {}
