//! Go durations (`1h30m`, golden/durations.jsonl) and the two human forms of ages that tables print.

use std::time::Duration;

/// The units of a duration text, in nanoseconds. The two mu signs are different characters.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses `time.ParseDuration` texts; negative durations are an error of the caller's choosing, so nanoseconds are signed.
pub fn parse_nanos(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let (nanos, tail) = one_term(rest, text)?;
        total = total.checked_add(nanos).filter(|total| *total <= 1 << 63).ok_or_else(invalid)?;
        rest = tail;
    }
    match (negative, i64::try_from(total)) {
        (true, Ok(total)) => Ok(-total),
        (false, Ok(total)) => Ok(total),
        (true, Err(_)) => Ok(i64::MIN),
        (false, Err(_)) => Err(invalid()),
    }
}

/// `1.5h` off the front of `rest`; `text` is the whole for the error.
fn one_term<'a>(rest: &'a str, text: &str) -> Result<(u64, &'a str), String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (whole, after) = split_digits(rest);
    let (fraction, after_fraction) = match after.strip_prefix('.') {
        Some(fraction) => split_digits(fraction),
        None => ("", after),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let unit_end = after_fraction.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after_fraction.len());
    let (unit, tail) = after_fraction.split_at(unit_end);
    if unit.is_empty() {
        return Err(format!("time: missing unit in duration {text:?}"));
    }
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    let scale = scale.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let nanos = whole.checked_mul(scale).filter(|nanos| *nanos <= 1 << 63).ok_or_else(invalid)?;
    Ok((nanos + fraction_of(fraction, scale), tail))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Digits beyond what a u64 holds no longer change the result.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let digits = &digits[..digits.len().min(18)];
    let value: f64 = digits.parse::<u64>().unwrap_or_default() as f64;
    (value * (scale as f64 / 10f64.powi(digits.len() as i32))) as u64
}

/// `Duration.String()`.
pub fn format_nanos(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let text = match total {
        0 => return "0s".into(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(total, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(total, 6)),
        _ => clock(total),
    };
    format!("{sign}{text}")
}

/// `1h2m3.5s` of at least a second.
fn clock(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = decimal(nanos % 60_000_000_000, 9);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// `value` with the point `places` from its end, without trailing zeros.
fn decimal(value: u64, places: usize) -> String {
    let unit = 10u64.pow(places as u32);
    let fraction = format!("{:0places$}", value % unit);
    let fraction = fraction.trim_end_matches('0');
    let whole = value / unit;
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

/// `duration.HumanDuration`: what an AGE column shows.
pub fn human(duration: Duration) -> String {
    human_seconds(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// As [`human`] for signed seconds: `-1` is `0s`, `-2` and below `<invalid>`.
pub fn human_seconds(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match seconds {
        i64::MIN..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(years, "y", days % 365, "d"),
        252_288_000.. => format!("{years}y"),
    }
}

/// `duration.ShortHumanDuration`: one unit only.
pub fn short_human_seconds(seconds: i64) -> String {
    let hours = seconds / 3600;
    match seconds {
        i64::MIN..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{hours}h"),
        86_400..31_536_000 => format!("{}d", hours / 24),
        31_536_000.. => format!("{}y", hours / 24 / 365),
    }
}

/// Two units, the second left out when it is zero.
fn two(big: i64, big_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
}
