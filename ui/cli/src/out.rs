//! Writing for a person: tables, sizes, colour.

use std::io::Write;

/// Standard output; a closed pipe ends the program quietly, as other tools do.
pub fn line(text: impl std::fmt::Display) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Standard error: talk, progress, warnings.
pub fn talk(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Columns as wide as their widest cell, three spaces apart. The first row is the head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let text = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(at, cell)| format!("{cell:<width$}", width = widths[at]));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    rows.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// `12.3 MB`
pub fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if amount < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1000.0;
    }
    format!("{amount:.1} TB")
}

/// Green or red on a terminal.
pub fn mark(good: bool, colour: bool) -> String {
    let sign = if good { "ok" } else { "failed" };
    match (colour, good) {
        (false, _) => sign.into(),
        (true, true) => format!("\x1b[32m{sign}\x1b[0m"),
        (true, false) => format!("\x1b[31m{sign}\x1b[0m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_do_not_trail() {
        let rows = vec![vec!["NAME".into(), "SIZE".into()], vec!["a-long-name".into(), "1".into()]];
        assert_eq!(table(&rows), "NAME          SIZE\na-long-name   1");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!([size(999), size(1_500), size(2_340_000)], ["999 B", "1.5 kB", "2.3 MB"]);
    }
}
