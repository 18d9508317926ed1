//! The facts table: every type of the pinned release, read from one compact checked-in file (`facts.bin`) that
//! `cargo xtask schema` makes from the published OpenAPI and .proto files.
//!
//! The table is inflated once and lives for the life of the process: names are slices of one text, so a loaded table
//! costs a few hundred kilobytes and no lookup allocates.

pub mod table;

use std::ops::Deref;
use std::sync::OnceLock;

/// Index of a type in [`Facts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// What a field or list element holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    String,
    /// 32 or 64 bits, signed.
    Int32,
    Int64,
    /// float64.
    Number,
    Bool,
    /// base64 text in JSON, bytes in protobuf.
    Bytes,
    /// RFC 3339 seconds.
    Time,
    /// RFC 3339 with six digits.
    MicroTime,
    Quantity,
    IntOrString,
    /// `metav1.Duration`: a Go duration text.
    Duration,
    /// Any JSON: RawExtension, `apiextensions JSON`.
    Any,
    /// managedFields' `fieldsV1`.
    FieldsV1,
    Object(TypeId),
    /// `apiextensions JSONSchemaPropsOrArray`: one schema (the type given) or a list of them.
    SchemaOrArray(TypeId),
    /// `apiextensions JSONSchemaPropsOrBool`.
    SchemaOrBool(TypeId),
    /// `apiextensions JSONSchemaPropsOrStringArray`.
    SchemaOrStrings(TypeId),
}

/// One, many, or keyed by string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    One,
    List,
    Map,
    /// `map[string][]T`
    MapOfList,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// How a single value behaves when it is absent or zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// A value that JSON leaves out when it is zero; protobuf always writes it.
    #[default]
    Value,
    /// A value that JSON and protobuf both always write.
    Always,
    /// Held by pointer: an explicit zero differs from absence, and protobuf leaves an absent one out.
    Pointer,
}

/// Everything known of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub arity: Arity,
    pub required: bool,
    pub list_type: ListType,
    /// `x-kubernetes-patch-strategy` has `merge`.
    pub patch_merge: bool,
    /// `x-kubernetes-patch-strategy` has `retainKeys`.
    pub retain_keys: bool,
    /// `x-kubernetes-patch-strategy` has `replace`.
    pub patch_replace: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub map_atomic: bool,
    pub presence: Presence,
    /// Protobuf wraps the list (or each list of a map of lists) in a message of its own whose field 1 repeats.
    pub wrapped: bool,
    /// Protobuf number; 0 where the type has no protobuf form. [`Type::layout`] says in which message.
    pub proto: u32,
    /// What few fields have; read through the field itself (`field.merge_key`).
    pub rare: &'static Rare,
}

/// Facts that few fields have, kept once for all fields that share them: most share the empty ones, which halves the
/// table in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rare {
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: &'static [&'static str],
    /// `x-kubernetes-patch-merge-key`.
    pub merge_key: Option<&'static str>,
    /// The allowed words of a string, or of the elements of a list or map of strings.
    pub enumeration: &'static [&'static str],
    /// JSON text of the schema's default.
    pub default: Option<&'static str>,
}

impl Deref for Field {
    type Target = Rare;

    fn deref(&self) -> &Rare {
        self.rare
    }
}

/// One object type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// The OpenAPI definition's name: `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// The whole object is replaced by server-side apply (`x-kubernetes-map-type: atomic` on the type).
    pub map_atomic: bool,
    /// Sorted by name; [`Type::field`] finds by name.
    pub fields: Vec<Field>,
    /// The protobuf message, sorted by number; empty where the type has no fields or no protobuf form.
    pub layout: Vec<Slot>,
}

/// One numbered field of a protobuf message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub number: u32,
    pub to: SlotTo,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotTo {
    /// Index into [`Type::fields`].
    Field(u16),
    /// A message whose fields JSON shows as fields of the outer object: an embedded Go struct, and its name.
    Inline(&'static str, Box<[Slot]>),
}

/// All types.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    /// Sorted by name.
    types: Vec<Type>,
    /// Sorted by `apiVersion`, then kind.
    kinds: Vec<KindEntry>,
}

/// Where a kind's type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KindEntry {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub id: TypeId,
}

impl Facts {
    /// A table of these types (sorted by name, as ids are their indexes) and kinds (sorted).
    pub fn new(types: Vec<Type>, kinds: Vec<KindEntry>) -> Self {
        debug_assert!(types.is_sorted_by_key(|one| one.name) && kinds.is_sorted());
        Self { types, kinds }
    }

    /// The built-in table, decoded once.
    pub fn builtin() -> &'static Self {
        static FACTS: OnceLock<Facts> = OnceLock::new();
        FACTS.get_or_init(|| table::read(include_bytes!("facts.bin")).expect("the checked-in facts.bin is sound: a test reads it"))
    }

    /// The type of a served kind or of any registered list/option kind, by `apiVersion` (`apps/v1`) and kind.
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        let at = self.kinds.binary_search_by(|entry| (entry.api_version, entry.kind).cmp(&(api_version, kind))).ok()?;
        Some(self.kinds[at].id)
    }

    /// Every kind that the table knows, served or not.
    pub fn kinds(&self) -> &[KindEntry] {
        &self.kinds
    }

    /// A type by its OpenAPI definition name.
    pub fn definition(&self, name: &str) -> Option<TypeId> {
        let at = self.types.binary_search_by(|one| one.name.cmp(name)).ok()?;
        Some(TypeId(at as u32))
    }

    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// All types; a [`TypeId`] is an index here.
    pub fn types(&self) -> &[Type] {
        &self.types
    }

    /// Resolves a dotted path (`spec.containers.ports`, lists and maps are stepped through) from `root`.
    pub fn path(&self, root: TypeId, path: &str) -> Option<&Field> {
        let (parent, last) = match path.rsplit_once('.') {
            Some((parent, last)) => (self.path(root, parent)?.shape.object()?, last),
            None => (root, path),
        };
        self.get(parent).field(last)
    }
}

impl Type {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.index_of(name).map(|at| &self.fields[at])
    }

    /// The embedded Go structs in which the field lies, outermost first.
    pub fn embedding(&self, name: &str) -> Vec<&'static str> {
        let Some(at) = self.index_of(name) else { return Vec::new() };
        // Protobuf does not know the embedded struct that says what a document is.
        if self.fields[at].proto == 0 && matches!(name, "apiVersion" | "kind") {
            return vec!["TypeMeta"];
        }
        let mut names = Vec::new();
        embedding_of(&self.layout, at, &mut names);
        names
    }

    /// Where in [`Type::fields`] the field is.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.binary_search_by(|field| field.name.cmp(name)).ok()
    }
}

/// Whether a slot of `layout` holds the field, at any depth; `names` gets the structs on the way to it.
fn embedding_of(layout: &[Slot], field: usize, names: &mut Vec<&'static str>) -> bool {
    layout.iter().any(|slot| match &slot.to {
        SlotTo::Field(index) => usize::from(*index) == field,
        SlotTo::Inline(name, inner) => {
            names.push(name);
            let found = embedding_of(inner, field, names);
            if !found {
                names.pop();
            }
            found
        }
    })
}

impl Shape {
    /// The type that this shape leads to, where it is an object.
    pub fn object(self) -> Option<TypeId> {
        match self {
            Self::Object(id) => Some(id),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_table_knows_kinds_lists_options_and_paths() {
        let facts = Facts::builtin();
        for (api_version, kind) in [
            ("v1", "Pod"),
            ("v1", "PodList"),
            ("v1", "Status"),
            ("apps/v1", "DeleteOptions"),
            ("v1", "WatchEvent"),
            ("autoscaling/v1", "Scale"),
            ("authentication.k8s.io/v1", "TokenRequest"),
            ("policy/v1", "Eviction"),
            ("authorization.k8s.io/v1", "SubjectAccessReview"),
            ("meta.k8s.io/v1", "PartialObjectMetadataList"),
            ("v1", "List"),
        ] {
            assert!(facts.kind(api_version, kind).is_some(), "{api_version} {kind}");
        }
        assert_eq!(facts.kind("v1", "pod"), None);
        let pod = facts.kind("v1", "Pod").expect("just seen");
        let ports = facts.path(pod, "spec.containers.ports").expect("a path of Pod");
        assert_eq!(
            (ports.merge_key, ports.list_map_keys, ports.list_type),
            (Some("containerPort"), &["containerPort", "protocol"][..], ListType::Map)
        );
        assert_eq!(facts.path(pod, "spec.containers.ports.nope"), None);
    }

    #[test]
    fn embedded_structs_are_known_by_name() {
        let facts = Facts::builtin();
        let embedding = |name: &str, field: &str| {
            let id = facts.definition(&format!("io.k8s.api.core.v1.{name}")).expect(name);
            facts.get(id).embedding(field)
        };
        assert_eq!(embedding("Probe", "httpGet"), ["ProbeHandler"]);
        assert_eq!(embedding("Volume", "emptyDir"), ["VolumeSource"]);
        assert_eq!(embedding("ConfigMapKeySelector", "name"), ["LocalObjectReference"]);
        assert_eq!(embedding("Pod", "kind"), ["TypeMeta"]);
        assert!(embedding("Pod", "spec").is_empty() && embedding("ObjectReference", "kind").is_empty());
    }

    #[test]
    fn every_served_message_field_has_a_number() {
        let facts = Facts::builtin();
        let pod = facts.definition("io.k8s.api.core.v1.PodSpec").expect("a definition");
        for field in &facts.get(pod).fields {
            assert_ne!(field.proto, 0, "PodSpec.{}", field.name);
        }
    }
}
