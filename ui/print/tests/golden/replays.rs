//! Replays of the golden vectors of what people read. `cargo xtask golden` runs the same functions over any folder.

use print::columns::Columns;
use print::table::Options;
use print::template::GoTemplate;
use print::{Table, kyaml, sort, whole};
use schema::{DocExt, Value, jsonpath};

/// One file of vectors and how one line of it is checked. `Err` says what came out instead.
pub struct Replay {
    pub file: &'static str,
    check: fn(&Value, &Value) -> Result<(), String>,
}

pub const ALL: &[Replay] = &[Replay { file: "output.jsonl", check: output }, Replay { file: "tables.jsonl", check: tables }];

impl Replay {
    /// Every line of a file: its number, its `case` and the verdict.
    pub fn run(&self, text: &str) -> Vec<(usize, String, Result<(), String>)> {
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("vectors are JSON lines")).collect();
        let note = lines.iter().find(|line| line.str_at("how") == "note").cloned().unwrap_or_default();
        let cases = lines.iter().enumerate().filter(|(_, line)| line.str_at("how") != "note");
        cases.map(|(at, line)| (at + 1, line.str_at("case").to_owned(), (self.check)(line, &note["object"]))).collect()
    }
}

fn output(line: &Value, list: &Value) -> Result<(), String> {
    let object = &line["object"];
    match line.str_at("how") {
        "custom-columns" => {
            let columns = Columns::parse(line.str_at("spec"), line.bool_at("noHeaders"));
            outcome(line, columns.and_then(|columns| columns.print(list)).map(Value::from))
        }
        "go-template" => {
            let mut out = String::new();
            let template = GoTemplate::parse(line.str_at("template"), true);
            outcome(line, template.and_then(|template| template.print(list, &mut out)).map(|()| out.into()))
        }
        "sort-by" => {
            let field = line.str_at("field");
            if let Some(want) = line.get("relaxed") {
                same(&jsonpath::relaxed(field).map(Value::from), &Ok(want.clone()))?;
            }
            let items = list.items_at("items");
            let names = |order: Vec<usize>| order.iter().map(|at| items[*at]["metadata"]["name"].clone()).collect();
            outcome(line, sort::order(items, field).map(names))
        }
        "json" => outcome(line, Ok(whole::json(object).into())),
        "yaml" => outcome(line, Ok(whole::yaml(object).into())),
        "kyaml" => outcome(line, Ok(kyaml::print(object).into())),
        how => Err(format!("no engine for {how:?}")),
    }
}

fn tables(line: &Value, _: &Value) -> Result<(), String> {
    let given = &line["options"];
    let options = Options {
        no_headers: given.bool_at("noHeaders"),
        wide: given.bool_at("wide"),
        with_namespace: given.bool_at("withNamespace"),
        kind: if given.bool_at("withKind") { given.str_at("kind").to_owned() } else { String::new() },
        show_labels: given.bool_at("showLabels"),
        column_labels: given.items_at("columnLabels").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    };
    outcome(line, Ok(Table::new(options).print(&line["table"]).into()))
}

fn outcome(line: &Value, got: Result<Value, String>) -> Result<(), String> {
    let want = line.get("error").map_or_else(|| Ok(line["want"].clone()), |error| Err(error.as_str().unwrap_or_default().to_owned()));
    same(&got, &want)
}

fn same<T: PartialEq + std::fmt::Debug>(got: &T, want: &T) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("got {got:?}, want {want:?}")) }
}
