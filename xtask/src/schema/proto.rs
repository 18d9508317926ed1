//! A reader of the .proto files: messages, their fields, numbers. No options, enums or services occur in them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// All messages by full name (`k8s.io.api.core.v1.Pod`).
#[derive(Default)]
pub(crate) struct Messages(BTreeMap<String, Message>);

#[derive(Default)]
pub(crate) struct Message {
    pub(crate) fields: Vec<WireField>,
}

pub(crate) struct WireField {
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) repeated: bool,
    pub(crate) map: bool,
    /// Full name of the message, or the scalar's word; of a map, its values'.
    pub(crate) kind: String,
}

impl Messages {
    /// Reads every `generated.proto` below `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut all = Self::default();
        all.read_folder(folder)?;
        Ok(all)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Message> {
        self.0.get(name)
    }

    fn read_folder(&mut self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                self.read_folder(&path)?;
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                self.read_file(&text).with_context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    fn read_file(&mut self, text: &str) -> Result<()> {
        let mut package = String::new();
        let mut open: Option<(String, Message)> = None;
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.trim_end_matches(';').split_whitespace().collect();
            match words.as_slice() {
                ["package", name] => package = (*name).to_owned(),
                ["message", name, "{"] => open = Some((format!("{package}.{name}"), Message::default())),
                ["}"] => self.0.extend(open.take()),
                ["optional" | "repeated" | "required" | "map<string,", ..] => {
                    let (_, message) = open.as_mut().context("a field outside of a message")?;
                    message.fields.push(field(&words, &package).with_context(|| format!("cannot read {line:?}"))?);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// `optional T name = 3`, `map<string, T> name = 3`.
fn field(words: &[&str], package: &str) -> Option<WireField> {
    let [label, kind, name, "=", number, ..] = words else { return None };
    let kind = kind.trim_end_matches('>');
    let kind = kind.strip_prefix('.').map_or_else(|| format!("{package}.{kind}"), str::to_owned);
    Some(WireField {
        name: (*name).to_owned(),
        number: number.parse().ok()?,
        repeated: *label != "optional",
        map: label.starts_with("map<"),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lists_and_maps_are_read_with_full_names() -> Result<()> {
        let mut messages = Messages::default();
        messages.read_file(
            "package k8s.io.x.v1;\nmessage A {\n  optional B b = 1;\n  repeated .k8s.io.y.C c = 2;\n  map<string, string> m = 3;\n}\nmessage B {\n}\n",
        )?;
        let fields = &messages.get("k8s.io.x.v1.A").context("read just above")?.fields;
        let seen: Vec<(&str, u32, bool, &str)> =
            fields.iter().map(|one| (one.name.as_str(), one.number, one.repeated, one.kind.as_str())).collect();
        assert_eq!(seen, [("b", 1, false, "k8s.io.x.v1.B"), ("c", 2, true, "k8s.io.y.C"), ("m", 3, true, "k8s.io.x.v1.string")]);
        assert!(messages.get("k8s.io.x.v1.B").is_some_and(|one| one.fields.is_empty()));
        Ok(())
    }
}
