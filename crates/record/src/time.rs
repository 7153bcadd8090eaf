//! Times as text, written straight into a buffer. UTC only: a record must read the same on every host, and this
//! crate has no clock and no time zone data.

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;

/// A point in time, taken apart (proleptic Gregorian calendar, UTC).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Civil {
    /// Year.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day, 1 to 31.
    pub day: u8,
    /// Hour.
    pub hour: u8,
    /// Minute.
    pub minute: u8,
    /// Second; never 60, as Unix time has no leap seconds.
    pub second: u8,
    /// Nanosecond of the second.
    pub nanosecond: u32,
}

impl Civil {
    /// Takes nanoseconds since the Unix epoch apart. A `u64` of them ends in 2554, so the year has four digits.
    ///
    /// The days are counted in eras of 400 years that begin on the first of March, so that the leap day is the last
    /// one of a year and month lengths follow from one linear formula.
    #[must_use]
    pub fn from_unix_ns(ns: u64) -> Self {
        let seconds = ns / NS_PER_S;
        let of_day = (seconds % 86_400) as u32;
        // Days from 0000-03-01 to 1970-01-01.
        let days = (seconds / 86_400) as u32 + 719_468;
        let era = days / 146_097;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: (era * 400 + year_of_era + u32::from(month <= 2)) as u16,
            month: month as u8,
            day: (of_year - (153 * from_march + 2) / 5 + 1) as u8,
            hour: (of_day / 3_600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
            nanosecond: (ns % NS_PER_S) as u32,
        }
    }
}

/// Puts two decimal digits.
fn two(to: &mut [u8], value: u8) {
    to[0] = b'0' + value / 10 % 10;
    to[1] = b'0' + value % 10;
}

/// Appends RFC 3339 with nanoseconds: `2026-11-24T18:36:51.123456789Z`.
pub fn write_rfc3339(out: &mut Vec<u8>, unix_ns: u64) {
    let c = Civil::from_unix_ns(unix_ns);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    two(&mut text[0..], (c.year / 100) as u8);
    two(&mut text[2..], (c.year % 100) as u8);
    two(&mut text[5..], c.month);
    two(&mut text[8..], c.day);
    two(&mut text[11..], c.hour);
    two(&mut text[14..], c.minute);
    two(&mut text[17..], c.second);
    let mut rest = c.nanosecond;
    for digit in text[20..29].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&text);
}

/// Appends the time of day with milliseconds: `18:36:51.123`.
pub fn write_time_of_day(out: &mut Vec<u8>, unix_ns: u64) {
    let c = Civil::from_unix_ns(unix_ns);
    let mut text = *b"00:00:00.000";
    two(&mut text[0..], c.hour);
    two(&mut text[3..], c.minute);
    two(&mut text[6..], c.second);
    let milliseconds = c.nanosecond / 1_000_000;
    text[9] = b'0' + (milliseconds / 100) as u8;
    two(&mut text[10..], (milliseconds % 100) as u8);
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ns: u64) -> String {
        let mut out = Vec::new();
        write_rfc3339(&mut out, ns);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_points_in_time_read_as_date_prints_them() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_400 * NS_PER_S), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(text(4_107_542_400 * NS_PER_S - 1), "2100-02-28T23:59:59.999999999Z");
        assert_eq!(text(4_107_542_400 * NS_PER_S), "2100-03-01T00:00:00.000000000Z");
        assert_eq!(text(1_795_545_411_123_456_789), "2026-11-24T18:36:51.123456789Z");
        assert_eq!(text(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = Civil::from_unix_ns(0);
        for day in 1..=200_000_u64 {
            let now = Civil::from_unix_ns(day * 86_400 * NS_PER_S);
            let leap = before.year.is_multiple_of(4)
                && (!before.year.is_multiple_of(100) || before.year.is_multiple_of(400));
            let length = match before.month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = if before.day < length {
                (before.year, before.month, before.day + 1)
            } else if before.month < 12 {
                (before.year, before.month + 1, 1)
            } else {
                (before.year + 1, 1, 1)
            };
            assert_eq!((now.year, now.month, now.day), expected, "day {day}");
            before = now;
        }
    }

    #[test]
    fn time_of_day_has_milliseconds() {
        let mut out = Vec::new();
        write_time_of_day(&mut out, 1_795_545_411_007_999_999);
        assert_eq!(out, b"18:36:51.007");
    }
}
