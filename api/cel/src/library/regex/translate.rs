//! From RE2's syntax to that of the engine: the same language but for ASCII classes, quoting and brackets in brackets.

/// Repetition counts above this are refused.
const REPEAT_MAX: u32 = 1_000;

/// The pattern for the engine, or what is wrong with it.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut translator =
        Translator { pattern, rest: pattern, out: String::with_capacity(pattern.len()), depth: 0, repeatable: false, repeated: None };
    translator.run().map_err(|(what, which)| format!("error parsing regexp: {what}: `{which}`"))?;
    Ok(translator.out)
}

/// What is wrong, and the part of the pattern that is.
type Wrong<'a> = (&'static str, &'a str);

struct Translator<'a> {
    pattern: &'a str,
    rest: &'a str,
    out: String,
    depth: usize,
    /// Whether there is something that an operator could repeat.
    repeatable: bool,
    /// The repetition that has just been read.
    repeated: Option<&'a str>,
}

impl<'a> Translator<'a> {
    fn run(&mut self) -> Result<(), Wrong<'a>> {
        while let Some(c) = self.rest.chars().next() {
            let before = self.repeated.take();
            match c {
                '*' | '+' | '?' => self.repetition(before, 1)?,
                '{' if repeat_length(self.rest).is_some() => self.counted(before)?,
                '(' => self.open()?,
                ')' => {
                    self.depth = self.depth.checked_sub(1).ok_or(("unexpected )", self.pattern))?;
                    self.take(1, true);
                }
                '[' => self.class()?,
                '\\' => self.escape()?,
                '|' => self.take(1, false),
                '^' | '$' => self.take(1, true),
                '{' | '}' | ']' => {
                    self.out.push('\\');
                    self.take(1, true);
                }
                c => self.take(c.len_utf8(), true),
            }
        }
        if self.depth > 0 { Err(("missing closing )", self.pattern)) } else { Ok(()) }
    }

    /// Copies as many bytes.
    fn take(&mut self, bytes: usize, repeatable: bool) {
        self.out.push_str(&self.rest[..bytes]);
        self.rest = &self.rest[bytes..];
        self.repeatable = repeatable;
    }

    fn repetition(&mut self, before: Option<&'a str>, bytes: usize) -> Result<(), Wrong<'a>> {
        let operator = &self.rest[..bytes];
        if let Some(before) = before {
            // Both operators, as they stand one after the other.
            let start = before.as_ptr() as usize - self.pattern.as_ptr() as usize;
            let end = start + before.len() + bytes;
            return Err(("invalid nested repetition operator", &self.pattern[start..end]));
        }
        if !self.repeatable {
            return Err(("missing argument to repetition operator", operator));
        }
        let lazy = usize::from(self.rest[bytes..].starts_with('?'));
        self.repeated = Some(&self.rest[..bytes + lazy]);
        self.take(bytes + lazy, true);
        Ok(())
    }

    /// `{2}`, `{2,}`, `{2,3}`
    fn counted(&mut self, before: Option<&'a str>) -> Result<(), Wrong<'a>> {
        let length = repeat_length(self.rest).expect("looked at already");
        let whole = &self.rest[..length];
        let (least, most) = whole[1..length - 1].split_once(',').unwrap_or((&whole[1..length - 1], ""));
        let count = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        let backwards = !most.is_empty() && count(least) > count(most);
        if backwards || count(least) > REPEAT_MAX || (!most.is_empty() && count(most) > REPEAT_MAX) {
            return Err(("invalid repeat count", whole));
        }
        self.repetition(before, length)
    }

    fn open(&mut self) -> Result<(), Wrong<'a>> {
        self.depth += 1;
        let Some(flags) = self.rest.strip_prefix("(?") else {
            self.take(1, false);
            return Ok(());
        };
        if let Some(name) = flags.strip_prefix("P<").or_else(|| flags.strip_prefix('<')) {
            let skipped = self.rest.len() - name.len();
            let length = name.find('>').ok_or(("invalid named capture", self.rest))?;
            let valid = length > 0 && name[..length].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !valid || name.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(("invalid named capture", &self.rest[..skipped + length + 1]));
            }
            self.take(skipped + length + 1, false);
            return Ok(());
        }
        let length = flags.find(|c: char| !"imsU-".contains(c)).unwrap_or(flags.len());
        match flags[length..].chars().next() {
            Some(':') => self.take(length + 3, false),
            Some(')') if length > 0 => {
                self.depth -= 1;
                self.take(length + 3, false);
            }
            Some(c) => return Err(("invalid or unsupported Perl syntax", &self.rest[..2 + length + c.len_utf8()])),
            None => return Err(("missing closing )", self.pattern)),
        }
        Ok(())
    }

    /// An escape outside of brackets.
    fn escape(&mut self) -> Result<(), Wrong<'a>> {
        let c = self.rest[1..].chars().next().ok_or(("trailing backslash at end of expression", ""))?;
        let replaced = match c {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            's' => "[\\t\\n\\f\\r ]",
            'S' => "[^\\t\\n\\f\\r ]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            'b' => "(?-u:\\b)",
            'B' => "(?-u:\\B)",
            'Q' => {
                self.quoted();
                return Ok(());
            }
            'A' | 'z' => {
                self.take(2, true);
                return Ok(());
            }
            _ => {
                let length = self.literal_escape()?;
                self.take(length, true);
                return Ok(());
            }
        };
        self.out.push_str(replaced);
        self.rest = &self.rest[2..];
        self.repeatable = true;
        Ok(())
    }

    /// `\Q…\E`
    fn quoted(&mut self) {
        let body = &self.rest[2..];
        let (body, rest) = body.split_once("\\E").unwrap_or((body, ""));
        self.out.push_str(&regex::escape(body));
        self.rest = rest;
        self.repeatable |= !body.is_empty();
    }

    /// The length of an escape for one character or a Unicode class, which the engine reads the same way.
    fn literal_escape(&self) -> Result<usize, Wrong<'a>> {
        let rest = self.rest;
        let c = rest[1..].chars().next().ok_or(("trailing backslash at end of expression", ""))?;
        let until_brace = |from: usize| rest[from..].find('}').map(|at| from + at + 1);
        let length = match c {
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => Some(2),
            'x' if rest[2..].starts_with('{') => until_brace(3),
            'x' => rest.get(2..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())).map(|_| 4),
            'p' | 'P' if rest[2..].starts_with('{') => until_brace(3),
            'p' | 'P' => rest[2..].chars().next().map(|letter| 2 + letter.len_utf8()),
            c if c.is_ascii_punctuation() => Some(2),
            _ => None,
        };
        length.ok_or(("invalid escape sequence", &rest[..1 + c.len_utf8()]))
    }

    fn class(&mut self) -> Result<(), Wrong<'a>> {
        let whole = self.rest;
        let missing = ("missing closing ]", whole);
        self.take(1, true);
        if self.rest.starts_with('^') {
            self.take(1, true);
        }
        let mut first = true;
        loop {
            let c = self.rest.chars().next().ok_or(missing)?;
            match c {
                ']' if !first => {
                    self.take(1, true);
                    return Ok(());
                }
                '[' if self.rest.starts_with("[:") && self.rest.contains(":]") => {
                    let length = self.rest.find(":]").expect("looked at already") + 2;
                    if !POSIX.contains(&self.rest[2..length - 2].trim_start_matches('^')) {
                        return Err(("invalid character class range", &self.rest[..length]));
                    }
                    self.take(length, true);
                }
                '\\' if self.rest[1..].starts_with(['d', 'D', 's', 'S', 'w', 'W']) => self.escape()?,
                _ => self.class_range(missing)?,
            }
            first = false;
        }
    }

    /// A character of a class, or two with a dash between them.
    fn class_range(&mut self, missing: Wrong<'a>) -> Result<(), Wrong<'a>> {
        let start = self.rest;
        let low = self.class_char(missing)?;
        if !self.rest.starts_with('-') || self.rest[1..].starts_with(']') {
            return Ok(());
        }
        self.out.push('-');
        self.rest = &self.rest[1..];
        let high = self.class_char(missing)?;
        match (low, high) {
            (Some(low), Some(high)) if low > high => Err(("invalid character class range", &start[..start.len() - self.rest.len()])),
            _ => Ok(()),
        }
    }

    /// One character; `None` where its value is the engine's to work out.
    fn class_char(&mut self, missing: Wrong<'a>) -> Result<Option<char>, Wrong<'a>> {
        let c = self.rest.chars().next().ok_or(missing)?;
        if c == '\\' {
            let length = self.literal_escape()?;
            self.take(length, true);
            return Ok(None);
        }
        if "[]&~-^".contains(c) {
            self.out.push('\\');
        }
        self.take(c.len_utf8(), true);
        Ok(Some(c))
    }
}

const POSIX: &[&str] =
    &["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word", "xdigit"];

/// The length of `{n}`, `{n,}` or `{n,m}`; anything else with a brace is text.
fn repeat_length(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let (least, most) = text[1..end].split_once(',').map_or((&text[1..end], None), |(least, most)| (least, Some(most)));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!least.is_empty() && digits(least) && most.is_none_or(digits)).then_some(end + 1)
}
