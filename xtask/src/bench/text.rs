//! Figures out of the lines that measuring programs print.

use anyhow::{Context, Result};

/// The line that has all of the words.
pub(crate) fn line<'a>(output: &'a str, words: &[&str]) -> Result<&'a str> {
    let found = output.lines().find(|line| words.iter().all(|word| line.contains(word)));
    found.with_context(|| format!("no line with {words:?} in:\n{}", output.trim_end()))
}

/// The number that follows the word, spaces between them or not.
pub(crate) fn after(line: &str, word: &str) -> Result<f64> {
    let rest = line.split_once(word).map(|(_, rest)| rest.trim_start()).with_context(|| format!("no {word:?} in {line:?}"))?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && !".e+-".contains(c)).unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', '-', '+', 'e']).parse().with_context(|| format!("no number after {word:?} in {line:?}"))
}

/// The number that stands before the word.
pub(crate) fn before(line: &str, word: &str) -> Result<f64> {
    let head = line.split_once(word).with_context(|| format!("no {word:?} in {line:?}"))?.0;
    let number = head.split_whitespace().next_back().unwrap_or_default();
    number.parse().with_context(|| format!("no number before {word:?} in {line:?}"))
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_beside_their_words() {
        let text = "x\n12:00:01 batch load=0.5  100 pods: created 0.12 s, all running 1.50 s; each n=100 p50=31.0 ms keeper=0.010\n";
        let row = line(text, &["batch", "all running"]).unwrap();
        assert_eq!(after(row, "all running").unwrap(), 1.5);
        assert_eq!(after(row, "p50=").unwrap(), 31.0);
        assert_eq!(before(row, " s, all").unwrap(), 0.12);
        assert_eq!(after("a=4.5e+04  b=1", "a=").unwrap(), 45_000.0);
        assert!(after(row, "p99=").unwrap_err().to_string().contains("p99="));
        assert!(line(text, &["none"]).is_err());
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
