//! What is valid in a definition. Where all versions say the same (a schema, columns, subresources), upstream speaks of it
//! once, at the place where the first release had it (`spec.validation`, `spec.additionalPrinterColumns` …), and so do we.

use schema::field::Reason;
use schema::jsonpath::JsonPath;
use schema::{DocExt, FieldErrors, Map, Path, Value, json, names, structural};

use crate::custom::rules::{check, check_defaults};
use crate::rules::{each, not_supported};

/// All errors of a definition, new or changed.
pub(super) fn validate(doc: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = Path::new("spec");
    let (group, plural) = (doc.str_at("spec.group"), doc.str_at("spec.names.plural"));
    if old.is_none() && doc.str_at("metadata.name") != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid(&Path::new("metadata").child("name"), doc.str_at("metadata.name"), why);
    }
    validate_group(group, &spec.child("group"), errors);
    match doc.str_at("spec.scope") {
        "Cluster" | "Namespaced" => {}
        "" => errors.required(&spec.child("scope"), ""),
        other => not_supported(&spec.child("scope"), &other.into(), &["Cluster", "Namespaced"], errors),
    }
    validate_versions(doc, &spec, errors);
    validate_names(doc, &spec.child("names"), errors);
    validate_conversion(doc, &spec.child("conversion"), errors);
    if doc.bool_at("spec.preserveUnknownFields") {
        let why = "cannot set to true, set x-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&spec.child("preserveUnknownFields"), true, why);
    }
    each_shared(doc, "schema", "validation", |schema, place, errors| validate_schema(doc, old, schema, place, errors), errors);
    each_shared(doc, "additionalPrinterColumns", "additionalPrinterColumns", validate_columns, errors);
    each_shared(doc, "subresources", "subresources", validate_subresources, errors);
    each_shared(doc, "selectableFields", "selectableFields", validate_fields, errors);
    validate_stored(doc, errors);
    validate_approval(doc, group, errors);
}

/// What a change may not do.
pub(super) fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let spec = Path::new("spec");
    let immutable = |path: &str, errors: &mut FieldErrors| {
        if new.at(path) != old.at(path) {
            let at = path.trim_start_matches("spec.");
            errors.invalid(&spec.child(at), new.at(path).cloned().unwrap_or_default(), "field is immutable");
        }
    };
    immutable("spec.group", errors);
    if crate::custom::is_established(old) {
        immutable("spec.scope", errors);
        immutable("spec.names.kind", errors);
    }
    immutable("spec.names.plural", errors);
    let names: Vec<&str> = new.items_at("spec.versions").iter().map(|version| version.str_at("name")).collect();
    for (at, stored) in new.items_at("status.storedVersions").iter().filter_map(Value::as_str).enumerate() {
        if !names.contains(&stored) {
            let why = format!(
                "missing from spec.versions; {stored} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {stored} and removes {stored} from status.storedVersions"
            );
            errors.invalid(&Path::new("status").child("storedVersions").index(at), stored, &why);
        }
    }
}

fn validate_group(group: &str, path: &Path, errors: &mut FieldErrors) {
    if group.is_empty() {
        return errors.required(path, "");
    }
    let texts = names::is_dns1123_subdomain(group);
    if !texts.is_empty() {
        errors.invalid(path, group, &texts.join(","));
    } else if !group.contains('.') {
        errors.invalid(path, group, "should be a domain with at least one dot");
    }
}

fn validate_versions(doc: &Value, spec: &Path, errors: &mut FieldErrors) {
    let versions = doc.items_at("spec.versions");
    let path = spec.child("versions");
    if let Some(first) = versions.first().map(|version| version.str_at("name")) {
        each(&spec.child("version"), first, names::is_dns1035_label(first), errors);
    }
    let names: Vec<&str> = versions.iter().map(|version| version.str_at("name")).collect();
    for (at, version) in versions.iter().enumerate() {
        each(&path.index(at).child("name"), names[at], names::is_dns1035_label(names[at]), errors);
        if let Some(text) = version.get("deprecationWarning").and_then(Value::as_str) {
            validate_deprecation(text, version.bool_at("deprecated"), &path.index(at).child("deprecationWarning"), errors);
        }
        if version.at("schema.openAPIV3Schema").is_none_or(|schema| !schema.is_object()) {
            errors.required(&path.index(at).child("schema").child("openAPIV3Schema"), "");
        }
    }
    if names.iter().enumerate().any(|(at, name)| names[..at].contains(name)) {
        errors.add(&path, Reason::Invalid, format!("Invalid value: {}: must contain unique version names", as_upstream(doc)));
    }
    if versions.iter().filter(|version| version.bool_at("storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.add(&path, Reason::Invalid, format!("Invalid value: {}: {why}", as_upstream(doc)));
    }
}

fn validate_deprecation(text: &str, is_deprecated: bool, path: &Path, errors: &mut FieldErrors) {
    const BYTES_MAX: usize = 256;
    if !is_deprecated {
        errors.invalid(path, text, "can only be set for deprecated versions");
    }
    if text.len() > BYTES_MAX {
        errors.invalid(path, text, &format!("must be <= {BYTES_MAX} characters long"));
    }
    if text.is_empty() {
        errors.invalid(path, text, "must not be an empty string");
    }
    if let Some((at, bad)) = text.char_indices().find(|(_, c)| c.is_control()) {
        let why = format!("must only contain printable UTF-8 characters; non-printable character found at index {at} ({bad:?})");
        errors.invalid(path, text, &why);
    }
}

/// `spec.versions` as upstream prints it: its own form of a version, without what is shared by all.
fn as_upstream(doc: &Value) -> String {
    let versions = doc.items_at("spec.versions").iter();
    let raw = versions.map(|version| {
        let own =
            |name: &str| if shared(doc, name) { "null".to_owned() } else { version.get(name).cloned().unwrap_or_default().to_string() };
        let flag = |name: &str| version.bool_at(name).to_string();
        let members = [
            ("Name", version.get("name").cloned().unwrap_or_else(|| json!("")).to_string()),
            ("Served", flag("served")),
            ("Storage", flag("storage")),
            ("Deprecated", flag("deprecated")),
            ("DeprecationWarning", version.get("deprecationWarning").cloned().unwrap_or_default().to_string()),
            ("Schema", own("schema")),
            ("Subresources", own("subresources")),
            ("AdditionalPrinterColumns", own("additionalPrinterColumns")),
            ("SelectableFields", own("selectableFields")),
        ];
        go_object(&members)
    });
    format!("[{}]", raw.collect::<Vec<_>>().join(","))
}

/// Members in the order given, each a JSON text.
fn go_object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    ["{", &members.join(","), "}"].concat()
}

/// Whether all versions say the same about `member`.
fn shared(doc: &Value, member: &str) -> bool {
    let versions = doc.items_at("spec.versions");
    versions.iter().all(|version| version.get(member) == versions[0].get(member))
}

/// Calls `check` for what versions say of `member`: once, at `top`, where they all say the same.
fn each_shared(doc: &Value, member: &str, top: &str, check: impl Fn(&Value, &Path, &mut FieldErrors), errors: &mut FieldErrors) {
    let versions = doc.items_at("spec.versions");
    let spec = Path::new("spec");
    if versions.is_empty() {
        return;
    }
    if shared(doc, member) {
        if let Some(one) = versions[0].get(member).filter(|one| !one.is_null()) {
            check(one, &spec.child(top), errors);
        }
        return;
    }
    for (at, version) in versions.iter().enumerate() {
        if let Some(one) = version.get(member).filter(|one| !one.is_null()) {
            check(one, &spec.child("versions").index(at).child(member), errors);
        }
    }
}

fn validate_schema(doc: &Value, old: Option<&Value>, schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(root) = schema.get("openAPIV3Schema").filter(|root| root.is_object()) else { return };
    let path = path.child("openAPIV3Schema");
    let before = old.is_some_and(|old| old.items_at("spec.versions").iter().any(|version| version.get("schema") == Some(schema)));
    if before {
        return; // what was stored once is not refused later for a rule that came since
    }
    let mut found = FieldErrors::default();
    if root.str_at("type") != "object" && !root.str_at("type").is_empty() && has_status(doc) {
        found.invalid(&path.child("type"), root.str_at("type"), "must be object at the root");
    }
    if found.is_empty() {
        structural::check(root, &path, &mut found);
    }
    if found.is_empty() {
        check_defaults(root, &path, &mut found);
    }
    check(root, found.is_empty(), &path, &mut found);
    errors.0.extend(found.0);
}

fn has_status(doc: &Value) -> bool {
    doc.items_at("spec.versions").iter().any(|version| version.at("subresources.status").is_some())
}

fn validate_columns(columns: &Value, path: &Path, errors: &mut FieldErrors) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 9] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];
    for (at, column) in columns.as_array().into_iter().flatten().enumerate() {
        let path = path.index(at);
        if column.str_at("name").is_empty() {
            errors.required(&path.child("name"), "");
        }
        match column.str_at("type") {
            "" => errors.required(&path.child("type"), &format!("must be one of {}", TYPES.join(","))),
            ty if !TYPES.contains(&ty) => errors.invalid(&path.child("type"), ty, &format!("must be one of {}", TYPES.join(","))),
            _ => {}
        }
        let format = column.str_at("format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            errors.invalid(&path.child("format"), format, &format!("must be one of {}", FORMATS.join(",")));
        }
        match column.str_at("jsonPath") {
            "" => errors.required(&path.child("JSONPath"), ""),
            text => simple_path(text, &path.child("JSONPath"), errors),
        }
    }
}

/// A path that starts with a dot and can be read.
fn simple_path(text: &str, path: &Path, errors: &mut FieldErrors) {
    if !text.starts_with('.') {
        errors.invalid(path, text, "must be a simple json path starting with .");
    } else if let Err(why) = JsonPath::parse(text) {
        errors.invalid(path, text, &format!("must be a simple json path: {why}"));
    }
}

fn validate_subresources(subresources: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(scale) = subresources.get("scale").filter(|scale| scale.is_object()) else { return };
    let path = path.child("scale");
    for (name, below) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        match scale.str_at(name) {
            "" => errors.required(&path.child(name), ""),
            text => path_below(text, &[below], &path.child(name), errors),
        }
    }
    if let Some(selector) = scale.get("labelSelectorPath").and_then(Value::as_str).filter(|text| !text.is_empty()) {
        path_below(selector, &[".spec", ".status"], &path.child("labelSelectorPath"), errors);
    }
}

/// A path of names below one of `roots`.
fn path_below(text: &str, roots: &[&str], path: &Path, errors: &mut FieldErrors) {
    let names = JsonPath::parse(text).ok().and_then(|path| path.names().map(|names| names.len()));
    if names.is_none() || !text.starts_with('.') || text.contains('[') {
        errors.invalid(path, text, "must be a simple json path starting with .");
    } else if !roots.iter().any(|root| text.starts_with(&format!("{root}."))) {
        let why = match roots {
            [root] => format!("should be a json path under {root}"),
            _ => "should be a json path under either .spec or .status".to_owned(),
        };
        errors.invalid(path, text, &why);
    }
}

fn validate_fields(fields: &Value, path: &Path, errors: &mut FieldErrors) {
    const COUNT_MAX: usize = 8;
    let fields: Vec<&str> = fields.as_array().into_iter().flatten().map(|field| field.str_at("jsonPath")).collect();
    for (at, text) in fields.iter().enumerate() {
        let path = path.index(at).child("jsonPath");
        if text.is_empty() {
            errors.required(&path, "");
        } else if text.starts_with(".metadata.") || *text == ".metadata" {
            errors.invalid(&path, *text, "must not point to fields in metadata");
        } else if fields[..at].contains(text) {
            errors.duplicate(&path, *text);
        } else {
            simple_path(text, &path, errors);
        }
    }
    if fields.len() > COUNT_MAX {
        errors.too_many(path, fields.len(), COUNT_MAX);
    }
}

fn validate_names(doc: &Value, path: &Path, errors: &mut FieldErrors) {
    let names = doc.at("spec.names").cloned().unwrap_or_default();
    let label = |text: &str| names::is_dns1035_label(text).join(",");
    let mut check = |name: &str, text: &str, mixed: bool| {
        let why = label(&if mixed { text.to_lowercase() } else { text.to_owned() });
        if text.is_empty() {
            errors.required(&path.child(name), "");
        } else if !why.is_empty() {
            let prefix = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.invalid(&path.child(name), text, &format!("{prefix}{why}"));
        }
    };
    check("plural", names.str_at("plural"), false);
    check("singular", names.str_at("singular"), false);
    check("kind", names.str_at("kind"), true);
    check("listKind", names.str_at("listKind"), true);
    for list in ["shortNames", "categories"] {
        for (at, text) in names.items_at(list).iter().filter_map(Value::as_str).enumerate() {
            let why = label(text);
            if !why.is_empty() {
                errors.invalid(&path.child(list).index(at), text, &why);
            }
        }
    }
    if !names.str_at("kind").is_empty() && names.str_at("kind") == names.str_at("listKind") {
        errors.invalid(&path.child("listKind"), names.str_at("listKind"), "kind and listKind may not be the same");
    }
}

fn validate_conversion(doc: &Value, path: &Path, errors: &mut FieldErrors) {
    let webhook = doc.at("spec.conversion.webhook").filter(|webhook| webhook.is_object());
    match doc.str_at("spec.conversion.strategy") {
        "" => errors.required(&path.child("strategy"), ""),
        "None" if webhook.is_some() => errors.forbidden(&path.child("webhook"), "should not be set when strategy is not set to Webhook"),
        "None" => {}
        "Webhook" => validate_webhook(webhook, &path.child("webhook"), errors),
        other => not_supported(&path.child("strategy"), &other.into(), &["None", "Webhook"], errors),
    }
}

fn validate_webhook(webhook: Option<&Value>, path: &Path, errors: &mut FieldErrors) {
    let Some(client) = webhook.and_then(|webhook| webhook.get("clientConfig")).filter(|client| client.is_object()) else {
        return errors.required(&path.child("clientConfig"), "required when strategy is set to Webhook");
    };
    let url = client.str_at("url");
    match (url.is_empty(), client.get("service").filter(|service| service.is_object())) {
        (true, None) | (false, Some(_)) => {
            errors.required(&path.child("clientConfig"), "exactly one of url or service is required");
        }
        (false, None) if !url.starts_with("https://") => {
            errors.invalid(&path.child("clientConfig").child("url"), url, "'https' is the only allowed URL scheme");
        }
        (true, Some(service)) => {
            for name in ["name", "namespace"].into_iter().filter(|name| service.str_at(name).is_empty()) {
                errors.required(&path.child("clientConfig").child("service").child(name), "");
            }
        }
        (false, None) => {}
    }
    let versions = webhook.map(|webhook| webhook.items_at("conversionReviewVersions")).unwrap_or_default();
    let known = |version: &Value| version == "v1" || version == "v1beta1";
    let at = path.child("conversionReviewVersions");
    if versions.is_empty() {
        errors.required(&at, "");
    } else if !versions.iter().any(known) {
        errors.invalid(&at, versions.to_vec(), "must include at least one of v1, v1beta1");
    }
}

fn validate_stored(doc: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status").child("storedVersions");
    let stored: Vec<&str> = doc.items_at("status.storedVersions").iter().filter_map(Value::as_str).collect();
    if stored.is_empty() {
        return errors.invalid(&path, Value::Null, "must have at least one stored version");
    }
    let current = doc.items_at("spec.versions").iter().filter(|version| version.bool_at("storage"));
    // Upstream looks at the last of several: it has complained of the others.
    if let Some(name) = current.map(|version| version.str_at("name")).next_back().filter(|name| !stored.contains(name) || is_doubled(doc)) {
        errors.invalid(&path, json!(stored), &format!("must have the storage version {name}"));
    }
}

/// Two versions are marked as stored.
fn is_doubled(doc: &Value) -> bool {
    doc.items_at("spec.versions").iter().filter(|version| version.bool_at("storage")).count() > 1
}

/// Groups of the project itself need a link to who approved them.
fn validate_approval(doc: &Value, group: &str, errors: &mut FieldErrors) {
    const NAME: &str = "api-approved.kubernetes.io";
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let protected = ["k8s.io", "kubernetes.io"].iter().any(|domain| group == *domain || group.ends_with(&format!(".{domain}")));
    if !protected {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(NAME);
    let given = doc.map_at("metadata.annotations").and_then(|all: &Map<String, Value>| all.get(NAME)).and_then(Value::as_str);
    match given {
        None => errors.required(&path, &format!("protected groups must have approval annotation {NAME:?}, {SEE}")),
        Some(text) if text.starts_with("unapproved") || text.starts_with("https://") || text.starts_with("http://") => {}
        Some(text) => {
            let why = format!(
                "protected groups must have approval annotation {NAME:?} with either a URL or a reason starting with \"unapproved\", {SEE}"
            );
            errors.invalid(&path, text, &why);
        }
    }
}
