//! `cargo xtask schema`: builds `api/schema/src/facts.bin` from the published files of the pinned release.
//!
//! OpenAPI gives types, lists, merge keys and requiredness; the .proto files give the numbers; `defaults-enums.json`
//! gives what the served OpenAPI leaves out; `xtask/facts/presence.txt` says which values are held by pointer. A proto
//! field that no OpenAPI property answers to stops the command: the two must be of one release.

mod proto;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::schema::facts::{Arity, Facts, Field, KindEntry, ListType, Presence, Rare, Shape, Slot, SlotTo, Type, TypeId, table};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use proto::{Message, Messages};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder with the release's files; default: the newest ../shared/kubernetes-*
    from: Option<PathBuf>,
    /// Where to write the table
    #[arg(long, default_value = "api/schema/src/facts.bin")]
    to: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let from = match &arguments.from {
        Some(folder) => folder.clone(),
        None => newest_release(Path::new("../shared"))?,
    };
    let sources = Sources::read(&from)?;
    let facts = Builder::new(&sources).facts()?;
    let file = table::write(&facts);
    std::fs::write(&arguments.to, &file).with_context(|| format!("writing {}", arguments.to.display()))?;
    let fields: usize = facts.types().iter().map(|one| one.fields.len()).sum();
    let to = arguments.to.display();
    say(&format!("{to}: {} types, {fields} fields, {} kinds, {} bytes", facts.types().len(), facts.kinds().len(), file.len()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command's result")]
fn say(line: &str) {
    println!("{line}");
}

fn newest_release(shared: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(shared).with_context(|| format!("{} (give the release's folder as argument)", shared.display()))?;
    let releases = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut releases: Vec<PathBuf> = releases.filter(|path| path.to_string_lossy().contains("/kubernetes-")).collect();
    releases.sort();
    releases.pop().with_context(|| format!("no kubernetes-* folder in {}", shared.display()))
}

/// Everything read from files.
struct Sources {
    definitions: Map<String, Value>,
    defaults: Value,
    presence: BTreeMap<(String, String), Presence>,
    messages: Messages,
}

impl Sources {
    fn read(from: &Path) -> Result<Self> {
        let mut definitions = Map::new();
        for file in ["openapi-v2.json", "openapi-v2-unserved.json"] {
            let Value::Object(more) = read_json(&from.join(file))?["definitions"].take() else {
                bail!("{file} has no definitions");
            };
            definitions.extend(more);
        }
        definitions.extend(undocumented());
        let presence_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("facts/presence.txt");
        let presence = std::fs::read_to_string(&presence_file).with_context(|| presence_file.display().to_string())?;
        Ok(Self {
            definitions,
            defaults: read_json(&from.join("defaults-enums.json"))?,
            presence: parse_presence(&presence),
            messages: Messages::read(&from.join("proto"))?,
        })
    }
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const DISCOVERY: &str = "io.k8s.api.apidiscovery";

/// Kinds that clients ask for and that no published definition describes.
fn undocumented() -> Map<String, Value> {
    let one = |definition: String, group: &str, version: &str, metadata: &str, items: Option<String>| {
        let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
        let text = json!({"type": "string"});
        let mut properties = json!({"apiVersion": text, "kind": text, "metadata": reference(&format!("{META}.{metadata}"))});
        if let Some(items) = items {
            properties["items"] = json!({"type": "array", "items": reference(&items)});
        }
        let kind = definition.rsplit('.').next().unwrap_or_default();
        let kinds = json!([{"group": group, "version": version, "kind": kind}]);
        let schema = json!({"type": "object", "properties": properties, "x-kubernetes-group-version-kind": kinds});
        (definition, schema)
    };
    let discovery = |version: &str| {
        let items = Some(format!("{DISCOVERY}.{version}.APIGroupDiscovery"));
        one(format!("{DISCOVERY}.{version}.APIGroupDiscoveryList"), "apidiscovery.k8s.io", version, "ListMeta", items)
    };
    let partial = format!("{META}.PartialObjectMetadata");
    let raw = "io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned();
    Map::from_iter([
        one(partial.clone(), "meta.k8s.io", "v1", "ObjectMeta", None),
        one(format!("{partial}List"), "meta.k8s.io", "v1", "ListMeta", Some(partial)),
        one(format!("{META}.List"), "", "v1", "ListMeta", Some(raw)),
        discovery("v2"),
        discovery("v2beta1"),
    ])
}

/// Kinds that the release's client libraries know and its files no longer describe, and the definition that they share.
const UNSERVED: &[(&str, &str, &str)] =
    &[("authentication.k8s.io/v1alpha1", "SelfSubjectReview", "io.k8s.api.authentication.v1.SelfSubjectReview")];

/// The group of a definition whose kinds are published without their group.
fn unpublished_group(definition: &str) -> Option<Value> {
    let (version, kind) = definition.strip_prefix(DISCOVERY)?.strip_prefix('.')?.split_once('.')?;
    (kind == "APIGroupDiscovery").then(|| json!({"group": "apidiscovery.k8s.io", "version": version, "kind": kind}))
}

/// `definition *pointer !always`, a definition a line.
fn parse_presence(text: &str) -> BTreeMap<(String, String), Presence> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let definition = words.next().unwrap_or_default();
        for word in words {
            let presence = if word.starts_with('*') { Presence::Pointer } else { Presence::Always };
            all.insert((definition.to_owned(), word[1..].to_owned()), presence);
        }
    }
    all
}

struct Builder<'a> {
    sources: &'a Sources,
    /// The definitions that are objects of their own, by id.
    names: Vec<&'static str>,
    unmapped: Vec<String>,
}

const SCHEMA_PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

impl<'a> Builder<'a> {
    fn new(sources: &'a Sources) -> Self {
        let mut names: Vec<&'static str> =
            sources.definitions.keys().filter(|name| special(name).is_none()).map(|name| leak(name)).collect();
        names.sort_unstable();
        Self { sources, names, unmapped: Vec::new() }
    }

    fn facts(mut self) -> Result<Facts> {
        let names = self.names.clone();
        let types = names.iter().map(|name| self.one_type(name)).collect::<Result<Vec<Type>>>()?;
        if !self.unmapped.is_empty() {
            bail!("no OpenAPI property for the protobuf fields {}", self.unmapped.join(", "));
        }
        Ok(Facts::new(types, self.kinds()))
    }

    fn kinds(&self) -> Vec<KindEntry> {
        let mut kinds = Vec::new();
        for (id, name) in self.names.iter().enumerate() {
            let published = array(&self.sources.definitions[*name], "x-kubernetes-group-version-kind");
            for row in published.iter().chain(&unpublished_group(name)) {
                let (group, version) = (text(row, "group"), text(row, "version"));
                let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                kinds.push(KindEntry { api_version: leak(&api_version), kind: leak(text(row, "kind")), id: TypeId(id as u32) });
            }
        }
        kinds.extend(UNSERVED.iter().filter_map(|(api_version, kind, as_definition)| {
            let id = self.id(as_definition).ok()?;
            Some(KindEntry { api_version, kind, id })
        }));
        kinds.sort_unstable();
        kinds
    }

    fn one_type(&mut self, name: &'static str) -> Result<Type> {
        let definition = &self.sources.definitions[name];
        let required: Vec<&str> = array(definition, "required").iter().filter_map(Value::as_str).collect();
        let mut fields = Vec::new();
        for (property, schema) in definition["properties"].as_object().into_iter().flatten() {
            let field = self.field(name, property, schema, required.contains(&property.as_str()));
            fields.push(field.with_context(|| format!("{name}.{property}"))?);
        }
        fields.sort_by_key(|field| field.name);
        let layout = match self.sources.messages.get(&proto_name(name)) {
            Some(message) => self.layout(name, message, &mut fields),
            None => Vec::new(),
        };
        Ok(Type { name, map_atomic: text(definition, "x-kubernetes-map-type") == "atomic", fields, layout })
    }

    fn field(&self, definition: &str, name: &str, schema: &Value, required: bool) -> Result<Field> {
        let (arity, shape) = self.arity_and_shape(schema)?;
        let more = &self.sources.defaults[definition];
        let suffix = match arity {
            Arity::One => "",
            Arity::List => "[]",
            Arity::Map | Arity::MapOfList => "{}",
        };
        let words = &more[format!("{name}{suffix}")]["enum"];
        let default = more[name].get("default").map(|value| leak(&value.to_string()));
        let strategy = text(schema, "x-kubernetes-patch-strategy");
        let rare = Rare {
            list_map_keys: words_of(&schema["x-kubernetes-list-map-keys"]),
            merge_key: schema.get("x-kubernetes-patch-merge-key").and_then(Value::as_str).map(leak),
            enumeration: words_of(words),
            default,
        };
        Ok(Field {
            name: leak(name),
            shape,
            arity,
            required,
            list_type: match text(schema, "x-kubernetes-list-type") {
                "map" => ListType::Map,
                "set" => ListType::Set,
                _ => ListType::Atomic,
            },
            patch_merge: strategy.split(',').any(|one| one == "merge"),
            retain_keys: strategy.split(',').any(|one| one == "retainKeys"),
            patch_replace: strategy.split(',').any(|one| one == "replace"),
            map_atomic: text(schema, "x-kubernetes-map-type") == "atomic",
            presence: self.presence(definition, name),
            wrapped: false,
            proto: 0,
            rare: Box::leak(Box::new(rare)),
        })
    }

    fn presence(&self, definition: &str, name: &str) -> Presence {
        let key = (definition.to_owned(), name.to_owned());
        self.sources.presence.get(&key).copied().unwrap_or_default()
    }

    fn arity_and_shape(&self, schema: &Value) -> Result<(Arity, Shape)> {
        if let Some(items) = schema.get("items") {
            return Ok((Arity::List, self.shape(items)?));
        }
        match schema.get("additionalProperties") {
            Some(values) => match values.get("items") {
                Some(items) => Ok((Arity::MapOfList, self.shape(items)?)),
                None => Ok((Arity::Map, self.shape(values)?)),
            },
            None => Ok((Arity::One, self.shape(schema)?)),
        }
    }

    fn shape(&self, schema: &Value) -> Result<Shape> {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference.trim_start_matches("#/definitions/");
            return match special(name) {
                Some(Special::Plain(shape)) => Ok(shape),
                Some(Special::Schema(make)) => Ok(make(self.id(SCHEMA_PROPS)?)),
                None => Ok(Shape::Object(self.id(name)?)),
            };
        }
        Ok(match (text(schema, "type"), text(schema, "format")) {
            ("string", "byte") => Shape::Bytes,
            ("string", _) => Shape::String,
            ("integer", "int64") => Shape::Int64,
            ("integer", _) => Shape::Int32,
            ("number", _) => Shape::Number,
            ("boolean", _) => Shape::Bool,
            ("object", _) => Shape::Any,
            other => bail!("no shape for {other:?}"),
        })
    }

    fn id(&self, name: &str) -> Result<TypeId> {
        let at = self.names.binary_search(&name).ok().with_context(|| format!("no definition {name}"))?;
        Ok(TypeId(at as u32))
    }

    /// The slots of `message` over `fields`. A message-typed field that JSON does not name is an embedded struct.
    fn layout(&mut self, owner: &str, message: &Message, fields: &mut Vec<Field>) -> Vec<Slot> {
        let mut slots = Vec::new();
        for wire in &message.fields {
            let number = wire.number;
            if let Some(index) = find(fields, &wire.name) {
                let field = &mut fields[index];
                field.proto = number;
                let value_is_list = wire.map && field.arity == Arity::MapOfList;
                field.wrapped = value_is_list || (field.arity == Arity::List && !wire.repeated);
                slots.push(Slot { number, to: SlotTo::Field(index as u16) });
            } else if let Some(inner) = self.sources.messages.get(&wire.kind) {
                let name = leak(wire.kind.rsplit('.').next().unwrap_or(&wire.kind));
                slots.push(Slot { number, to: SlotTo::Inline(name, self.layout(owner, inner, fields).into()) });
            } else {
                self.unmapped.push(format!("{owner}.{}", wire.name));
            }
        }
        slots.sort_by_key(|slot| slot.number);
        slots
    }
}

/// JSON names and protobuf names differ in case (`aPIGroup`) and in the schema types' punctuation (`$ref`, `x-kubernetes-…`).
fn find(fields: &[Field], wire: &str) -> Option<usize> {
    let fold = |name: &str| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let exact = fields.iter().position(|field| field.name == wire);
    exact.or_else(|| fields.iter().position(|field| fold(field.name) == fold(wire)))
}

/// A definition that is a scalar or a free form rather than an object.
enum Special {
    Plain(Shape),
    Schema(fn(TypeId) -> Shape),
}

fn special(name: &str) -> Option<Special> {
    let plain = |shape| Some(Special::Plain(shape));
    let short = name.strip_prefix("io.k8s.apimachinery.pkg.").or_else(|| name.strip_prefix("io.k8s.apiextensions-apiserver.pkg.apis."))?;
    match short {
        "api.resource.Quantity" => plain(Shape::Quantity),
        "apis.meta.v1.FieldsV1" => plain(Shape::FieldsV1),
        "apis.meta.v1.Time" => plain(Shape::Time),
        "apis.meta.v1.MicroTime" => plain(Shape::MicroTime),
        "apis.meta.v1.Patch" | "runtime.RawExtension" | "apiextensions.v1.JSON" => plain(Shape::Any),
        "apis.meta.v1.Duration" => plain(Shape::Duration),
        "util.intstr.IntOrString" => plain(Shape::IntOrString),
        "apiextensions.v1.JSONSchemaPropsOrArray" => Some(Special::Schema(Shape::SchemaOrArray)),
        "apiextensions.v1.JSONSchemaPropsOrBool" => Some(Special::Schema(Shape::SchemaOrBool)),
        "apiextensions.v1.JSONSchemaPropsOrStringArray" => Some(Special::Schema(Shape::SchemaOrStrings)),
        _ => None,
    }
}

/// `io.k8s.api.core.v1.Pod` as protobuf calls it.
fn proto_name(definition: &str) -> String {
    let name = definition.replace('-', "_");
    name.strip_prefix("io.k8s.").map_or(name.clone(), |rest| format!("k8s.io.{rest}"))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn words_of(list: &Value) -> &'static [&'static str] {
    let words = list.as_array().into_iter().flatten().filter_map(Value::as_str).map(leak);
    words.collect::<Vec<_>>().leak()
}

/// The table's names live as long as the table, and this command builds one table.
fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a test says why it skips")]
    fn the_checked_in_table_is_what_the_release_says() -> Result<()> {
        let Ok(release) = newest_release(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared")) else {
            eprintln!("skipped: no kubernetes-* folder in ../shared");
            return Ok(());
        };
        let sources = Sources::read(&release)?;
        let facts = Builder::new(&sources).facts()?;
        assert_eq!(&facts, Facts::builtin(), "run `cargo xtask schema`");
        Ok(())
    }

    #[test]
    fn names_fold_where_protobuf_spells_them_otherwise() {
        let Some(webhook) = Facts::builtin().definition("io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration") else {
            panic!("a definition");
        };
        let fields = &Facts::builtin().get(webhook).fields;
        assert_eq!(find(fields, "Webhooks").map(|at| fields[at].name), Some("webhooks"));
        assert_eq!(find(fields, "nothing"), None);
    }
}
