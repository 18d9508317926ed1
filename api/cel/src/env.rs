//! What an expression may name: variables, functions and types with fields.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use crate::declarations::{self as declared, Declarations};
use crate::types::{Type, split_params};

/// One signature of a function.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    pub(crate) member: bool,
    /// The receiver first, where there is one.
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
}

#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) overloads: Vec<Overload>,
}

pub(crate) type Functions = HashMap<&'static str, Function>;

/// A type with fields that a variable may have.
#[derive(Debug, Clone, Default)]
pub struct ObjectType {
    pub fields: BTreeMap<String, Type>,
    /// Fields that are not listed are dyn rather than refused (`Object{…}` of mutations).
    pub open: bool,
}

/// The names that expressions are compiled against. Build one per schema or policy and compile many expressions with it.
#[derive(Clone)]
pub struct Environment {
    functions: &'static Functions,
    variables: BTreeMap<String, Type>,
    objects: HashMap<Arc<str>, ObjectType>,
    /// Prefixes below which any type name is an open object.
    open_prefixes: Vec<String>,
    pub(crate) binds: bool,
    pub(crate) sizes: Option<Arc<dyn Sizes>>,
}

/// What is known of the size of documents before any is seen.
pub trait Sizes: Send + Sync {
    /// The most characters, bytes, items or entries at a path of field names, `@items`, `@values` and `@keys` below the
    /// variable named first; `None` where nothing is known.
    fn max_size(&self, path: &[String]) -> Option<u64>;
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("variables", &self.variables).field("binds", &self.binds).finish_non_exhaustive()
    }
}

impl Environment {
    /// Everything that Kubernetes 1.37 lets an expression use.
    pub fn kubernetes() -> Self {
        static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| table(KUBERNETES));
        Self::with(&FUNCTIONS, false)
    }

    /// As [`Self::kubernetes`], with `jsonpatch.escapeKey` and the types of MutatingAdmissionPolicy: `JSONPatch{…}`, `Object{…}`.
    pub fn kubernetes_mutations() -> Self {
        static FUNCTIONS: LazyLock<Functions> =
            LazyLock::new(|| table(&KUBERNETES.iter().copied().chain([declared::JSON_PATCH]).collect::<Vec<_>>()));
        let mut environment = Self::with(&FUNCTIONS, false);
        let fields = [("op", Type::String), ("path", Type::String), ("from", Type::String), ("value", Type::Dyn)];
        environment.object_type("JSONPatch", fields);
        environment.open_prefixes.push("Object".into());
        environment
    }

    /// As [`Self::kubernetes`], with what the language's other users have and Kubernetes has not: `cel.bind`, `math.*`,
    /// `base64.*`. For expressions of our own; one that clients send would not be portable.
    pub fn extended() -> Self {
        static FUNCTIONS: LazyLock<Functions> =
            LazyLock::new(|| table(&KUBERNETES.iter().copied().chain([declared::MATH, declared::ENCODERS]).collect::<Vec<_>>()));
        Self::with(&FUNCTIONS, true)
    }

    fn with(functions: &'static Functions, binds: bool) -> Self {
        Self { functions, variables: BTreeMap::new(), objects: HashMap::new(), open_prefixes: Vec::new(), binds, sizes: None }
    }

    /// Lets expressions name a part of theirs: `cel.bind(name, value, expression)`.
    pub fn with_bind(&mut self) -> &mut Self {
        self.binds = true;
        self
    }

    /// Declares a variable. Its value is bound by the same name when a program runs.
    pub fn variable(&mut self, name: &str, ty: Type) -> &mut Self {
        self.variables.insert(name.to_owned(), ty);
        self
    }

    /// Declares a type with fields, to be used as `Type::object(name)`.
    pub fn object_type<'n>(&mut self, name: &str, fields: impl IntoIterator<Item = (&'n str, Type)>) -> &mut Self {
        let fields = fields.into_iter().map(|(name, ty)| (name.to_owned(), ty)).collect();
        self.objects.insert(name.into(), ObjectType { fields, open: false });
        self
    }

    pub(crate) fn insert_object(&mut self, name: Arc<str>, object: ObjectType) {
        self.objects.insert(name, object);
    }

    /// Tells the cost estimate how large things can be.
    pub fn sizes(&mut self, sizes: Arc<dyn Sizes>) -> &mut Self {
        self.sizes = Some(sizes);
        self
    }

    pub(crate) fn function(&self, name: &str) -> Option<&'static Function> {
        self.functions.get(name.strip_prefix('.').unwrap_or(name))
    }

    pub(crate) fn variable_type(&self, name: &str) -> Option<&Type> {
        self.variables.get(name)
    }

    /// The names of all variables, in the order of their slots.
    pub(crate) fn variable_names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// A name that stands for a type: its type is `type(…)`.
    pub(crate) fn type_named(&self, name: &str) -> Option<Type> {
        Some(match name {
            "bool" => Type::Bool,
            "bytes" => Type::Bytes,
            "double" => Type::Double,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "string" => Type::String,
            "null_type" => Type::Null,
            "list" => Type::list(Type::Dyn),
            "map" => Type::map(Type::Dyn, Type::Dyn),
            "type" => Type::Type(None),
            "google.protobuf.Duration" => Type::Duration,
            "google.protobuf.Timestamp" => Type::Timestamp,
            "optional_type" => Type::optional(Type::Param(crate::types::Param::Declared('V'))),
            "net.IP" | "net.CIDR" => Type::Opaque(name.into(), [].into()),
            known if KUBERNETES_TYPES.contains(&known) || self.object(known).is_some() => Type::object(known),
            _ => return None,
        })
    }

    /// A type of Kubernetes' own, whose inside no expression sees.
    pub(crate) fn is_closed(&self, name: &str) -> bool {
        KUBERNETES_TYPES.contains(&name)
    }

    /// The fields of an object type; `None` where there is no such type.
    pub(crate) fn object(&self, name: &str) -> Option<&ObjectType> {
        static OPEN: LazyLock<ObjectType> = LazyLock::new(|| ObjectType { fields: BTreeMap::new(), open: true });
        static CLOSED: LazyLock<ObjectType> = LazyLock::new(ObjectType::default);
        let below = |prefix: &String| name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let known = self.objects.get(name).or_else(|| self.open_prefixes.iter().any(below).then(|| &*OPEN));
        known.or_else(|| KUBERNETES_TYPES.contains(&name).then(|| &*CLOSED))
    }
}

const KUBERNETES: &[Declarations] = &[
    declared::STANDARD,
    declared::OPTIONALS,
    declared::STRINGS,
    declared::LISTS,
    declared::SETS,
    declared::COMPREHENSIONS,
    declared::REGEX,
    declared::URLS,
    declared::QUANTITIES,
    declared::ADDRESSES,
    declared::FORMATS,
    declared::SEMVERS,
    declared::AUTHORIZER,
];

const KUBERNETES_TYPES: &[&str] = &[
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

fn table(libraries: &[Declarations]) -> Functions {
    let mut functions = Functions::new();
    for (name, id, signature) in libraries.iter().copied().flatten() {
        let function = functions.entry(name).or_insert_with(|| Function { name, overloads: Vec::new() });
        function.overloads.push(overload(id, signature));
    }
    functions
}

/// Reads `receiver.(args) -> result` or `(args) -> result`.
fn overload(id: &'static str, signature: &str) -> Overload {
    let (call, result) = signature.split_once(") -> ").expect("a signature has a result");
    let (receiver, args) = match call.strip_prefix('(') {
        Some(args) => (None, args),
        None => call.split_once(".(").map(|(receiver, args)| (Some(receiver), args)).expect("a receiver stands before a dot"),
    };
    let args = receiver.into_iter().chain(split_params(args)).map(Type::parse).collect();
    Overload { id, member: receiver.is_some(), args, result: Type::parse(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_reads() {
        let environment = Environment::extended();
        let find = &environment.function("findAll").unwrap().overloads[1];
        assert!(find.member && find.args == [Type::String, Type::String, Type::Int] && find.result == Type::list(Type::String));
        assert_eq!(environment.function("_+_").unwrap().overloads.len(), 9);
        Environment::kubernetes_mutations();
    }
}
