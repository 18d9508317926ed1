//! `fieldsV1` as bytes, read by the rules of upstream's reader and with its texts: clients see them in warnings.
//!
//! The reader takes unknown sorts of steps for those of a newer version and leaves them out.

use super::path::{self, Step};
use super::set::FieldSet;
use crate::{DocExt, Value, go, time};

/// Levels of fields within each other.
const DEPTH_MAX: usize = 10_000;

/// Whether an entry can be read. `at` is its place in the list, `fields` its `fieldsV1`.
pub fn check(at: usize, entry: &Value, fields: &str) -> Result<(), String> {
    if !["Apply", "Update"].contains(&entry.str_at("operation")) {
        return Err("operation must be `Apply` or `Update`".into());
    }
    if entry.str_at("apiVersion").is_empty() {
        return Err("apiVersion must not be empty".into());
    }
    match entry.str_at("fieldsType") {
        "FieldsV1" => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
        other => return Err(format!("invalid fieldsType {} in managed fields entry {at}", go::quote(other))),
    }
    let told = |why| format!("error decoding versioned set from {}: error decoding set: {why}", print(entry, fields));
    read(fields).map(drop).map_err(told)
}

/// Whether all entries of a document can be read.
pub fn check_all(entries: &[Value]) -> Result<(), String> {
    let fields = |entry: &Value| entry.get("fieldsV1").unwrap_or(&Value::Null).to_string();
    entries.iter().enumerate().try_for_each(|(at, entry)| check(at, entry, &fields(entry)))
}

/// An entry as Go prints it.
fn print(entry: &Value, fields: &str) -> String {
    let time = match time::parse(entry.str_at("time")) {
        None => "<nil>".to_owned(),
        Some(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
    };
    let text = |name: &str| entry.str_at(name).to_owned();
    let before = [text("manager"), text("operation"), text("apiVersion"), time, text("fieldsType")];
    format!("{{{} {fields} {}}}", before.join(" "), text("subresource"))
}

/// Reads a set. What follows a whole one is not looked at.
pub fn read(fields: &str) -> Result<FieldSet, String> {
    let mut reader = Reader { bytes: fields.as_bytes(), head: 0, error: None };
    let (_, set) = reader.level(0);
    reader.error.map_or(Ok(set), Err)
}

/// The first error counts; reading goes on after one that leaves the place clear.
struct Reader<'a> {
    bytes: &'a [u8],
    head: usize,
    error: Option<String>,
}

impl Reader<'_> {
    /// One level: whether the field above is a member, and what is below of it.
    fn level(&mut self, depth: usize) -> (bool, FieldSet) {
        let (mut set, mut is_member) = (FieldSet::default(), false);
        let _ = self.members(depth, &mut set, &mut is_member);
        (is_member || set.is_empty(), set)
    }

    fn members(&mut self, depth: usize, set: &mut FieldSet, is_member: &mut bool) -> Option<()> {
        match self.token() {
            b'{' if depth < DEPTH_MAX => {}
            b'{' => return self.fail("incrementDepth", "exceeded max depth"),
            b'n' => return self.null(),
            other => return self.fail("ReadMapCB", &format!("expect {{ or n, but found {}", shown(other))),
        }
        match self.token() {
            b'"' => self.head -= 1,
            b'}' => return Some(()),
            other => return self.fail("ReadMapCB", &format!("expect \" after {{, but found {}", shown(other))),
        }
        loop {
            let name = self.text()?;
            let colon = self.token();
            if colon != b':' {
                return self.fail("ReadMapCB", &format!("expect : after object field, but found {}", shown(colon)));
            }
            self.member(&name, depth, set, is_member)?;
            match self.token() {
                b',' => {}
                b'}' => return Some(()),
                _ => return self.fail("ReadMapCB", "object not ended with }"),
            }
        }
    }

    fn member(&mut self, name: &str, depth: usize, set: &mut FieldSet, is_member: &mut bool) -> Option<()> {
        if name == "." {
            *is_member = true;
            return self.skip();
        }
        match step(name) {
            Ok(Some(step)) => {
                let (member, below) = self.level(depth + 1);
                set.put(step, member, below);
                // After a broken value the place is lost.
                self.error.is_none().then_some(())
            }
            Ok(None) => self.skip(),
            Err(why) => {
                let _ = self.fail("parsing key as path element", &why);
                self.skip()
            }
        }
    }

    /// The next byte that is no white space; 0 at the end.
    fn token(&mut self) -> u8 {
        while self.bytes.get(self.head).is_some_and(u8::is_ascii_whitespace) {
            self.head += 1;
        }
        let token = self.bytes.get(self.head).copied();
        self.head += usize::from(token.is_some());
        token.unwrap_or_default()
    }

    fn null(&mut self) -> Option<()> {
        if self.bytes[self.head..].starts_with(b"ull") {
            self.head += 3;
            return Some(());
        }
        self.fail("skipThreeBytes", "expect ull")
    }

    fn text(&mut self) -> Option<String> {
        self.value().or_else(|| {
            let _ = self.fail("ReadString", "expects \" or n, but found something else");
            None
        })
    }

    fn skip(&mut self) -> Option<()> {
        self.value::<serde::de::IgnoredAny>().map(drop).or_else(|| self.fail("Skip", "do not know how to skip what follows"))
    }

    /// One value of JSON.
    fn value<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        let mut stream = serde_json::Deserializer::from_slice(&self.bytes[self.head..]).into_iter();
        let value = stream.next()?.ok()?;
        self.head += stream.byte_offset();
        Some(value)
    }

    fn fail(&mut self, operation: &str, why: &str) -> Option<()> {
        let text = report(operation, why, self.bytes, self.head);
        self.error.get_or_insert(text);
        None
    }
}

fn shown(byte: u8) -> String {
    String::from_utf8_lossy(&[byte]).into_owned()
}

/// An error with what stands around it.
fn report(operation: &str, why: &str, bytes: &[u8], head: usize) -> String {
    let around = |width: usize| {
        let part = &bytes[head.saturating_sub(width)..bytes.len().min(head + width)];
        String::from_utf8_lossy(part).into_owned()
    };
    let at = head.min(10);
    format!("{operation}: {why}, error found in #{at} byte of ...|{}|..., bigger context ...|{}|...", around(10), around(50))
}

/// A step; none of a sort that nobody knows.
fn step(text: &str) -> Result<Option<Step>, String> {
    let (sort, rest) = path::split(text)?;
    match sort {
        'f' => Ok(Some(Step::field(rest))),
        'i' => rest.parse().map(|at| Some(Step::Index(at))).map_err(|_| number_error(rest)),
        'v' => value(rest).map(|value| Some(Step::value(value))),
        'k' => keys(rest).map(|keys| Some(Step::keys(keys))),
        _ => Ok(None),
    }
}

fn number_error(text: &str) -> String {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    format!("strconv.Atoi: parsing {}: {why}", go::quote(text))
}

fn value(text: &str) -> Result<Value, String> {
    let mut reader = Reader { bytes: text.as_bytes(), head: 0, error: None };
    let first = reader.token();
    if !matches!(first, b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'[' | b'{') {
        return Err(report("Read", "unexpected value type: 0", reader.bytes, reader.head.saturating_sub(1)));
    }
    reader.head -= 1;
    reader.value().ok_or_else(|| report("Read", "the value is broken", reader.bytes, reader.head))
}

fn keys(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut reader = Reader { bytes: text.as_bytes(), head: 0, error: None };
    let fail = |reader: &Reader<'_>, why: &str| Err(report("ReadObjectCB", why, reader.bytes, reader.head));
    match reader.token() {
        b'{' => {}
        b'n' => return Ok(Vec::new()),
        other => return fail(&reader, &format!("expect {{ or n, but found {}", shown(other))),
    }
    match reader.token() {
        b'"' | b'}' => reader.head = 0,
        other => return fail(&reader, &format!("expect \" after {{, but found {}", shown(other))),
    }
    let keys: Option<crate::Map<String, Value>> = reader.value();
    keys.map(|keys| keys.into_iter().collect()).ok_or_else(|| report("ReadObjectCB", "the keys are broken", reader.bytes, reader.head))
}
