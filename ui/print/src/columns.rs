//! `-o custom-columns=NAME:.metadata.name,IP:.status.podIP`: headers and paths.

use schema::jsonpath::{self, Missing, Template};
use schema::{Value, go};

use crate::escaped;
use crate::name::objects;
use crate::tabs::Tabs;

/// Columns that a person named.
#[derive(Clone, Debug)]
pub struct Columns {
    columns: Vec<(String, Template)>,
    no_headers: bool,
}

impl Columns {
    /// From `HEADER:path,HEADER:path`.
    pub fn parse(spec: &str, no_headers: bool) -> Result<Self, String> {
        if spec.is_empty() {
            return Err("custom-columns format specified but no custom columns given".into());
        }
        let column = |text: &str| match text.split_once(':') {
            Some((header, path)) => jsonpath::relaxed(path).map(|path| (header.to_owned(), path)),
            None => Err(format!("unexpected custom-columns spec: {text}, expected <header>:<json-path-expr>")),
        };
        Self::of(spec.split(',').map(column).collect::<Result<_, _>>()?, no_headers)
    }

    /// From a file: one line of headers, one of paths.
    pub fn parse_file(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let mut words = |missing: &str| match lines.next() {
            Some(line) => Ok(line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()),
            None => Err(format!(
                "invalid template, missing {missing} line. Expected format is one line of space separated headers, one line of space \
                 separated column specs."
            )),
        };
        let (headers, specs) = (words("header")?, words("spec")?);
        if headers.len() != specs.len() {
            return Err(format!("number of headers ({}) and field specifications ({}) don't match", headers.len(), specs.len()));
        }
        let paths = specs.iter().map(|spec| jsonpath::relaxed(spec)).collect::<Result<Vec<_>, _>>()?;
        Self::of(headers.into_iter().zip(paths).collect(), false)
    }

    fn of(columns: Vec<(String, String)>, no_headers: bool) -> Result<Self, String> {
        let read = |(header, path): (String, String)| Template::parse(&path).map(|path| (header, path));
        Ok(Self { columns: columns.into_iter().map(read).collect::<Result<_, _>>()?, no_headers })
    }

    /// An object, or those of a list.
    pub fn print(&self, document: &Value) -> Result<String, String> {
        let mut tabs = Tabs::default();
        if !self.no_headers {
            tabs.line(&self.columns.iter().map(|(header, _)| header.as_str()).collect::<Vec<_>>().join("\t"));
        }
        for object in objects(document) {
            let cells = self.columns.iter().map(|(_, path)| cell(path, object));
            tabs.line(&cells.collect::<Result<Vec<_>, _>>()?.join("\t"));
        }
        Ok(tabs.finish())
    }
}

/// What a path finds, as Go prints it; `<none>` where it finds nothing.
fn cell(path: &Template, object: &Value) -> Result<String, String> {
    let found = path.find(object, Missing::Allowed)?;
    let mut texts: Vec<String> = found.iter().flatten().map(|value| escaped(&go::plain(value))).collect();
    if found.first().is_none_or(Vec::is_empty) {
        texts.insert(0, "<none>".into());
    }
    Ok(texts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_columns_in_two_lines() {
        let columns = Columns::parse_file("NAME  KIND\nmetadata.name {.kind}\n").expect("columns");
        let pod = schema::json!({"kind": "Pod", "metadata": {"name": "a\u{1b}[31m"}});
        assert_eq!(
            columns.print(&pod).as_deref(),
            Ok("NAME       KIND\na^[[31m    Pod\n".replace("NAME       ", "NAME      ").replace("m    ", "m   ").as_str())
        );
        for (file, why) in [("", "missing header line"), ("A\n", "missing spec line"), ("A B\nx", "number of headers (2)")] {
            assert!(Columns::parse_file(file).expect_err(file).contains(why), "{file}");
        }
    }
}
