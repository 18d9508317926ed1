//! `-o go-template` and `-o jsonpath`.

use base64::Engine as _;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, alphabet};
use gotemplate::{Function, Outcome, Value as Held};
use schema::jsonpath;
use schema::{Value, go};

/// As Go decodes: bits behind the last byte do not matter.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// What `kubectl` adds to Go's functions.
const FUNCTIONS: &[Function] =
    &[Function::of_texts("base64decode", 1, |arguments| decoded(&arguments[0])), Function::from("exists", 1, exists)];

/// A template of Go.
#[derive(Clone, Debug)]
pub struct GoTemplate {
    text: String,
    template: gotemplate::Template,
}

impl GoTemplate {
    /// `allow_missing`: whether names that lead nowhere print as `<no value>`.
    pub fn parse(text: &str, allow_missing: bool) -> Result<Self, String> {
        let missing = if allow_missing { gotemplate::Missing::Nothing } else { gotemplate::Missing::Error };
        Ok(Self { text: text.to_owned(), template: gotemplate::Template::parse("output", text, FUNCTIONS)?.missing(missing) })
    }

    /// Writes what a document gives. What a failing template wrote is followed by what it was about.
    pub fn print(&self, document: &Value, out: &mut String) -> Result<(), String> {
        let outcome = self.template.execute(document, out);
        let Err(why) = &outcome else { return Ok(()) };
        out.push_str(&format!(
            "Error executing template: {why}. Printing more information for debugging the template:\n\ttemplate was:\n\t\t{}\n\traw data \
             was:\n\t\t{}\n\tobject given to template engine was:\n\t\t{}\n\n",
            self.text,
            go::json(document),
            go::plain(document)
        ));
        Err(format!("error executing template {}: {why}", go::quote(&self.text)))
    }
}

fn decoded<'a>(text: &Held<'a>) -> Outcome<'a> {
    let text = text.document().as_str().unwrap_or_default();
    let bytes = decode(text).map_err(|at| format!("base64 decode failed: illegal base64 data at input byte {at}"))?;
    Ok(Held::text(String::from_utf8_lossy(&bytes)))
}

/// Or where the text is broken. Line breaks do not count.
fn decode(text: &str) -> Result<Vec<u8>, usize> {
    let text: String = text.chars().filter(|c| !['\r', '\n'].contains(c)).collect();
    LENIENT.decode(&text).map_err(|error| match error {
        DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
        // Where the piece of four begins that is not whole.
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len() / 4 * 4,
    })
}

/// Whether `index` would find something that is not nil.
fn exists<'a>(arguments: &[Held<'a>]) -> Outcome<'a> {
    let mut at = Some(arguments[0].document());
    for index in &arguments[1..] {
        at = match (at, index.document()) {
            (Some(Value::Array(items)), index) => index.as_u64().and_then(|index| items.get(usize::try_from(index).ok()?)),
            (Some(Value::Object(members)), Value::String(name)) => members.get(name),
            _ => None,
        };
    }
    Ok(Held::of(at.is_some_and(|found| !found.is_null()).into()))
}

/// kubectl's JSONPath.
#[derive(Clone, Debug)]
pub struct JsonPathTemplate {
    template: jsonpath::Template,
    missing: jsonpath::Missing,
}

impl JsonPathTemplate {
    pub fn parse(text: &str, allow_missing: bool) -> Result<Self, String> {
        let missing = if allow_missing { jsonpath::Missing::Allowed } else { jsonpath::Missing::Refused };
        let template = jsonpath::Template::parse(text).map_err(|why| format!("error parsing jsonpath {text}, {why}"))?;
        Ok(Self { template, missing })
    }

    pub fn print(&self, document: &Value) -> Result<String, String> {
        self.template.execute(document, self.missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::json;

    fn run(text: &str) -> Result<String, String> {
        let mut out = String::new();
        let document = json!({"data": {"a": "aGk=", "b": "aGk"}, "l": [1, null], "s": "x"});
        GoTemplate::parse(text, true)?.print(&document, &mut out).map(|()| out)
    }

    #[test]
    fn kubectls_own_functions_work() {
        assert_eq!(run("{{.data.a | base64decode}}").as_deref(), Ok("hi"));
        assert_eq!(
            run("{{exists . \"l\" 0}} {{exists . \"l\" 1}} {{exists .l 7}} {{exists .s \"x\"}}").as_deref(),
            Ok("true false false false")
        );
        let broken = run("{{.data.b | base64decode}}").expect_err("broken base64");
        assert!(broken.ends_with("base64 decode failed: illegal base64 data at input byte 0"), "{broken}");
    }

    #[test]
    fn what_fails_is_explained() {
        let mut out = String::new();
        let failed = GoTemplate::parse("a{{.x}}", false).expect("a template").print(&json!({"y": 1}), &mut out);
        assert!(failed.expect_err("no x").starts_with("error executing template \"a{{.x}}\": template: output:1:3:"));
        assert!(out.starts_with("aError executing template: ") && out.ends_with("\t\tmap[y:1]\n\n"), "{out}");
    }
}
