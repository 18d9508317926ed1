//! Whole documents: `json` and `yaml`. As in the original, `<`, `>` and `&` are escaped in JSON.

use schema::{Value, go, yaml};

/// Indented by four spaces, with a final line break.
pub fn json(document: &Value) -> String {
    go::json_lines(document) + "\n"
}

/// One document; several are separated by [`YAML_BETWEEN`].
pub fn yaml(document: &Value) -> String {
    yaml::to_string(document)
}

pub const YAML_BETWEEN: &str = "---\n";
