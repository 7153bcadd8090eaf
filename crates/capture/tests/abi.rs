//! Numbers of the kernel border that other crates have under names of their own agree with `abi.h`.

use headtrail_capture::abi;
use headtrail_record::event;

#[test]
fn flags_mean_the_same_on_both_sides() {
    let pairs = [
        (abi::flag::FRESH, event::flags::FRESH),
        (abi::flag::RAW, event::flags::RAW),
        (abi::flag::START, event::flags::START),
        (abi::flag::EARLY, event::flags::EARLY),
        (abi::flag::LOST, event::flags::LOST),
        (abi::flag::JOINED, event::flags::JOINED),
        (abi::flag::REQUESTS, event::flags::REQUESTS),
    ];
    for (kernel, record) in pairs {
        assert_eq!(kernel, record);
    }
}

#[test]
fn headers_are_copied_up_to_the_same_length() {
    assert_eq!(abi::HEADER_BYTES_MAX, event::HEADER_BYTES_MAX);
}

#[test]
fn counters_are_numbers_of_eight_bytes_in_a_row() {
    assert_eq!(abi::counters::BYTES, abi::COUNTERS * 8);
}
