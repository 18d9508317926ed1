//! Tables as the API server sends them (`meta.k8s.io/v1 Table`), for a terminal.

use schema::{DocExt, Value, go};

use crate::escaped;
use crate::tabs::Tabs;

/// Rows after which a part of a table is aligned and done.
const ROWS_AT_ONCE: usize = 100;

/// What is shown of a table.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub no_headers: bool,
    /// Columns of a priority above 0 too.
    pub wide: bool,
    pub with_namespace: bool,
    /// `pod`, `deployment.apps`: in front of each name; `""` for none.
    pub kind: String,
    /// A column of all labels.
    pub show_labels: bool,
    /// A column for each of these labels.
    pub column_labels: Vec<String>,
}

/// Prints tables one after the other: headers come again only with other columns.
#[derive(Debug, Default)]
pub struct Table {
    options: Options,
    columns: Vec<Column>,
    headers_shown: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Column {
    name: String,
    is_name: bool,
    priority: i64,
}

impl Column {
    fn of(definition: &Value) -> Self {
        Self {
            name: definition.str_at("name").to_owned(),
            is_name: definition.str_at("format") == "name" && definition.str_at("type") == "string",
            priority: definition.i64_at("priority").unwrap_or_default(),
        }
    }

    fn added(name: &str) -> Self {
        Self { name: name.to_owned(), is_name: false, priority: 0 }
    }
}

impl Table {
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// One table. A table of a watch comes without columns: it has those of the one before.
    pub fn print(&mut self, table: &Value) -> String {
        self.print_event(None, table)
    }

    /// A table with what happened to its rows: `ADDED`, `DELETED`.
    pub fn print_event(&mut self, event: Option<&str>, table: &Value) -> String {
        let columns: Vec<Column> = table.items_at("columnDefinitions").iter().map(Column::of).collect();
        if !columns.is_empty() && columns != self.columns {
            self.columns = columns;
            self.headers_shown = false;
        }
        let no_headers = self.options.no_headers || self.headers_shown;
        let rows = table.items_at("rows");
        self.headers_shown |= !rows.is_empty();
        let rows: Vec<Vec<Option<String>>> = rows.iter().map(|row| self.row(event, row)).collect();
        aligned(&self.shown_columns(event), &rows, self.options.wide, no_headers)
    }

    fn shown_columns(&self, event: Option<&str>) -> Vec<Column> {
        let labels = self.options.column_labels.iter().map(|label| Column::added(label.rsplit('/').next().unwrap_or_default()));
        let mut columns: Vec<Column> = event.map(|_| Column::added("Event")).into_iter().collect();
        columns.extend(self.options.with_namespace.then(|| Column::added("Namespace")));
        columns.extend(self.columns.iter().cloned());
        columns.extend(labels);
        columns.extend(self.options.show_labels.then(|| Column::added("Labels")));
        columns
    }

    fn row(&self, event: Option<&str>, row: &Value) -> Vec<Option<String>> {
        let object = row.get("object").filter(|object| object.is_object());
        let name_at = self.columns.iter().position(|column| column.is_name).filter(|_| !self.options.kind.is_empty());
        let mut cells: Vec<Option<String>> = event.map(|event| Some(format!("{event:8}"))).into_iter().collect();
        if self.options.with_namespace {
            cells.push(object.map(|object| object.str_at("metadata.namespace").to_owned()));
        }
        for (at, cell) in row.items_at("cells").iter().enumerate() {
            cells.push(if name_at == Some(at) {
                Some(format!("{}/{}", self.options.kind.to_lowercase(), go::as_string(cell)))
            } else {
                (!cell.is_null()).then(|| go::plain(cell))
            });
        }
        self.label_cells(object, &mut cells);
        cells
    }

    fn label_cells(&self, object: Option<&Value>, cells: &mut Vec<Option<String>>) {
        let wanted = self.options.column_labels.len() + usize::from(self.options.show_labels);
        let Some(object) = object else {
            // Upstream counts the cells anew after each that it adds, and so adds every other one.
            cells.extend(std::iter::repeat_n(None, wanted.div_ceil(2)));
            return;
        };
        let labels = object.map_at("metadata.labels");
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned();
        cells.extend(self.options.column_labels.iter().map(|name| Some(label(name))));
        if self.options.show_labels {
            let all: Vec<String> = labels.into_iter().flatten().map(|(name, value)| format!("{name}={}", go::plain(value))).collect();
            cells.push(Some(if all.is_empty() { "<none>".into() } else { all.join(",") }));
        }
    }
}

/// Headers and rows below each other. What is widest in each column is known before the first line: parts of a long table
/// are aligned by themselves.
fn aligned(columns: &[Column], rows: &[Vec<Option<String>>], wide: bool, no_headers: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let shown: Vec<usize> = (0..columns.len()).filter(|at| wide || columns[*at].priority == 0).collect();
    let mut tabs = Tabs::default();
    if !no_headers {
        let headers: Vec<String> = columns.iter().map(|column| column.name.to_uppercase()).collect();
        tabs.line(&padded(&shown, rows, |at| Some((headers[at].clone(), headers[at].len()))));
    }
    for (number, row) in rows.iter().enumerate() {
        if number == 0 && no_headers {
            let cell = |at: usize| row.get(at).map(Option::as_deref);
            tabs.line(&padded(&shown, rows, |at| {
                cell(at).map(|cell| (cell.map(shown_text).unwrap_or_default(), cell.map_or(0, str::len)))
            }));
        } else {
            let cells = shown.iter().filter_map(|at| row.get(*at)).map(|cell| cell.as_deref().map(shown_text).unwrap_or_default());
            tabs.line(&cells.collect::<Vec<_>>().join("\t"));
        }
        if (number + 1) % ROWS_AT_ONCE == 0 {
            tabs.flush();
        }
    }
    tabs.finish()
}

/// A line whose cells, but for that of the last column, are as long as the longest of their columns, in bytes.
fn padded(shown: &[usize], rows: &[Vec<Option<String>>], cell: impl Fn(usize) -> Option<(String, usize)>) -> String {
    let longest = |at: usize| rows.iter().filter_map(|row| row.get(at)?.as_ref()).map(String::len).max().unwrap_or_default();
    let cells = shown.iter().filter_map(|at| {
        let (text, length) = cell(*at)?;
        let missing = if Some(at) == shown.last() { 0 } else { longest(*at).saturating_sub(length) };
        Some(text + &" ".repeat(missing))
    });
    cells.collect::<Vec<_>>().join("\t")
}

/// A cell on one line.
fn shown_text(text: &str) -> String {
    match text.find(['\u{c}', '\n', '\r']) {
        Some(end) => escaped(&text[..end]) + "...",
        None => escaped(text),
    }
}
