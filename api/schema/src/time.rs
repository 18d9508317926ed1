//! Times in documents: `metav1.Time` (RFC 3339, whole seconds, `Z`) and `MicroTime` (six digits).
//! Times never order objects; revisions do.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// `2026-11-20T08:37:00Z`
pub fn format(time: Timestamp) -> String {
    let whole = time.as_nanosecond().div_euclid(1_000_000_000);
    let seconds = i64::try_from(whole).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-20T08:37:00.123456Z`
pub fn format_micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Either form, any offset.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// A `metav1.Time` as a document holds it, or Go's sentence for what is wrong. The zero time is the empty text.
pub fn canonical(text: &str) -> Result<String, String> {
    if is_canonical(text) {
        return Ok(text.to_owned());
    }
    read(text, false).map(|time| if is_zero(time) { String::new() } else { format(time) })
}

/// As [`canonical`] for `MicroTime`, whose six digits are mandatory.
pub fn canonical_micro(text: &str) -> Result<String, String> {
    read(text, true).map(|time| if is_zero(time) { String::new() } else { format_micro(time) })
}

/// A look is enough for almost every time that comes back from a client. The last days of a month are left to the full
/// reader, as is year one.
fn is_canonical(text: &str) -> bool {
    let number = |at: usize, length: usize| text[at..at + length].bytes().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    let shape = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = |(byte, want): (u8, &u8)| if *want == b'd' { byte.is_ascii_digit() } else { byte == *want };
    text.len() == shape.len()
        && text.bytes().zip(shape).all(fits)
        && number(0, 4) > 1
        && (1..=12).contains(&number(5, 2))
        && (1..=28).contains(&number(8, 2))
        && number(11, 2) < 24
        && number(14, 2) < 60
        && number(17, 2) < 60
}

/// Go's zero time: the first second of year one.
fn is_zero(time: Timestamp) -> bool {
    time.as_nanosecond() == -62_135_596_800 * 1_000_000_000
}

/// `time.Parse` for the two layouts of documents.
fn read(text: &str, micro: bool) -> Result<Timestamp, String> {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let mut reader = Reader { text, rest: text, layout };
    let year = reader.year()?;
    reader.literal("-")?;
    let month = reader.number("01", 2)?;
    reader.range((1..=12).contains(&month), "month")?;
    reader.literal("-")?;
    let day = reader.number("02", 2)?;
    reader.literal("T")?;
    let hour = reader.number("15", 1)?;
    reader.range(hour < 24, "hour")?;
    reader.literal(":")?;
    let minute = reader.number("04", 2)?;
    reader.range(minute < 60, "minute")?;
    reader.literal(":")?;
    let second = reader.number("05", 2)?;
    reader.range(second < 60, "second")?;
    let nanos = if micro { reader.micros()? } else { reader.any_fraction() };
    let offset_seconds = reader.offset()?;
    reader.end()?;
    let civil = DateTime::new(year, month as i8, day as i8, hour as i8, minute as i8, second as i8, nanos);
    let civil = civil.map_err(|_| reader.out_of_range("day"))?;
    let offset = Offset::from_seconds(offset_seconds).map_err(|_| reader.out_of_range("time zone offset hour"))?;
    offset.to_timestamp(civil).map_err(|_| reader.out_of_range("year"))
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl<'a> Reader<'a> {
    fn bad(&self, rest: &str, part: &str) -> String {
        format!("parsing time {:?} as {:?}: cannot parse {rest:?} as {part:?}", self.text, self.layout)
    }

    fn out_of_range(&self, what: &str) -> String {
        format!("parsing time {:?}: {what} out of range", self.text)
    }

    fn range(&self, inside: bool, what: &str) -> Result<(), String> {
        if inside { Ok(()) } else { Err(self.out_of_range(what)) }
    }

    fn literal(&mut self, literal: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.bad(self.rest, literal))?;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (head, tail) = self.rest.split_at_checked(length)?;
        self.rest = tail;
        Some(head)
    }

    fn year(&mut self) -> Result<i16, String> {
        let hold = self.rest;
        let digits = self.take(4).filter(|head| head.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.bad(hold, "2006"))
    }

    /// Two digits, or (hours) at least one.
    fn number(&mut self, part: &str, digits_min: usize) -> Result<u8, String> {
        let hold = self.rest;
        let digits = self.rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
        if digits < digits_min {
            return Err(self.bad(hold, part));
        }
        let head = self.take(digits).unwrap_or_default();
        head.parse().map_err(|_| self.bad(hold, part))
    }

    /// `.123456`, all six digits.
    fn micros(&mut self) -> Result<i32, String> {
        let hold = self.rest;
        let digits =
            self.take(7).and_then(|head| head.strip_prefix(['.', ','])).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let micros: i32 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.bad(hold, ".000000"))?;
        Ok(micros * 1000)
    }

    /// A fraction that the layout does not name is read all the same; a lone dot is not.
    fn any_fraction(&mut self) -> i32 {
        let Some(fraction) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return 0;
        }
        self.rest = &fraction[digits..];
        let nanos: String = fraction[..digits].chars().chain("000000000".chars()).take(9).collect();
        nanos.parse().unwrap_or_default()
    }

    /// `Z` or `+02:00`, in seconds.
    fn offset(&mut self) -> Result<i32, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let hold = self.rest;
        let bad = |reader: &Self| reader.bad(hold, "Z07:00");
        let head = self.take(6).ok_or_else(|| bad(self))?;
        let (sign, clock) = head.split_at_checked(1).ok_or_else(|| bad(self))?;
        let (hours, minutes) = clock.split_once(':').ok_or_else(|| bad(self))?;
        let number = |text: &str| text.parse::<i32>().ok().filter(|_| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()));
        let (Some(hours), Some(minutes)) = (number(hours), number(minutes)) else { return Err(bad(self)) };
        self.range(hours <= 24, "time zone offset hour")?;
        self.range(minutes <= 60, "time zone offset minute")?;
        match sign {
            "+" => Ok(hours * 3600 + minutes * 60),
            "-" => Ok(-(hours * 3600 + minutes * 60)),
            _ => Err(bad(self)),
        }
    }

    fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("parsing time {:?}: extra text: {:?}", self.text, self.rest)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_seconds_and_moved_to_utc() {
        for (text, want) in [
            ("2020-01-02T03:04:05.999Z", "2020-01-02T03:04:05Z"),
            ("2020-01-02T03:04:05+02:00", "2020-01-02T01:04:05Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
            ("0001-01-01T00:00:00Z", ""),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(want), "{text}");
        }
    }
}
