//! Schedules of cron jobs: what upstream's parser (five fields and descriptors) accepts, and its words for the rest.

/// A field: lowest and highest value, and names for some of them.
struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
    /// The value of the first name.
    first: u32,
}

const fn numbers(low: u32, high: u32) -> Field {
    Field { low, high, names: &[], first: 0 }
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: &[Field] = &[
    numbers(0, 59),
    numbers(0, 23),
    numbers(1, 31),
    Field { low: 1, high: 12, names: MONTHS, first: 1 },
    Field { low: 0, high: 6, names: DAYS, first: 0 },
];
const DESCRIPTORS: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
/// Units of a Go duration.
const UNITS: &[&str] = &["ns", "us", "µs", "μs", "ms", "s", "m", "h"];

/// What is wrong with a schedule, if anything is.
pub(crate) fn schedule(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let text = without_zone(text)?;
    if text.starts_with('@') {
        return descriptor(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields.iter().zip(FIELDS).try_for_each(|(text, field)| list(text, field))
}

/// A zone before the fields is old usage; what is right about it is not asked here.
fn without_zone(text: &str) -> Result<&str, String> {
    if !text.starts_with("TZ=") && !text.starts_with("CRON_TZ=") {
        return Ok(text);
    }
    let (zone, rest) = text.split_once(' ').unwrap_or((text, ""));
    let zone = zone.split_once('=').map_or("", |(_, zone)| zone);
    if super::zones::is_known(zone) { Ok(rest.trim()) } else { Err(format!("provided bad location {zone}: unknown time zone {zone}")) }
}

fn descriptor(text: &str) -> Result<(), String> {
    match text.strip_prefix("@every ") {
        _ if DESCRIPTORS.contains(&text) => Ok(()),
        Some(duration) if is_go_duration(duration) => Ok(()),
        Some(duration) => Err(format!("failed to parse duration {text}: time: invalid duration {duration:?}")),
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

fn list(text: &str, field: &Field) -> Result<(), String> {
    text.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, field))
}

/// `number | number "-" number [ "/" number ]`, with `*` and `?` for everything.
fn range(text: &str, field: &Field) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let bounds: Vec<&str> = parts[0].split('-').collect();
    let single = bounds.len() == 1;
    let (start, mut end) = match bounds.as_slice() {
        ["*" | "?", ..] => (field.low, field.high),
        [one] => (number_or_name(one, field)?, number_or_name(one, field)?),
        [low, high] => (number_or_name(low, field)?, number_or_name(high, field)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => number(step)?,
        _ => return Err(format!("too many slashes: {text}")),
    };
    if parts.len() == 2 && single {
        end = field.high;
    }
    if start < field.low {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", field.low));
    }
    if end > field.high {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", field.high));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 { Err(format!("step of range should be a positive number: {text}")) } else { Ok(()) }
}

fn number_or_name(text: &str, field: &Field) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match field.names.iter().position(|name| *name == lower) {
        Some(at) => Ok(field.first + at as u32),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

/// `1h30m`, `1.5s`, `-2ms`, `0`.
fn is_go_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let after = digits.trim_start_matches(|c: char| c.is_alphabetic());
        let unit = &digits[..digits.len() - after.len()];
        if digits.len() == rest.len() || !UNITS.contains(&unit) {
            return false;
        }
        rest = after;
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_upstream_reads_them() {
        for good in ["* * * * *", "*/5 0-6,12 1 jan-Mar MON", "@daily", "@every 1h30m", "0 0 ? * 0", "5/15 * * * *", "TZ=UTC 0 * * * *"] {
            assert_eq!(schedule(good), Ok(()), "{good}");
        }
        for (bad, text) in [
            ("x", "expected exactly 5 fields, found 1: [x]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("@never", "unrecognized descriptor: @never"),
        ] {
            assert_eq!(schedule(bad), Err(text.to_owned()), "{bad}");
        }
    }
}
