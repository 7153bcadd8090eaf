//! Dates: `2026`, `2026-11-24`, `2026-11-24T18:36`, `2026-11-24T18:36:51.123Z`, `2026-11-24T18:36:51+01:00`.

use super::error::shown;

const NS_PER_S: i128 = 1_000_000_000;

/// The first and the last nanosecond of a date, since the Unix epoch: of a year if there is no more than that, and so on. UTC without an
/// offset.
pub(super) fn span(word: &str) -> Result<(i128, i128), String> {
    read(word).ok_or_else(|| {
        let now =
            if word.starts_with("now") { "; times relative to now are not in this version" } else { "" };
        format!("{} is no date, such as 2026-11-24 or \"2026-11-24T18:36:51Z\"{now}", shown(word))
    })
}

fn read(word: &str) -> Option<(i128, i128)> {
    let mut rest = word;
    let year = digits(&mut rest, 4)?;
    let (mut month, mut day) = (None, None);
    if skip(&mut rest, "-") {
        month = Some(digits(&mut rest, 2).filter(|month| (1..=12).contains(month))?);
        if skip(&mut rest, "-") {
            day = Some(digits(&mut rest, 2).filter(|day| *day >= 1)?);
        }
    }
    let Some(day) = day else {
        let next = match month {
            Some(month) if month < 12 => (year, month + 1),
            _ => (year + 1, 1),
        };
        let of = |(year, month)| days(year, month, 1) * 86_400 * NS_PER_S;
        return rest.is_empty().then_some((of((year, month.unwrap_or(1))), of(next) - 1));
    };
    let month = month?;
    if day > month_length(year, month) {
        return None;
    }
    let midnight = days(year, month, day);
    let (of_day, length) = if skip(&mut rest, "T") { clock(&mut rest)? } else { (0, 86_400 * NS_PER_S) };
    let first = midnight * 86_400 * NS_PER_S + of_day - offset(&mut rest)?;
    rest.is_empty().then_some((first, first + length - 1))
}

/// The nanosecond of the day, and how long that lasts which was named last: an hour, a minute and so on.
fn clock(rest: &mut &str) -> Option<(i128, i128)> {
    let hour = digits(rest, 2).filter(|hour| *hour < 24)?;
    let mut time = (hour * 3_600 * NS_PER_S, 3_600 * NS_PER_S);
    if skip(rest, ":") {
        time = (time.0 + digits(rest, 2).filter(|minute| *minute < 60)? * 60 * NS_PER_S, 60 * NS_PER_S);
        if skip(rest, ":") {
            time = (time.0 + digits(rest, 2).filter(|second| *second < 60)? * NS_PER_S, NS_PER_S);
            if skip(rest, ".") {
                let count = rest.bytes().take_while(u8::is_ascii_digit).count();
                let unit = 10_i128.pow(9_u32.checked_sub(u32::try_from(count).ok()?)?);
                time = (time.0 + digits(rest, count)? * unit, unit);
            }
        }
    }
    Some(time)
}

/// How far local time is before UTC, nanoseconds.
fn offset(rest: &mut &str) -> Option<i128> {
    let sign = match rest.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => {
            skip(rest, "Z");
            return Some(0);
        }
    };
    *rest = &rest[1..];
    let hours = digits(rest, 2).filter(|hours| *hours < 24)?;
    skip(rest, ":");
    let minutes = digits(rest, 2).filter(|minutes| *minutes < 60)?;
    Some(sign * (hours * 60 + minutes) * 60 * NS_PER_S)
}

/// A number of so many digits.
fn digits(rest: &mut &str, count: usize) -> Option<i128> {
    let text = rest.get(..count).filter(|text| count > 0 && text.bytes().all(|b| b.is_ascii_digit()))?;
    *rest = &rest[count..];
    text.parse().ok()
}

fn skip(rest: &mut &str, what: &str) -> bool {
    match rest.strip_prefix(what) {
        Some(further) => {
            *rest = further;
            true
        }
        None => false,
    }
}

fn month_length(year: i128, month: i128) -> i128 {
    let next = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days(next.0, next.1, 1) - days(year, month, 1)
}

/// Days since the Unix epoch (proleptic Gregorian calendar). Years begin in March here, so that the leap day is the last of one.
fn days(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}
