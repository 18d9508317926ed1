//! The forms of output, as `-o` names them.

use thiserror::Error;

/// What `-o` asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    Json,
    Yaml,
    Kyaml,
    Name,
    /// A table with all columns.
    Wide,
    /// A table.
    Human,
    GoTemplate(Source),
    JsonPath(Source),
    CustomColumns(Source),
}

/// Where a template is.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Text(String),
    File(String),
}

#[derive(Clone, Debug, Error, PartialEq)]
pub enum FormError {
    #[error("unable to match a printer suitable for the output format \"{given}\", allowed formats are: {}", FORMS.join(","))]
    Unknown { given: String },
    #[error("template format specified but no template given")]
    NoTemplate,
    #[error("custom-columns format specified but no custom columns given")]
    NoColumns,
}

const FORMS: &[&str] = &[
    "custom-columns",
    "custom-columns-file",
    "go-template",
    "go-template-file",
    "json",
    "jsonpath",
    "jsonpath-file",
    "kyaml",
    "name",
    "template",
    "templatefile",
    "wide",
    "yaml",
];

impl Form {
    /// Reads `-o`'s value and `--template`'s, which may hold the template of a form that names none.
    pub fn parse(output: &str, template: &str) -> Result<Self, FormError> {
        let (form, argument) = output.split_once('=').unwrap_or((output, ""));
        let argument = if argument.is_empty() { template } else { argument };
        let text = |none: FormError| if argument.is_empty() { Err(none) } else { Ok(Source::Text(argument.to_owned())) };
        let file = |none: FormError| if argument.is_empty() { Err(none) } else { Ok(Source::File(argument.to_owned())) };
        match form {
            "" if !template.is_empty() => text(FormError::NoTemplate).map(Self::GoTemplate),
            "" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            "kyaml" => Ok(Self::Kyaml),
            "name" => Ok(Self::Name),
            "wide" => Ok(Self::Wide),
            "template" | "go-template" => text(FormError::NoTemplate).map(Self::GoTemplate),
            "templatefile" | "go-template-file" => file(FormError::NoTemplate).map(Self::GoTemplate),
            "jsonpath" => text(FormError::NoTemplate).map(Self::JsonPath),
            "jsonpath-file" => file(FormError::NoTemplate).map(Self::JsonPath),
            "custom-columns" => text(FormError::NoColumns).map(Self::CustomColumns),
            "custom-columns-file" => file(FormError::NoColumns).map(Self::CustomColumns),
            _ => Err(FormError::Unknown { given: output.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_with_their_templates() {
        let text = |text: &str| Source::Text(text.into());
        for (output, template, want) in [
            ("", "", Form::Human),
            ("wide", "", Form::Wide),
            ("jsonpath={.a}={.b}", "", Form::JsonPath(text("{.a}={.b}"))),
            ("go-template", "{{.}}", Form::GoTemplate(text("{{.}}"))),
            ("", "{{.}}", Form::GoTemplate(text("{{.}}"))),
            ("custom-columns-file=x", "", Form::CustomColumns(Source::File("x".into()))),
        ] {
            assert_eq!(Form::parse(output, template), Ok(want), "{output}");
        }
        assert_eq!(Form::parse("jsonpath", ""), Err(FormError::NoTemplate));
        assert!(Form::parse("xml", "").expect_err("no such form").to_string().starts_with("unable to match a printer"));
    }
}
