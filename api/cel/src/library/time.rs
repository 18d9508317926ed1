//! Times and durations: reading, printing and their parts in a time zone.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::{Outcome, Table, mismatch};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const FUNCTIONS: Table = &[
    ("getFullYear", |args| part(args, |time| i64::from(time.year()))),
    ("getMonth", |args| part(args, |time| i64::from(time.month()) - 1)),
    ("getDayOfYear", |args| part(args, |time| i64::from(time.day_of_year()) - 1)),
    ("getDayOfMonth", |args| part(args, |time| i64::from(time.day()) - 1)),
    ("getDate", |args| part(args, |time| i64::from(time.day()))),
    ("getDayOfWeek", |args| part(args, |time| i64::from(time.weekday().to_sunday_zero_offset()))),
    ("getHours", |args| either(args, |time| i64::from(time.hour()), 3_600_000_000_000)),
    ("getMinutes", |args| either(args, |time| i64::from(time.minute()), 60_000_000_000)),
    ("getSeconds", |args| either(args, |time| i64::from(time.second()), 1_000_000_000)),
    ("getMilliseconds", |args| either(args, |time| i64::from(time.millisecond()), 1_000_000)),
];

/// A moment between the years 1 and 9999, to their very ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    nanos: i128,
}

const NANOS: i128 = 1_000_000_000;
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// Seconds of 0001-01-01T00:00:00Z and of 9999-12-31T23:59:59Z.
const SECONDS: std::ops::RangeInclusive<i128> = -62_135_596_800..=253_402_300_799;

impl Time {
    /// `None` beyond the years that there are.
    pub(crate) fn from_nanos(nanos: i128) -> Option<Self> {
        SECONDS.contains(&nanos.div_euclid(NANOS)).then_some(Self { nanos })
    }

    pub(crate) fn from_seconds(seconds: i64) -> Option<Self> {
        Self::from_nanos(i128::from(seconds) * NANOS)
    }

    pub(crate) fn nanos(self) -> i128 {
        self.nanos
    }

    pub(crate) fn seconds(self) -> i64 {
        self.nanos.div_euclid(NANOS) as i64
    }

    /// The clock and the calendar so many seconds east of Greenwich.
    fn civil(self, offset: i64) -> DateTime {
        let since = SignedDuration::new(self.seconds() + offset, self.nanos.rem_euclid(NANOS) as i32);
        EPOCH.saturating_add(since)
    }

    fn in_zone(self, zone: &TimeZone) -> DateTime {
        let near = Timestamp::from_second(self.seconds().min(Timestamp::MAX.as_second())).unwrap_or(Timestamp::MAX);
        self.civil(i64::from(zone.to_offset(near).seconds()))
    }
}

/// RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Option<Time> {
    let bytes = text.as_bytes();
    let shaped = text.is_ascii() && bytes.len() >= 20 && bytes[10] == b'T' && [4, 7].map(|at| bytes[at]) == [b'-', b'-'];
    if !shaped || bytes[13] != b':' || bytes[16] != b':' || &bytes[17..19] > b"59".as_slice() {
        return None;
    }
    let (local, offset) = match text.strip_suffix('Z') {
        Some(local) => (local, 0),
        None => (text.get(..text.len() - 6)?, offset(text.get(text.len() - 6..)?)?),
    };
    let fraction = local.get(19..)?;
    let digits = fraction
        .strip_prefix('.')
        .map_or(fraction.is_empty(), |digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if !digits {
        return None;
    }
    let local: DateTime = local.get(..local.len().min(29))?.parse().ok()?;
    let since = local.duration_since(EPOCH);
    Time::from_nanos(since.as_nanos() - i128::from(offset) * NANOS)
}

/// `+02:00` in seconds.
fn offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten();
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then(|| sign * i64::from(hours * 3_600 + minutes * 60))
}

/// `2006-01-02`
pub(crate) fn parse_date(text: &str) -> Option<Time> {
    if text.len() != 10 {
        return None;
    }
    parse_timestamp(&format!("{text}T00:00:00Z"))
}

/// A duration of a document: Go's form, or a number of units as words (`3 days`).
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    parse_go_duration(text).or_else(|| parse_words(text))
}

/// `1h30m`, `-1.5s`
pub(crate) fn parse_go_duration(text: &str) -> Option<i64> {
    ::schema::duration::parse_nanos(text).ok()
}

fn parse_words(text: &str) -> Option<i64> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let amount: i64 = text[..at].parse().ok()?;
    let unit = text[at..].trim();
    const UNITS: &[(&[&str], i64)] = &[
        (&["ns", "nano", "nanos", "nanosecond", "nanoseconds"], 1),
        (&["us", "µs", "micro", "micros", "microsecond", "microseconds"], 1_000),
        (&["ms", "milli", "millis", "millisecond", "milliseconds"], 1_000_000),
        (&["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
        (&["m", "min", "mins", "minute", "minutes"], 60_000_000_000),
        (&["h", "hr", "hrs", "hour", "hours"], 3_600_000_000_000),
        (&["d", "day", "days"], 86_400_000_000_000),
        (&["w", "wk", "wks", "week", "weeks"], 604_800_000_000_000),
    ];
    let (_, nanos) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
    amount.checked_mul(*nanos)
}

/// Seconds with what is left of them: `5400s`, `1.5s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    let seconds = nanos as f64 / 1e9;
    format!("{seconds}s")
}

pub(crate) fn timestamp_text(time: Time) -> String {
    format!("{}Z", time.civil(0))
}

/// The zone that an argument names: `UTC`, `Europe/Berlin`, `+02:00`.
fn zone(name: &str) -> Result<TimeZone, Fault> {
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    if let Some((hours, minutes)) = name.split_once(':') {
        let wrong = || Fault::new(format!("unknown time zone {name}"));
        let negative = hours.starts_with('-');
        let hours: i32 = hours.trim_start_matches(['+', '-']).parse().map_err(|_| wrong())?;
        let minutes: i32 = minutes.parse().map_err(|_| wrong())?;
        let seconds = hours.checked_mul(3_600).and_then(|seconds| seconds.checked_add(minutes.checked_mul(60)?)).ok_or_else(wrong)?;
        let offset = Offset::from_seconds(if negative { -seconds } else { seconds }).map_err(|_| wrong())?;
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(name).map_err(|_| Fault::new(format!("unknown time zone {name}")))
}

fn part<'a>(args: &[Value<'a>], of: fn(&DateTime) -> i64) -> Outcome<'a> {
    let Value::Timestamp(time) = &args[0] else { return mismatch() };
    let zone = match args.get(1) {
        None => TimeZone::UTC,
        Some(Value::String(name)) => zone(name)?,
        Some(_) => return mismatch(),
    };
    Ok(Value::Int(of(&time.in_zone(&zone))))
}

/// A part of a time, or a duration in whole units.
fn either<'a>(args: &[Value<'a>], of: fn(&DateTime) -> i64, unit_nanos: i64) -> Outcome<'a> {
    match &args[0] {
        Value::Duration(nanos) => Ok(Value::Int(nanos / unit_nanos)),
        _ => part(args, of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_and_nothing_else() {
        for (text, good) in [
            ("2020-01-02T03:04:05Z", true),
            ("2020-01-02T03:04:05.123456789+02:00", true),
            ("2020-01-02t03:04:05Z", false),
            ("2020-01-02 03:04:05Z", false),
            ("2020-13-02T03:04:05Z", false),
            ("2020-01-02T03:04:60Z", false),
            ("2020-01-02", false),
            ("9999-12-31T23:59:59.999Z", true),
            ("0001-01-01T00:00:00+01:00", false),
        ] {
            assert_eq!(parse_timestamp(text).is_some(), good, "{text}");
        }
        assert_eq!(duration_text(5_400_000_000_000), "5400s");
        assert_eq!(duration_text(1_500_000_000), "1.5s");
        assert_eq!(parse_duration("3 days"), Some(259_200_000_000_000));
    }

    #[test]
    fn zones_are_names_or_offsets() {
        let time = parse_timestamp("2020-01-02T03:04:05Z").unwrap();
        for (name, hours) in [("America/New_York", 22), ("+02:00", 5), ("-03:30", 23), ("UTC", 3)] {
            let args = [Value::Timestamp(time), Value::Type("".into()), Value::borrowed(name)];
            assert_eq!(
                part(&[args[0].clone(), args[2].clone()], |time| i64::from(time.hour())).unwrap().shown(),
                hours.to_string(),
                "{name}"
            );
        }
    }
}
