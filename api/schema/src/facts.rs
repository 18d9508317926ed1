//! The facts table: every type of the pinned release, read from one compact checked-in file (`facts.bin`) that
//! `cargo xtask schema` makes from the published OpenAPI and .proto files.

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

/// Everything known of one field.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub shape: Shape,
    pub arity: Arity,
    pub required: bool,
    pub list_type: ListType,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-patch-merge-key`.
    pub merge_key: Option<String>,
    /// `x-kubernetes-patch-strategy` has `merge`.
    pub patch_merge: bool,
    /// `x-kubernetes-patch-strategy` has `retainKeys`.
    pub retain_keys: bool,
    /// `x-kubernetes-patch-strategy` has `replace`.
    pub patch_replace: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub map_atomic: bool,
    pub enumeration: Vec<String>,
    /// JSON text of the schema's default.
    pub default: Option<String>,
    /// Protobuf number; 0 where the type has no protobuf form.
    pub proto: u32,
}

/// One object type.
#[derive(Clone, Debug)]
pub struct Type {
    /// The OpenAPI definition's name: `io.k8s.api.core.v1.Pod`.
    pub name: String,
    /// In the order of the facts table; [`Type::field`] finds by name.
    pub fields: Vec<Field>,
}

/// All types.
#[derive(Debug)]
pub struct Facts {
    types: Vec<Type>,
}

impl Facts {
    /// The built-in table, decoded once.
    pub fn builtin() -> &'static Self {
        static FACTS: OnceLock<Facts> = OnceLock::new();
        FACTS.get_or_init(|| unimplemented!("decode facts.bin"))
    }

    /// The type of a served kind or of any registered list/option kind, by `apiVersion` (`apps/v1`) and kind.
    pub fn kind(&self, _api_version: &str, _kind: &str) -> Option<TypeId> {
        unimplemented!()
    }

    /// A type by its OpenAPI definition name.
    pub fn definition(&self, _name: &str) -> Option<TypeId> {
        unimplemented!()
    }

    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// Resolves a dotted path (`spec.containers.ports`, lists and maps are stepped through) from `root`.
    pub fn path(&self, _root: TypeId, _path: &str) -> Option<&Field> {
        unimplemented!()
    }
}

impl Type {
    pub fn field(&self, _name: &str) -> Option<&Field> {
        unimplemented!()
    }
}
