//! Schemas out of the facts table: every type that the rows reach, with the extensions that clients merge and list by.

use std::collections::{BTreeMap, BTreeSet};

use kinds::{Descriptor, KindRef, Verbs};
use schema::facts::{Arity, Field, ListType, Shape};
use schema::{Facts, Map, TypeId, Value, json};

use super::Version;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Schemas by definition name.
pub(super) fn of(rows: &[KindRef], version: Version) -> Map<String, Value> {
    let mut maker = Maker { version, facts: Facts::builtin(), todo: Vec::new(), seen: BTreeSet::new(), made: BTreeMap::new() };
    let mut kinds: BTreeMap<TypeId, Vec<Value>> = BTreeMap::new();
    for row in rows {
        if let Some(custom) = &row.custom {
            maker.made.insert(definition(row), super::custom::definition(row, custom, version));
            maker.list(row);
            continue;
        }
        kinds.entry(row.ty).or_default().push(gvk(&row.group, &row.version, &row.kind));
        maker.want(row.ty);
        maker.list(row);
        for sub in row.subresources.iter().filter_map(|sub| sub.kind.as_ref()) {
            let api_version = if sub.0.is_empty() { sub.1.to_string() } else { format!("{}/{}", sub.0, sub.1) };
            if let Some(ty) = maker.facts.kind(&api_version, &sub.2) {
                let of = kinds.entry(ty).or_default();
                let own = gvk(&sub.0, &sub.1, &sub.2);
                if !of.contains(&own) {
                    of.push(own);
                }
                maker.want(ty);
            }
        }
    }
    for name in ["DeleteOptions", "Status", "ListMeta", "ObjectMeta", "WatchEvent"] {
        if let Some(ty) = maker.facts.definition(&format!("{META}.{name}")) {
            maker.want(ty);
        }
    }
    maker
        .made
        .insert(format!("{META}.Patch"), json!({"type": "object", "description": "a patch, in the form that its content type names"}));
    maker.run(&kinds)
}

/// The definition name of a row: `io.k8s.api.core.v1.Pod`, `com.example.v1.Widget`.
pub(super) fn definition(row: &Descriptor) -> String {
    if row.custom.is_none() {
        return Facts::builtin().get(row.ty).name.to_owned();
    }
    let mut group: Vec<&str> = row.group.split('.').collect();
    group.reverse();
    format!("{}.{}.{}", group.join("."), row.version, row.kind)
}

/// The definition name of a row's list.
pub(super) fn list_name(row: &Descriptor) -> String {
    format!("{}List", definition(row))
}

/// A reference to a definition.
pub(super) fn reference(name: &str, version: Version) -> Value {
    match version {
        Version::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        Version::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}

pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

struct Maker {
    version: Version,
    facts: &'static Facts,
    todo: Vec<TypeId>,
    seen: BTreeSet<TypeId>,
    made: BTreeMap<String, Value>,
}

impl Maker {
    fn want(&mut self, ty: TypeId) {
        if self.seen.insert(ty) {
            self.todo.push(ty);
        }
    }

    fn list(&mut self, row: &Descriptor) {
        if row.list_kind.is_empty() || matches!(row.verbs, Verbs::CreateOnly) {
            return;
        }
        let item = reference(&definition(row), self.version);
        let meta = reference(&format!("{META}.ListMeta"), self.version);
        let schema = json!({
            "type": "object", "required": ["items"],
            "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "items": {"type": "array", "items": item}, "metadata": meta},
            "x-kubernetes-group-version-kind": [gvk(&row.group, &row.version, &row.list_kind)],
        });
        self.made.insert(list_name(row), schema);
    }

    fn run(mut self, kinds: &BTreeMap<TypeId, Vec<Value>>) -> Map<String, Value> {
        while let Some(ty) = self.todo.pop() {
            let mut schema = self.object(ty);
            if let Some(kinds) = kinds.get(&ty) {
                schema["x-kubernetes-group-version-kind"] = json!(kinds);
            }
            self.made.insert(self.facts.get(ty).name.to_owned(), schema);
        }
        self.made.into_iter().collect()
    }

    fn object(&mut self, ty: TypeId) -> Value {
        let facts = self.facts;
        let fields = &facts.get(ty).fields;
        let properties: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), self.field(field))).collect();
        let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
        let mut schema = json!({"type": "object"});
        if facts.get(ty).map_atomic {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
        if !properties.is_empty() {
            schema["properties"] = Value::Object(properties);
        }
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }

    fn field(&mut self, field: &Field) -> Value {
        let one = self.shape(field);
        let mut schema = match field.arity {
            Arity::One => one,
            Arity::List => json!({"type": "array", "items": one}),
            Arity::Map => json!({"type": "object", "additionalProperties": one}),
            Arity::MapOfList => json!({"type": "object", "additionalProperties": {"type": "array", "items": one}}),
        };
        if let Some(default) = field.default.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            // Nothing may stand beside a reference.
            if schema.get("$ref").is_some() && self.version == Version::V3 {
                schema = json!({"allOf": [schema]});
            }
            schema["default"] = default;
        }
        extensions(field, &mut schema);
        schema
    }

    fn shape(&mut self, field: &Field) -> Value {
        let named = |maker: &mut Self, name: &str, schema: Value| {
            maker.made.entry(name.to_owned()).or_insert(schema);
            reference(name, maker.version)
        };
        let either = |v3: Value, v2: Value| if self.version == Version::V3 { v3 } else { v2 };
        match field.shape {
            Shape::String if field.enumeration.is_empty() => json!({"type": "string"}),
            Shape::String => json!({"type": "string", "enum": field.enumeration}),
            Shape::Int32 => json!({"type": "integer", "format": "int32"}),
            Shape::Int64 => json!({"type": "integer", "format": "int64"}),
            Shape::Number => json!({"type": "number", "format": "double"}),
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Bytes => json!({"type": "string", "format": "byte"}),
            Shape::Time => named(self, &format!("{META}.Time"), json!({"type": "string", "format": "date-time"})),
            Shape::MicroTime => named(self, &format!("{META}.MicroTime"), json!({"type": "string", "format": "date-time"})),
            Shape::Duration => named(self, &format!("{META}.Duration"), json!({"type": "string"})),
            Shape::FieldsV1 => named(self, &format!("{META}.FieldsV1"), json!({"type": "object"})),
            Shape::Quantity => {
                let schema = either(json!({"oneOf": [{"type": "string"}, {"type": "number"}]}), json!({"type": "string"}));
                named(self, "io.k8s.apimachinery.pkg.api.resource.Quantity", schema)
            }
            Shape::IntOrString => {
                let v3 = json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"});
                let schema = either(v3, json!({"type": "string", "format": "int-or-string"}));
                named(self, "io.k8s.apimachinery.pkg.util.intstr.IntOrString", schema)
            }
            Shape::Any => named(self, "io.k8s.apimachinery.pkg.runtime.RawExtension", json!({"type": "object"})),
            Shape::SchemaOrArray(ty) | Shape::SchemaOrBool(ty) | Shape::SchemaOrStrings(ty) => {
                self.want(ty);
                // Upstream leaves these unions open, too.
                named(self, schema_union(field.shape), json!({"description": "a schema, or what may stand for one"}))
            }
            Shape::Object(ty) => {
                self.want(ty);
                reference(self.facts.get(ty).name, self.version)
            }
        }
    }
}

/// Definition names of the unions in a custom resource's schema.
fn schema_union(shape: Shape) -> &'static str {
    match shape {
        Shape::SchemaOrArray(_) => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        Shape::SchemaOrBool(_) => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        _ => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
    }
}

/// What patches and apply go by.
fn extensions(field: &Field, schema: &mut Value) {
    match field.list_type {
        ListType::Atomic => {}
        ListType::Set => schema["x-kubernetes-list-type"] = json!("set"),
        ListType::Map => {
            schema["x-kubernetes-list-type"] = json!("map");
            schema["x-kubernetes-list-map-keys"] = json!(field.list_map_keys);
        }
    }
    if field.map_atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    if let Some(key) = field.merge_key {
        schema["x-kubernetes-patch-merge-key"] = json!(key);
    }
    let strategies = [("retainKeys", field.retain_keys), ("merge", field.patch_merge), ("replace", field.patch_replace)];
    let strategy: Vec<&str> = strategies.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    if !strategy.is_empty() {
        schema["x-kubernetes-patch-strategy"] = json!(strategy.join(","));
    }
}
