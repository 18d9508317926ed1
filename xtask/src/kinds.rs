//! `cargo xtask kinds`: one line a kind and version, with what its file answers.

#![expect(clippy::print_stdout, reason = "the report is this command's output")]

use std::fs;
use std::path::{Path, PathBuf};

use ::kinds::Descriptor;
use ::kinds::kind::Question;
use anyhow::Context as _;
use schema::{DocExt, Value};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only kinds whose group, version or name holds this text
    filter: Option<String>,
    /// The resources of the release: what of it is not served is told at the end
    #[arg(long, default_value = "../shared/kubernetes-1.37/resources.json")]
    release: PathBuf,
}

/// Prints the report. Rules are counted in the kind's own files: each place that tells an error or asks a shared rule.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/kinds/src");
    let files = sources(&source)?;
    println!(
        "{:<62} {:>7} {:>9} {:>8} {:>7} {:>7} {:>12} {:>8}",
        "KIND", "COLUMNS", "SELECTORS", "DEFAULTS", "RULES", "UPDATES", "SUBRESOURCES", "WARNINGS"
    );
    let mut shown = 0;
    for row in ::kinds::all() {
        let name = format!("{}/{}", row.api_version(), row.kind);
        if arguments.filter.as_deref().is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        println!("{}", line(&name, row, count_rules(row, &files)));
        shown += 1;
    }
    println!("{shown} kinds");
    match fs::read(&arguments.release) {
        Ok(text) => print_unserved(&serde_json::from_slice(&text).with_context(|| arguments.release.display().to_string())?),
        Err(_) => println!("what the release has beside them is not told: no {}", arguments.release.display()),
    }
    Ok(())
}

/// What the release has and this server does not. All of it is off by default upstream: a test says so.
fn print_unserved(release: &Value) {
    let is_served = |row: &Value| ::kinds::find(row.str_at("group"), row.str_at("version"), row.str_at("resource")).is_some();
    let rows: Vec<&Value> = release.as_array().into_iter().flatten().filter(|row| !is_served(row)).collect();
    for row in &rows {
        let default = if row.bool_at("served_by_default") { "MISSING" } else { "off by default upstream" };
        println!("{:<62} not served: {default}", format!("{}/{}/{}", row.str_at("group"), row.str_at("version"), row.str_at("kind")));
    }
    println!("{} of the release not served", rows.len());
}

fn line(name: &str, row: &Descriptor, rules: usize) -> String {
    let nothing = row.strategy.nothing();
    let answer = |question: Question, has: &str| if nothing.contains(&question) { "nothing".to_owned() } else { has.to_owned() };
    let wide = row.columns.iter().filter(|column| column.priority > 0).count();
    let columns = match wide {
        0 => row.columns.len().to_string(),
        wide => format!("{}+{wide}", row.columns.len() - wide),
    };
    format!(
        "{name:<62} {columns:>7} {:>9} {:>8} {:>7} {:>7} {:>12} {:>8}",
        row.fields.len() + 1 + usize::from(row.is_namespaced()),
        answer(Question::Defaults, "yes"),
        answer(Question::Rules, &rules.to_string()),
        answer(Question::Updates, "yes"),
        answer(Question::Subresources, "yes"),
        answer(Question::Warnings, "yes"),
    )
}

/// The places in a kind's files that tell an error or hand the list on.
fn count_rules(row: &Descriptor, files: &[(PathBuf, String)]) -> usize {
    let Some((home, _)) = files.iter().find(|(_, text)| is_home(text, row)) else { return 0 };
    let folder = home.with_extension("");
    let own = files.iter().filter(|(path, _)| path == home || path.starts_with(&folder));
    own.map(|(_, text)| text.split("#[cfg(test)]").next().unwrap_or_default()).map(count).sum()
}

fn count(text: &str) -> usize {
    text.matches("errors.").count() + text.matches("errors)").count() + text.matches("errors, ").count()
}

/// Whether a file describes the kind: its facts name group, kind and resource.
fn is_home(text: &str, row: &Descriptor) -> bool {
    let facts = format!("(\"{}\", \"{}\", \"{}\")", row.group, row.kind, row.resource);
    text.split_whitespace().collect::<Vec<_>>().join(" ").contains(&facts)
}

fn sources(folder: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            found.push((path, text));
        }
    }
    Ok(found)
}
