//! Columns by tabs: cells end with a tab, and cells below each other get one width. A column goes on as long as each line has
//! it; widths are remembered from one block of lines to the next.

/// Columns are at least so wide, padding included.
const WIDTH_MIN: usize = 6;
const PADDING: usize = 3;

/// Lines on their way to being aligned.
#[derive(Debug, Default)]
pub(crate) struct Tabs {
    lines: Vec<Vec<String>>,
    /// The greatest width that each column had.
    remembered: Vec<usize>,
    out: String,
}

impl Tabs {
    /// One line, its cells separated by tabs. A vertical tab is a tab too; a form feed ends a line and all columns.
    pub(crate) fn line(&mut self, text: &str) {
        let mut pieces = text.split('\u{c}').peekable();
        while let Some(piece) = pieces.next() {
            for line in piece.split('\n') {
                self.lines.push(line.split(['\t', '\u{b}']).map(str::to_owned).collect());
            }
            if pieces.peek().is_some() {
                self.flush();
            }
        }
    }

    /// Aligns what is there. Columns of later lines start anew, but not narrower.
    pub(crate) fn flush(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let mut widths: Vec<Vec<usize>> = lines.iter().map(|_| Vec::new()).collect();
        // The last cell of a line ends with no tab and is in no column.
        let with_column =
            |column: usize, among: &[usize]| among.iter().copied().filter(|at| column + 1 < lines[*at].len()).collect::<Vec<_>>();
        let mut among = with_column(0, &(0..lines.len()).collect::<Vec<_>>());
        let mut column = 0;
        while !among.is_empty() {
            for block in among.chunk_by(|one, next| one + 1 == *next) {
                let width = self.width(column, block.iter().map(|at| lines[*at][column].chars().count()));
                block.iter().for_each(|at| widths[*at].push(width));
            }
            column += 1;
            among = with_column(column, &among);
        }
        lines.iter().zip(&widths).for_each(|(line, widths)| self.write(line, widths));
    }

    pub(crate) fn finish(mut self) -> String {
        self.flush();
        self.out
    }

    /// The width of a block of cells below each other.
    fn width(&mut self, column: usize, lengths: impl Iterator<Item = usize>) -> usize {
        let width = lengths.map(|length| length + PADDING).max().unwrap_or_default().max(WIDTH_MIN);
        if self.remembered.len() <= column {
            self.remembered.resize(column + 1, 0);
        }
        self.remembered[column] = self.remembered[column].max(width);
        self.remembered[column]
    }

    fn write(&mut self, line: &[String], widths: &[usize]) {
        for (at, cell) in line.iter().enumerate() {
            self.out.push_str(cell);
            let missing = widths.get(at).copied().unwrap_or_default().saturating_sub(cell.chars().count());
            self.out.extend(std::iter::repeat_n(' ', missing));
        }
        self.out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_end_where_a_line_lacks_them() {
        let mut tabs = Tabs::default();
        ["a\tbb\tc", "long name\tb\tc", "x", "a\tb"].iter().for_each(|line| tabs.line(line));
        assert_eq!(tabs.finish(), "a           bb    c\nlong name   b     c\nx\na           b\n");
    }

    #[test]
    fn the_widest_table_needs_no_stack() {
        let mut tabs = Tabs::default();
        tabs.line(&"x\t".repeat(300_000));
        assert_eq!(tabs.finish().len(), 300_000 * 6 + 1);
    }
}
