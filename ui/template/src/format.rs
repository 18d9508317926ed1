//! Go's `fmt` over values of templates: `printf` with all verbs, flags, widths and indexes, and its marks for what does not fit
//! (`%!d(string=x)`).

mod numbers;
mod verbs;

use schema::Value as Document;

use crate::OUTPUT_BYTES_MAX;
use crate::value::Value;
use verbs::Spec;

/// A width or precision above this is none (Go's own bound).
const WIDTH_MAX: usize = 1_000_000;
const TOO_LONG: &str = "the text would be too long";

/// Values one after the other, with a space where neither of two is a text.
pub fn sprint(values: &[Value<'_>]) -> Result<String, String> {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        let is_text = |value: &Value<'_>| value.document().is_string();
        if at > 0 && !is_text(value) && !is_text(&values[at - 1]) {
            out.push(' ');
        }
        out.push_str(&plain(value));
        if out.len() > OUTPUT_BYTES_MAX {
            return Err(TOO_LONG.into());
        }
    }
    Ok(out)
}

/// Values with spaces between them and a line break after them.
pub fn sprintln(values: &[Value<'_>]) -> String {
    let texts: Vec<String> = values.iter().map(plain).collect();
    texts.join(" ") + "\n"
}

fn plain(value: &Value<'_>) -> String {
    schema::go::plain(value.document())
}

/// `printf`
pub fn sprintf(format: &str, values: &[Value<'_>]) -> Result<String, String> {
    let mut printer = Printer { rest: format, values, next: 0, reordered: false, good_index: true, out: String::new() };
    while let Some(at) = printer.rest.find('%') {
        printer.out.push_str(&printer.rest[..at]);
        printer.rest = &printer.rest[at + 1..];
        printer.verb();
        if printer.out.len() > OUTPUT_BYTES_MAX {
            return Err(TOO_LONG.into());
        }
    }
    printer.out.push_str(printer.rest);
    printer.extra();
    Ok(printer.out)
}

struct Printer<'f, 'v, 'd> {
    rest: &'f str,
    values: &'v [Value<'d>],
    /// The value that the next verb takes.
    next: usize,
    /// Whether an index was named: then values left over are no mistake.
    reordered: bool,
    good_index: bool,
    out: String,
}

impl Printer<'_, '_, '_> {
    fn accept(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn verb(&mut self) {
        self.good_index = true;
        let mut spec = self.flags();
        let after_index = self.index();
        spec.width = self.width(&mut spec, after_index);
        self.precision(&mut spec);
        self.index();
        let Some(verb) = self.rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return;
        };
        self.rest = &self.rest[verb.len_utf8()..];
        if verb == '%' {
            self.out.push('%');
        } else if !self.good_index {
            self.out.push_str(&format!("%!{verb}(BADINDEX)"));
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            spec.print(verb, value, &mut self.out);
        } else {
            self.out.push_str(&format!("%!{verb}(MISSING)"));
        }
    }

    fn flags(&mut self) -> Spec {
        let mut spec = Spec::default();
        loop {
            match self.rest.chars().next() {
                Some('#') => spec.sharp = true,
                Some('0') => spec.zero = true,
                Some('+') => spec.plus = true,
                Some('-') => spec.minus = true,
                Some(' ') => spec.space = true,
                _ => return spec,
            }
            self.rest = &self.rest[1..];
        }
    }

    /// `[2]`: the value that comes next. Whether there was one.
    fn index(&mut self) -> bool {
        let Some(inner) = self.rest.strip_prefix('[') else { return false };
        self.reordered = true;
        let Some(end) = inner.find(']') else {
            self.good_index = false;
            self.rest = inner;
            return false;
        };
        let number = inner[..end].parse::<usize>().ok().and_then(|at| at.checked_sub(1)).filter(|at| *at < self.values.len());
        self.rest = &inner[end + 1..];
        self.good_index &= number.is_some();
        self.next = number.unwrap_or(self.next);
        number.is_some()
    }

    fn width(&mut self, spec: &mut Spec, after_index: bool) -> Option<usize> {
        if self.accept('*') {
            let width = self.star();
            if width.is_none() {
                self.out.push_str("%!(BADWIDTH)");
            }
            spec.minus |= width.is_some_and(|width| width < 0);
            return width.and_then(|width| usize::try_from(width.unsigned_abs()).ok());
        }
        let width = self.number();
        if after_index && width.is_some() {
            self.good_index = false;
        }
        width
    }

    fn precision(&mut self, spec: &mut Spec) {
        if !self.accept('.') {
            return;
        }
        self.index();
        if !self.accept('*') {
            spec.precision = Some(self.number().unwrap_or_default());
            return;
        }
        match self.star() {
            // A negative one is none.
            Some(precision) => spec.precision = usize::try_from(precision).ok(),
            None => self.out.push_str("%!(BADPREC)"),
        }
    }

    /// A number from the values.
    fn star(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        let number = value.document().as_i64()?;
        (number.unsigned_abs() <= WIDTH_MAX as u64).then_some(number)
    }

    fn number(&mut self) -> Option<usize> {
        let length = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits.parse().ok().filter(|number| *number <= WIDTH_MAX)
    }

    /// Values that no verb took.
    fn extra(&mut self) {
        if self.reordered || self.next >= self.values.len() {
            return;
        }
        let shown = |value: &Value<'_>| match value.document() {
            Document::Null => "<nil>".to_owned(),
            _ => format!("{}={}", value.type_name(), plain(value)),
        };
        let all: Vec<String> = self.values[self.next..].iter().map(shown).collect();
        self.out.push_str(&format!("%!(EXTRA {})", all.join(", ")));
    }
}
