//! An expression's text, places in it, and issues told in the words and drawing that clients match.
//!
//! Columns count code points from zero; a message shows them from one.

use std::fmt;

/// The text of one expression.
#[derive(Debug, Clone)]
pub struct Source {
    text: String,
    /// Code-point offsets of the starts of lines after the first.
    line_starts: Vec<u32>,
}

impl Source {
    pub fn new(text: &str) -> Self {
        let line_starts = text.chars().enumerate().filter(|(_, c)| *c == '\n').map(|(at, _)| at as u32 + 1).collect();
        Self { text: text.to_owned(), line_starts }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line (from one) and column (from zero) of a code-point offset.
    pub fn location(&self, offset: u32) -> Location {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).map_or(0, |above| self.line_starts[above]);
        Location { line: line as i64 + 1, column: i64::from(offset - start) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// -1 where the whole text is meant.
    pub line: i64,
    /// -1 where an empty text has no column at all.
    pub column: i64,
}

/// One thing wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub location: Location,
    pub message: String,
}

/// Everything wrong with an expression, in the order of its places.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Issues {
    text: Source,
    issues: Vec<Issue>,
    /// How many were not kept.
    truncated: usize,
}

/// As many are told; the rest is counted.
const ISSUES_MAX: usize = 100;
/// Longer lines are not drawn below a message.
const SNIPPET_BYTES_MAX: usize = 16_384;

impl Location {
    /// Of the text as a whole.
    pub(crate) const NOWHERE: Self = Self { line: -1, column: -1 };
}

impl Issues {
    pub fn new(text: Source) -> Self {
        Self { text, issues: Vec::new(), truncated: 0 }
    }

    pub fn source(&self) -> &Source {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.issues.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Issue> {
        self.issues.iter()
    }

    pub(crate) fn report(&mut self, offset: u32, message: impl Into<String>) {
        let location = self.text.location(offset);
        self.report_at(location, message);
    }

    pub(crate) fn report_at(&mut self, location: Location, message: impl Into<String>) {
        if self.issues.len() == ISSUES_MAX {
            self.truncated += 1;
        } else {
            self.issues.push(Issue { location, message: message.into() });
        }
    }

    /// Ends a phase: the issues, or `value` where there are none.
    pub(crate) fn finish<T>(mut self, value: T) -> Result<T, Box<Self>> {
        if self.is_empty() {
            return Ok(value);
        }
        self.issues.sort_by_key(|issue| issue.location);
        Err(Box::new(self))
    }

    fn line(&self, number: i64) -> Option<&str> {
        let index = usize::try_from(number - 1).ok()?;
        (!self.text.text.is_empty()).then(|| self.text.text.split('\n').nth(index)).flatten()
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, issue) in self.issues.iter().enumerate() {
            let Location { line, column } = issue.location;
            let between = if at == 0 { "" } else { "\n" };
            write!(f, "{between}ERROR: <input>:{line}:{}: {}", column + 1, issue.message)?;
            if let Some(text) = self.line(line).filter(|text| text.len() <= SNIPPET_BYTES_MAX) {
                write!(f, "\n | {}\n | {}", text.replace('\t', " "), pointer(text, column.max(0) as usize))?;
            }
        }
        if self.truncated > 0 {
            write!(f, "\n{} more errors were truncated", self.truncated)?;
        }
        Ok(())
    }
}

/// Dots up to the column and a caret, wide ones below wide characters.
fn pointer(line: &str, column: usize) -> String {
    let mut marks: String = line.chars().take(column).map(|c| if c.len_utf8() > 1 { '\u{ff0e}' } else { '.' }).collect();
    marks.push(if line.chars().nth(column).is_some_and(|c| c.len_utf8() > 1) { '\u{ff3e}' } else { '^' });
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_are_drawn_below_their_line() {
        let mut issues = Issues::new(Source::new("a\né + b"));
        issues.report(4, "second");
        issues.report(2, "first");
        let text = issues.finish(()).unwrap_err().to_string();
        assert_eq!(text, "ERROR: <input>:2:1: first\n | é + b\n | \u{ff3e}\nERROR: <input>:2:3: second\n | é + b\n | \u{ff0e}.^");
    }
}
