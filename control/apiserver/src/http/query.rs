//! The query of a request, and the options of each verb out of it, with upstream's errors.

use client::{Options, Patch, Verb};
use schema::decode::FieldValidation;
use schema::field::Reason;
use schema::{FieldErrors, Path, Status, json};

/// Decoded parameters in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// What cannot be decoded is left out.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(name, true)?, unescape(value, true)?))
        });
        Self(pairs.collect())
    }

    /// Of decoded pairs.
    pub fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean as upstream reads one: there, and neither `false` nor `0`.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }

    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The options that `verb` reads. 400 for what is no number, 422 for words that mean nothing.
    pub fn options(&self, verb: Verb) -> Result<Options, Status> {
        let text = |name: &str| self.get(name).unwrap_or_default().to_owned();
        let mut options = Options {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            resource_version: self.get("resourceVersion").filter(|version| !version.is_empty()).map(str::to_owned),
            resource_version_match: text("resourceVersionMatch"),
            limit: self.integer("limit")?.and_then(|limit| u64::try_from(limit).ok()).unwrap_or_default(),
            continue_token: text("continue"),
            timeout_seconds: self.integer("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok()),
            allow_watch_bookmarks: self.flag("allowWatchBookmarks"),
            send_initial_events: self.get("sendInitialEvents").map(|_| self.flag("sendInitialEvents")),
            field_manager: text("fieldManager"),
            force: self.flag("force"),
            raw: self.0.clone(),
            ..Options::default()
        };
        if let Some(kind) = options_kind(verb) {
            self.write_options(kind, &mut options)?;
        }
        Ok(options)
    }

    fn write_options(&self, kind: &str, options: &mut Options) -> Result<(), Status> {
        let mut errors = FieldErrors::default();
        let dry_run: Vec<&str> = self.all("dryRun").collect();
        options.dry_run = !dry_run.is_empty();
        if dry_run.iter().any(|word| *word != "All") {
            let message = format!("Unsupported value: {}: supported values: \"All\"", json!(dry_run));
            errors.add(&Path::new("dryRun"), Reason::NotSupported, message);
        }
        if kind == "DeleteOptions" {
            options.delete.grace_period_seconds = self.integer("gracePeriodSeconds")?;
            options.delete.propagation_policy = self.get("propagationPolicy").map(str::to_owned);
            options.delete.orphan_dependents = self.get("orphanDependents").map(|_| self.flag("orphanDependents"));
        } else {
            options.field_validation = self.field_validation(&mut errors);
            if options.field_manager.len() > 128 {
                errors.too_long(&Path::new("fieldManager"), 128);
            }
            if let Some(bad) = options.field_manager.chars().find(|c| c.is_control()) {
                let message = format!("Invalid value: {}: should only contain printable characters", json!(options.field_manager));
                tracing::debug!(?bad, "field manager refused");
                errors.add(&Path::new("fieldManager"), Reason::Invalid, message);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", kind, "", &errors)) }
    }

    /// What a patch of this sort may say. 422 for an apply without a manager, and for force without an apply.
    pub fn check_patch(&self, kind: Patch, options: &Options) -> Result<(), Status> {
        let mut errors = FieldErrors::default();
        if kind != Patch::Apply && self.get("force").is_some() {
            errors.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
        }
        if kind == Patch::Apply && options.field_manager.is_empty() {
            errors.required(&Path::new("fieldManager"), "is required for apply patch");
        }
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &errors)) }
    }

    fn field_validation(&self, errors: &mut FieldErrors) -> FieldValidation {
        match self.get("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                errors.not_supported(&Path::new("fieldValidation"), other, &["", "Ignore", "Strict", "Warn"]);
                FieldValidation::Warn
            }
        }
    }

    fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
    }
}

/// The kind that upstream's errors about options of a write name.
fn options_kind(verb: Verb) -> Option<&'static str> {
    match verb {
        Verb::Create => Some("CreateOptions"),
        Verb::Update => Some("UpdateOptions"),
        Verb::Patch => Some("PatchOptions"),
        Verb::Delete | Verb::DeleteCollection => Some("DeleteOptions"),
        Verb::Get | Verb::List | Verb::Watch => None,
    }
}

/// Percent-decoding; `plus` is a space in queries. None where the result is no UTF-8 or an escape is broken.
pub fn unescape(text: &str, plus: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                out.push(u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok()?);
                at += 2;
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_decode() {
        let query = Query::parse("labelSelector=app%3Dx+y&command=a&command=b&watch&bad=%zz&dryRun=All");
        assert_eq!(query.get("labelSelector"), Some("app=x y"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["a", "b"]);
        assert!(query.flag("watch") && !query.flag("bad"));
        assert!(query.options(Verb::Create).unwrap().dry_run);
    }

    #[test]
    fn bad_options_are_told_in_upstreams_words() {
        for (query, verb, want) in [
            ("limit=x", Verb::List, "strconv.ParseInt: parsing \"x\": invalid syntax"),
            (
                "dryRun=Some",
                Verb::Create,
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"",
            ),
            (
                "fieldValidation=Loud",
                Verb::Create,
                "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Loud\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
            ),
        ] {
            assert_eq!(Query::parse(query).options(verb).unwrap_err().message, want);
        }
        let long = format!("fieldManager={}", "m".repeat(129));
        let status = Query::parse(&long).options(Verb::Patch).unwrap_err();
        assert_eq!(status.message, "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes");
        assert_eq!(Query::parse("limit=-5").options(Verb::List).unwrap().limit, 0);
    }
}
