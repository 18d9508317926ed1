//! Replays of the golden vectors that the document model answers, one function per file. `cargo xtask golden` runs the
//! same functions over any folder.

mod apply;
mod custom;
mod managed;
mod paths;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use schema::decode::{self, DecodeError, Decoded};
use schema::field::FieldErrors;
use schema::patch::{self, PatchError};
use schema::{
    DocExt, Facts, FieldSelector, LabelSelector, Path, Quantity, TypeId, Value, duration, json, meta, names, protobuf, quantity, time,
};

/// One file of vectors and how one line of it is checked. `Err` says what came out instead.
pub struct Replay {
    pub file: &'static str,
    pub check: fn(&Case<'_>) -> Result<(), String>,
}

/// One line, with the file's note lines (`how` is `note`) at hand.
pub struct Case<'a> {
    pub line: &'a Value,
    pub notes: &'a [Value],
}

pub const ALL: &[Replay] = &[
    Replay { file: "crd-schemas.jsonl", check: custom::schemas },
    Replay { file: "crd.jsonl", check: custom::documents },
    Replay { file: "durations.jsonl", check: durations },
    Replay { file: "json-merge-patch.jsonl", check: merge_patches },
    Replay { file: "json-patch.jsonl", check: json_patches },
    Replay { file: "jsonpath.jsonl", check: paths::templates },
    Replay { file: "managed-fields.jsonl", check: managed::entries },
    Replay { file: "names.jsonl", check: check_names },
    Replay { file: "object-meta.jsonl", check: object_meta },
    Replay { file: "patch-create.jsonl", check: made_patches },
    Replay { file: "protobuf.jsonl", check: protobuf_documents },
    Replay { file: "quantity.jsonl", check: quantities },
    Replay { file: "selectors.jsonl", check: selectors },
    Replay { file: "server-side-apply-typed.jsonl", check: apply::typed },
    Replay { file: "server-side-apply.jsonl", check: apply::untyped },
    Replay { file: "strategic-merge-patch.jsonl", check: strategic_patches },
    Replay { file: "strict-decoding.jsonl", check: strict_decoding },
];

/// Every line of a file: its number, its `case` and the verdict.
pub fn replay(check: fn(&Case<'_>) -> Result<(), String>, text: &str) -> Vec<(usize, String, Result<(), String>)> {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("vectors are JSON lines")).collect();
    let notes: Vec<Value> = lines.iter().filter(|line| line.str_at("how") == "note").cloned().collect();
    let cases = lines.iter().enumerate().filter(|(_, line)| line.str_at("how") != "note");
    cases.map(|(at, line)| (at + 1, line.str_at("case").to_owned(), check(&Case { line, notes: &notes }))).collect()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: got {got:?}, want {want:?}")) }
}

/// The outcome of something that may fail against `error` or `want` of the line.
fn outcome(case: &Case<'_>, got: Result<Value, String>) -> Result<(), String> {
    match (got, case.line.get("error").and_then(Value::as_str)) {
        (Err(got), Some(want)) => same("error", got.as_str(), want),
        (Ok(got), None) => same("value", got, case.line["want"].clone()),
        (Ok(got), Some(want)) => Err(format!("got {got}, want the error {want:?}")),
        (Err(got), None) => Err(format!("got the error {got:?}, want {}", case.line["want"])),
    }
}

fn durations(case: &Case<'_>) -> Result<(), String> {
    let line = case.line;
    let text = line.str_at("text");
    match line.str_at("how") {
        "age" => {
            let nanos = line["nanoseconds"].as_i64().ok_or("no nanoseconds")?;
            let seconds = nanos / 1_000_000_000;
            let got = json!({
                "human": duration::human_seconds(seconds),
                "short": duration::short_human_seconds(seconds),
                "metav1": duration::format_nanos(nanos),
            });
            same("age", got, line["want"].clone())
        }
        "parse" => outcome(case, duration::parse_nanos(text).map(|n| json!({"nanoseconds": n, "string": duration::format_nanos(n)}))),
        "time" => outcome(case, time::canonical(text).map(null_if_empty)),
        "microTime" => outcome(case, time::canonical_micro(text).map(null_if_empty)),
        "intOrPercent" => {
            let total = line["total"].as_i64().ok_or("no total")?;
            outcome(case, quantity::int_or_percent(&line["value"], total, line.bool_at("roundUp")).map(Value::from))
        }
        how => Err(format!("no engine for {how:?}")),
    }
}

fn null_if_empty(text: String) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

fn quantities(case: &Case<'_>) -> Result<(), String> {
    let line = case.line;
    if line.str_at("how") == "arithmetic" {
        let (a, b): (Quantity, Quantity) = (parse(line.str_at("a"))?, parse(line.str_at("b"))?);
        let got = json!({
            "add": a.plus(b).to_string(), "sub": a.minus(b).to_string(), "cmp": a.cmp(&b) as i8, "equal": a.nano == b.nano,
        });
        return same("arithmetic", got, line["want"].clone());
    }
    let text = line.str_at("text");
    let parsed: Result<Quantity, _> = text.parse();
    let (parsed, want) = match (parsed, line.get("error").and_then(Value::as_str)) {
        (Err(got), Some(want)) => return same("error", got.0.as_str(), want),
        (Ok(parsed), None) => (parsed, &line["want"]),
        (got, want) => return Err(format!("got {got:?}, want {want:?}")),
    };
    same("string", quantity::canonical_text(text).map_err(|error| error.0)?, want.str_at("string").to_owned())?;
    same("sign", parsed.nano.signum(), i128::from(want["sign"].as_i64().unwrap_or_default()))?;
    let format = match parsed.format {
        quantity::Format::DecimalSi => "DecimalSI",
        quantity::Format::BinarySi => "BinarySI",
        quantity::Format::DecimalExponent => "DecimalExponent",
    };
    same("format", format, want.str_at("format"))?;
    // Beyond an i64 upstream wraps around or gives zero; we saturate, which no caller can mistake for an amount.
    let fits = |wide: i128| i64::try_from(wide).is_ok() && wide.abs() < i128::from(i64::MAX) / 2;
    if fits(parsed.nano / 1000) {
        same("value", parsed.value(), want["value"].as_i64().unwrap_or_default())?;
        same("milliValue", parsed.milli_value(), want["milliValue"].as_i64().unwrap_or_default())?;
    }
    Ok(())
}

fn parse(text: &str) -> Result<Quantity, String> {
    text.parse().map_err(|error: quantity::QuantityError| error.0)
}

fn selectors(case: &Case<'_>) -> Result<(), String> {
    match case.line.str_at("how") {
        "labels" => {
            outcome(case, LabelSelector::parse(case.line.str_at("text")).map(|one| label_view(&one, case)).map_err(|error| error.0))
        }
        "fields" => outcome(case, FieldSelector::parse(case.line.str_at("text")).map(|one| field_view(&one)).map_err(|error| error.0)),
        "struct" => structured(case),
        how => Err(format!("no engine for {how:?}")),
    }
}

fn structured(case: &Case<'_>) -> Result<(), String> {
    let selector = &case.line["selector"];
    let mut errors = FieldErrors::default();
    LabelSelector::validate(selector, &Path::new("spec").child("selector"), &mut errors);
    same("validation", texts(&errors), case.line["validation"].clone())?;
    let got = LabelSelector::from_value(selector).map_err(|error| error.0).map(|one| {
        let text = one.to_string();
        let formatted = if text.is_empty() { "<none>".to_owned() } else { text.clone() };
        json!({"formatted": formatted, "matches": matches(&one, case), "string": text})
    });
    outcome(case, got)
}

fn matches(selector: &LabelSelector, case: &Case<'_>) -> Value {
    let sets = case.notes[0].items_at("sets").iter();
    let labels = sets.map(|set| serde_json::from_value(set.clone()).expect("label sets are maps of strings"));
    labels.map(|labels: BTreeMap<String, String>| selector.matches(&labels)).collect()
}

fn label_view(selector: &LabelSelector, case: &Case<'_>) -> Value {
    let requirements: Vec<Value> = selector
        .requirements()
        .iter()
        .map(|one| {
            let mut values = one.values.clone();
            values.sort();
            values.dedup();
            json!({"key": one.key, "operator": one.op.as_str(), "values": values})
        })
        .collect();
    let text = selector.to_string();
    json!({"empty": selector.is_everything(), "matches": matches(selector, case), "requirements": requirements, "string": text})
}

fn field_view(selector: &FieldSelector) -> Value {
    let requirements: Vec<Value> = selector
        .terms
        .iter()
        .map(|term| json!({"key": term.field, "operator": if term.equal { "=" } else { "!=" }, "value": term.value}))
        .collect();
    json!({"empty": selector.is_everything(), "requirements": requirements, "string": selector.to_string()})
}

fn texts(errors: &FieldErrors) -> Value {
    errors.0.iter().map(ToString::to_string).collect()
}

fn check_names(case: &Case<'_>) -> Result<(), String> {
    let text = case.line.str_at("text");
    let stem = names::generate_name_stem(text);
    let mut finalizer = FieldErrors::default();
    let path = Path::new("metadata").child("finalizers");
    names::is_qualified_name(text).iter().for_each(|wrong| finalizer.invalid(&path, text, wrong));
    let mut manager = FieldErrors::default();
    meta::validate_field_manager(text, &Path::new("fieldManager"), &mut manager);
    let at = |name: &str, check: fn(&str, &Path, &mut FieldErrors)| {
        let mut errors = FieldErrors::default();
        check(text, &Path::new(name), &mut errors);
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let known = [
        ("cidr", at("cidr", names::validate_cidr)),
        ("domainPrefixedPath", at("f", names::validate_domain_prefixed_path)),
        ("dryRun", at("dryRun", |text, path, errors| meta::validate_dry_run(&text.split(',').collect::<Vec<_>>(), path, errors))),
        ("fieldValidation", at("fieldValidation", meta::validate_field_validation)),
        ("fqdn", at("f", names::validate_fqdn)),
        ("fqn", at("f", names::validate_fully_qualified_name)),
        ("ip", at("ip", names::validate_ip)),
        ("ipWarnings", names::ip_warning(text, &Path::new("f")).into_iter().collect()),
        ("legacyIP", at("ip", names::validate_legacy_ip)),
        ("conditionReason", names::is_condition_reason(text)),
        ("configMapKey", names::is_config_map_key(text)),
        ("dns1035Label", names::is_dns1035_label(text)),
        ("dns1123Label", names::is_dns1123_label(text)),
        ("dns1123Subdomain", names::is_dns1123_subdomain(text)),
        ("dns1123SubdomainWithUnderscore", names::is_dns1123_subdomain_with_underscore(text)),
        ("envVarName", names::is_strict_env_var_name(text)),
        ("fieldManager", manager.0.iter().map(ToString::to_string).collect()),
        ("finalizer", finalizer.0.iter().map(ToString::to_string).collect()),
        ("generateLabel", names::is_dns1123_label(&stem)),
        ("generateName", names::is_dns1123_subdomain(&stem)),
        ("httpHeaderName", names::is_http_header_name(text)),
        ("labelValue", names::is_label_value(text)),
        ("percent", names::is_percent(text)),
        ("portName", names::is_port_name(text)),
        ("qualifiedName", names::is_qualified_name(text)),
        ("relaxedEnvVarName", names::is_env_var_name(text)),
        ("wildcardDNS1123Subdomain", names::is_wildcard_dns1123_subdomain(text)),
    ];
    if let Some(check) = case.line["want"].as_object().and_then(|want| want.keys().find(|key| !known.iter().any(|(known, _)| known == key)))
    {
        return Err(format!("no engine for {check:?}"));
    }
    for (check, got) in known {
        let want: Vec<&str> = case.line["want"].items_at(check).iter().filter_map(Value::as_str).collect();
        same(check, got.iter().map(String::as_str).collect(), want)?;
    }
    Ok(())
}

/// A line with a note gives only what changes; its annotation is too long to be written out.
fn updated_meta(line: &Value) -> Value {
    let mut metadata = line["metadata"].clone();
    if line.get("note").is_some() {
        let changes = std::mem::replace(&mut metadata, line["old"].clone());
        metadata.as_object_mut().expect("metadata is an object").extend(changes.as_object().cloned().unwrap_or_default());
        metadata.set_at("annotations", json!({"a": "v".repeat(256 << 10)}));
    }
    metadata
}

fn object_meta(case: &Case<'_>) -> Result<(), String> {
    let line = case.line;
    let mut errors = FieldErrors::default();
    let path = Path::new("metadata");
    match line.str_at("how") {
        "create" => {
            let rule = match line.str_at("nameRule") {
                "subdomain" => names::is_dns1123_subdomain,
                "dns1035" => names::is_dns1035_label,
                _ => names::is_dns1123_label,
            };
            meta::validate_object_meta_create(&line["metadata"], line.bool_at("namespaced"), rule, &path, &mut errors);
        }
        "update" => meta::validate_object_meta_update(&updated_meta(line), &line["old"], &path, &mut errors),
        "conditions" => meta::validate_conditions(line.items_at("conditions"), &Path::new("status").child("conditions"), &mut errors),
        how => return Err(format!("no engine for {how:?}")),
    }
    same("errors", texts(&errors), line["want"].clone())
}

fn type_of(line: &Value) -> Result<TypeId, String> {
    let (api_version, kind) = line.str_at("gvk").rsplit_once('/').ok_or("no gvk")?;
    Facts::builtin().kind(api_version, kind).ok_or_else(|| format!("no type {api_version} {kind}"))
}

fn strategic_patches(case: &Case<'_>) -> Result<(), String> {
    let line = case.line;
    outcome(case, patch::strategic(type_of(line)?, &line["original"], &line["patch"]).map_err(|error| error.to_string()))
}

fn json_patches(case: &Case<'_>) -> Result<(), String> {
    let line = case.line;
    let got = patch::json(&line["original"], line["patch"].to_string().as_bytes());
    match (&got, line.get("decodeError").and_then(Value::as_str)) {
        (Err(PatchError::Malformed(got) | PatchError::TooLarge(got)), Some(want)) => same("decode error", got.as_str(), want),
        (_, Some(want)) => Err(format!("got {got:?}, want the decode error {want:?}")),
        _ => outcome(case, got.map_err(|error| error.to_string())),
    }
}

fn merge_patches(case: &Case<'_>) -> Result<(), String> {
    let line = case.line;
    match line.str_at("how") {
        "apply" => outcome(case, patch::merge_document(&line["original"], &line["patch"]).map_err(|error| error.to_string())),
        "two-way" => outcome(case, Ok(patch::diff_merge(&line["original"], &line["modified"]))),
        "three-way" => {
            let made = patch::create::three_way_merge(&line["original"], &line["modified"], &line["current"]);
            outcome(case, made.clone().map_err(|error| error.to_string()))?;
            made.map_or(Ok(()), |made| same("applied", patch::merge(&line["current"], &made), line["applied"].clone()))
        }
        how => Err(format!("no engine for {how:?}")),
    }
}

fn made_patches(case: &Case<'_>) -> Result<(), String> {
    let line = case.line;
    let ty = type_of(line)?;
    let (original, modified) = (&line["original"], &line["modified"]);
    let (made, onto) = match line.str_at("how") {
        "strategic two-way" => (patch::create::two_way(ty, original, modified), original),
        "strategic three-way" => {
            let current = &line["current"];
            (patch::create::three_way(ty, original, modified, current, line.bool_at("overwrite")), current)
        }
        how => return Err(format!("no engine for {how:?}")),
    };
    outcome(case, made.clone().map_err(|error| error.to_string()))?;
    let Ok(made) = made else { return Ok(()) };
    let applied = patch::strategic(ty, onto, &made).map_err(|error| error.to_string());
    match line.get("applyError").and_then(Value::as_str) {
        Some(want) => same("apply error", applied, Err(want.to_owned())),
        None => same("applied", applied, Ok(line["applied"].clone())),
    }
}

fn strict_decoding(case: &Case<'_>) -> Result<(), String> {
    let text = case.line.str_at("text").as_bytes();
    let pod = || Facts::builtin().kind("v1", "Pod").ok_or("no type Pod");
    let strict =
        |decoded: Result<Decoded, DecodeError>| decoded.map(|one| Value::from(one.strict_errors)).map_err(|error| error.to_string());
    match case.line.str_at("how") {
        "json into Pod" => outcome(case, strict(decode::json(pod()?, text))),
        "json into map" => outcome(case, strict(decode::json_object(text))),
        "yaml to json" => outcome(case, decode::yaml_value(text).map_err(|error| error.to_string())),
        "yaml into Pod" => outcome(case, decode::client_yaml(pod()?, text).map(|_| "ok".into()).map_err(|error| error.to_string())),
        how => Err(format!("no engine for {how:?}")),
    }
}

/// Bytes are equal, and reading them gives a document that writes the same bytes again. JSON that lies inside (a
/// RawExtension) was written by the vectors' maker in the order of a Go struct, which the vector's object no longer
/// tells: there, the same bytes in another order will do, if they read as the same document.
fn protobuf_documents(case: &Case<'_>) -> Result<(), String> {
    let ty = type_of(case.line)?;
    let got = protobuf::encode_document(ty, &case.line["object"]);
    let want = BASE64.decode(case.line.str_at("want")).map_err(|error| error.to_string())?;
    let read = |bytes: &[u8]| protobuf::decode_document(bytes).map_err(|error| error.to_string());
    if got != want {
        let sorted = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.sort_unstable();
            bytes
        };
        if sorted(&got) == sorted(&want) && String::from_utf8_lossy(&want).contains("{\"kind\":") {
            return same("document", read(&got)?, read(&want)?);
        }
        let at = got.iter().zip(&want).take_while(|(one, other)| one == other).count();
        let start = at.saturating_sub(40);
        let window = |bytes: &[u8]| String::from_utf8_lossy(&bytes[start..bytes.len().min(at + 40)]).into_owned();
        return Err(format!("differs at byte {at}: got {:?}, want {:?}", window(&got), window(&want)));
    }
    let read = read(&want)?;
    if protobuf::encode_document(ty, &read) == want { Ok(()) } else { Err(format!("reads as another document: {read}")) }
}
