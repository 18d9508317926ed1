//! A world of documents for the golden cases: creates, merge patches and tables, without HTTP, store or admission.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use env::Env;
use kinds::{KindRef, WriteContext};
use schema::{DocExt, FieldErrors, Value, json};

/// The cases of one file; None where the shared data is absent.
pub(crate) fn lines(file: &str) -> Option<Vec<Value>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/builtin").join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is absent", path.display());
        return None;
    };
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect())
}

const NAMESPACE: &str = "golden";

#[derive(Debug)]
pub(crate) enum Answer {
    Object(Value),
    /// 400 with what the decoder said.
    BadRequest(#[expect(dead_code, reason = "read by Debug")] String),
    /// 422: field, reason, text of each cause.
    Invalid(Vec<(String, String, String)>),
    Table {
        columns: Value,
        rows: Value,
    },
    /// A request that this world does not play.
    Other,
}

/// Documents by collection path and name.
#[derive(Default)]
pub(crate) struct World {
    objects: BTreeMap<(String, String), Value>,
}

/// `/apis/apps/v1/namespaces/${ns}/deployments/x/status?…`
struct Target {
    kind: &'static KindRef,
    collection: String,
    name: String,
    subresource: String,
    label: Option<(String, String)>,
}

impl Target {
    fn parse(path: &str) -> Option<Self> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let rest = match rest {
            ["namespaces", _, resource, ..] if kinds::find(group, version, resource).is_some() => &rest[2..],
            rest => rest,
        };
        let (resource, rest) = rest.split_first()?;
        let label = query.strip_prefix("labelSelector=").and_then(|label| label.split_once("%3D"));
        Some(Self {
            kind: kinds::find(group, version, resource)?,
            collection: format!("{group}/{resource}"),
            name: rest.first().copied().unwrap_or_default().to_owned(),
            subresource: rest.get(1).copied().unwrap_or_default().to_owned(),
            label: label.map(|(key, value)| (key.to_owned(), value.to_owned())),
        })
    }
}

impl World {
    pub(crate) fn call(&mut self, step: &Value) -> Answer {
        let Some(target) = Target::parse(&step.str_at("path").replace("${ns}", NAMESPACE)) else { return Answer::Other };
        let body = step.at("body").map(Value::to_string).unwrap_or_default().replace("${ns}", NAMESPACE);
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        match step.str_at("method") {
            "POST" if target.name.is_empty() => self.create(&target, &body),
            "PATCH" => self.patch(&target, &body),
            "GET" => self.table(&target),
            _ => Answer::Other,
        }
    }

    fn create(&mut self, target: &Target, body: &Value) -> Answer {
        let kind = target.kind;
        let mut doc = match schema::decode::json(kind.ty, body.to_string().as_bytes()) {
            Ok(decoded) => decoded.value,
            Err(error) => return Answer::BadRequest(error.to_string()),
        };
        let env = Env::real();
        doc.set_at("apiVersion", kind.api_version());
        doc.set_at("kind", kind.kind.as_ref());
        if kind.is_namespaced() {
            doc.set_at("metadata.namespace", NAMESPACE);
        }
        doc.set_at("metadata.uid", "6ba7b810-9dad-41d1-80b4-00c04fd430c8");
        doc.set_at("metadata.creationTimestamp", schema::time::format(env.now()));
        let cx = WriteContext { env: &env, user: "golden", subresource: "" };
        kind.strategy.fill_defaults(&mut doc);
        kind.strategy.prepare_create(&mut doc, &cx);
        kind.strategy.fill_defaults(&mut doc);
        admit(kind, &mut doc);
        let mut errors = FieldErrors::default();
        let name = doc.str_at("metadata.name").to_owned();
        for text in kind.strategy.validate_name(&name) {
            errors.invalid(&schema::Path::new("metadata.name"), name.as_str(), &text);
        }
        kind.strategy.validate_create(&doc, &mut errors);
        self.answer(target, &name, doc, errors)
    }

    fn patch(&mut self, target: &Target, patch: &Value) -> Answer {
        let kind = target.kind;
        let Some(old) = self.objects.get(&(target.collection.clone(), target.name.clone())).cloned() else { return Answer::Other };
        let merged = merge(old.clone(), patch);
        let mut new = match schema::decode::json(kind.ty, merged.to_string().as_bytes()) {
            Ok(decoded) => decoded.value,
            Err(error) => return Answer::BadRequest(error.to_string()),
        };
        let env = Env::real();
        let cx = WriteContext { env: &env, user: "golden", subresource: &target.subresource };
        kind.strategy.fill_defaults(&mut new);
        kind.strategy.prepare_update(&mut new, &old, &cx);
        let mut errors = FieldErrors::default();
        kind.strategy.validate_update(&new, &old, &cx, &mut errors);
        self.answer(target, &target.name, new, errors)
    }

    fn answer(&mut self, target: &Target, name: &str, doc: Value, errors: FieldErrors) -> Answer {
        if errors.is_empty() {
            self.objects.insert((target.collection.clone(), name.to_owned()), doc.clone());
            return Answer::Object(doc);
        }
        let cause = |error: &schema::field::FieldError| (error.path.to_string(), error.reason.as_str().to_owned(), error.message.clone());
        Answer::Invalid(errors.0.iter().map(cause).collect())
    }

    fn table(&self, target: &Target) -> Answer {
        let columns = target.kind.columns.iter().map(|column| json!([column.name, column.ty, column.format, column.priority])).collect();
        let env = Env::real();
        let selected = |((collection, name), doc): (&(String, String), &Value)| {
            let labelled =
                |(key, value): &(String, String)| doc.map_at("metadata.labels").and_then(|labels| labels.get(key)) == Some(&json!(value));
            let fits = *collection == target.collection && (target.name.is_empty() || *name == target.name);
            (fits && target.label.as_ref().is_none_or(labelled)).then(|| self.row(target.kind, doc, &env))
        };
        let mut rows: Vec<Value> = self.objects.iter().filter_map(selected).collect();
        rows.sort_by_key(Value::to_string);
        Answer::Table { columns, rows: rows.into() }
    }

    fn row(&self, kind: &KindRef, doc: &Value, env: &Env) -> Value {
        kind.columns.iter().map(|column| (column.cell)(doc, env)).collect()
    }
}

/// What the server's admission does to a pod and its allocators to a service.
fn admit(kind: &KindRef, doc: &mut Value) {
    if kind.kind == "Pod" {
        doc.default_at("spec.serviceAccountName", "default");
    }
    if kind.kind != "Service" || doc.str_at("spec.type") == "ExternalName" {
        return;
    }
    if doc.str_at("spec.clusterIP").is_empty() && doc.items_at("spec.clusterIPs").is_empty() {
        doc.set_at("spec.clusterIP", "10.0.46.113");
        doc.set_at("spec.clusterIPs", json!(["10.0.46.113"]));
    }
    doc.default_at("spec.ipFamilies", json!(["IPv4"]));
    doc.default_at("spec.ipFamilyPolicy", "SingleStack");
    let needs = matches!(doc.str_at("spec.type"), "NodePort" | "LoadBalancer")
        && doc.at("spec.allocateLoadBalancerNodePorts") != Some(&json!(false));
    for (at, port) in doc.items_at_mut("spec.ports").iter_mut().enumerate().filter(|_| needs) {
        if port.i64_at("nodePort").unwrap_or_default() == 0 {
            port.set_at("nodePort", 30_500 + at as i64);
        }
    }
}

fn merge(target: Value, patch: &Value) -> Value {
    let Some(members) = patch.as_object() else { return patch.clone() };
    let mut target = if target.is_object() { target } else { json!({}) };
    for (name, value) in members {
        if value.is_null() {
            target.remove_at(name);
            target.as_object_mut().expect("made an object above").remove(name);
        } else {
            let old = target.as_object_mut().expect("made an object above").remove(name).unwrap_or_default();
            target.as_object_mut().expect("made an object above").insert(name.clone(), merge(old, value));
        }
    }
    target
}

/// The wanted object without what other parts of the server add.
pub(crate) fn without_the_servers(want: &Value) -> Value {
    let mut want = want.clone();
    for path in ["metadata.uid", "metadata.resourceVersion", "metadata.creationTimestamp", "metadata.generation"] {
        want.remove_at(path);
    }
    match want.str_at("kind") {
        "Pod" => {
            for path in ["spec.serviceAccountName", "spec.serviceAccount", "spec.priority", "spec.preemptionPolicy"] {
                want.remove_at(path);
            }
            drop_items(&mut want, "spec.tolerations", |item| item.str_at("key").starts_with("node.kubernetes.io/"));
            drop_items(&mut want, "spec.volumes", |item| item.str_at("name").starts_with("kube-api-access-"));
            for list in ["spec.containers", "spec.initContainers"] {
                want.items_at_mut(list).iter_mut().for_each(|container| {
                    drop_items(container, "volumeMounts", |item| item.str_at("name").starts_with("kube-api-access-"))
                });
            }
        }
        // A finalizer that admission sets, and who asked, which authentication knows.
        "PersistentVolumeClaim" => drop(want.remove_at("metadata.finalizers")),
        "CertificateSigningRequest" => {
            ["spec.username", "spec.uid", "spec.groups", "spec.extra"].iter().for_each(|path| drop(want.remove_at(path)));
        }
        "Node" => drop_items(&mut want, "spec.taints", |item| item.str_at("key") == "node.kubernetes.io/not-ready"),
        "Service" => drop(want.remove_at("spec.healthCheckNodePort")),
        _ => {}
    }
    want
}

fn drop_items(doc: &mut Value, path: &str, unwanted: impl Fn(&Value) -> bool) {
    let Some(items) = doc.at_mut(path).and_then(Value::as_array_mut) else { return };
    items.retain(|item| !unwanted(item));
    if items.is_empty() {
        doc.remove_at(path);
    }
}

/// Each wanted field must be there with its value; lists have the same length.
pub(crate) fn compare(path: &str, want: &Value, got: &Value, found: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            for (name, value) in want {
                compare(&format!("{path}/{name}"), value, got.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            for (at, (want, got)) in want.iter().zip(got).enumerate() {
                compare(&format!("{path}/{at}"), want, got, found);
            }
        }
        (want, got) if want == got => {}
        (Value::String(want), got) if is_like(want, got) => {}
        (want, got) => found.push(format!("{path}: {got}, wanted {want}")),
    }
}

/// A wanted text with placeholders and the value found.
fn is_like(want: &str, got: &Value) -> bool {
    let text = got.as_str().map_or_else(|| got.to_string(), str::to_owned);
    match want {
        "<uid>" | "<time>" | "<ip>" | "<rv>" => !got.is_null(),
        "<port>" => got.is_i64(),
        "<age>" => text.ends_with(|last: char| "smhdy".contains(last)) && text.starts_with(|first: char| first.is_ascii_digit()),
        want if want.contains("<ip>") => text_matches(&want.replace("<ip>", "…"), &text),
        want if want.contains("<port>") => text_matches(&want.replace("<port>", "…"), &text),
        want if want.contains("${ns}") => text_matches(&want.replace("${ns}", "…"), &text),
        want if want.contains("<uid>") => text_matches(&want.replace("<uid>", "…"), &text),
        want => text_matches(want, &text),
    }
}

/// `…` stands for anything.
pub(crate) fn text_matches(want: &str, got: &str) -> bool {
    let mut parts = want.split('…');
    let Some(rest) = got.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut rest = rest;
    let mut ended = true;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        ended = part.is_empty();
    }
    rest.is_empty() || (want.contains('…') && (ended || want.ends_with('…')))
}
