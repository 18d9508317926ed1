//! The names of admission: types of `request` and `namespaceObject` as upstream declares them. Objects are dyn.

use std::sync::LazyLock;

use expressions::{Environment, Type};

use super::Use;

/// The names that do not depend on the object that holds the expression.
pub(super) fn environment(usage: Use) -> &'static Environment {
    static FULL: LazyLock<Environment> = LazyLock::new(|| made(Environment::kubernetes(), true));
    static SPEECHLESS: LazyLock<Environment> = LazyLock::new(|| made(Environment::kubernetes(), false));
    static MUTATING: LazyLock<Environment> = LazyLock::new(|| made(Environment::kubernetes_mutations(), true));
    match usage {
        Use::Message => &SPEECHLESS,
        Use::ApplyConfiguration | Use::JsonPatch => &MUTATING,
        _ => &FULL,
    }
}

fn made(mut environment: Environment, has_authorizer: bool) -> Environment {
    declare_request(&mut environment);
    declare_namespace(&mut environment);
    environment
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .variable("request", Type::object("kubernetes.AdmissionRequest"))
        .variable("namespaceObject", Type::object("kubernetes.Namespace"));
    if has_authorizer {
        environment
            .variable("authorizer", Type::object("kubernetes.authorization.Authorizer"))
            .variable("authorizer.requestResource", Type::object("kubernetes.authorization.ResourceCheck"));
    }
    environment
}

/// The names for a policy whose objects have types: `object` and the like are for the caller to declare. `authorizer.requestResource`
/// is left out, as upstream does.
pub(super) fn typed_environment() -> Environment {
    let mut environment = made(Environment::kubernetes(), false);
    environment.variable("authorizer", Type::object("kubernetes.authorization.Authorizer"));
    environment
}

fn texts<'n>(names: &[&'n str]) -> Vec<(&'n str, Type)> {
    names.iter().map(|name| (*name, Type::String)).collect()
}

fn declare_request(environment: &mut Environment) {
    let kind = || Type::object("kubernetes.GroupVersionKind");
    let resource = || Type::object("kubernetes.GroupVersionResource");
    let list = || Type::list(Type::String);
    let of_request = [
        ("kind", kind()),
        ("resource", resource()),
        ("requestKind", kind()),
        ("requestResource", resource()),
        ("userInfo", Type::object("kubernetes.UserInfo")),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ];
    let names = texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    let of_user = [("groups", list()), ("extra", Type::map(Type::String, list()))];
    environment
        .object_type("kubernetes.GroupVersionKind", texts(&["group", "version", "kind"]))
        .object_type("kubernetes.GroupVersionResource", texts(&["group", "version", "resource"]))
        .object_type("kubernetes.UserInfo", texts(&["username", "uid"]).into_iter().chain(of_user))
        .object_type("kubernetes.AdmissionRequest", names.into_iter().chain(of_request));
}

fn declare_namespace(environment: &mut Environment) {
    let map = || Type::map(Type::String, Type::String);
    let list = || Type::list(Type::String);
    let of_metadata = [
        ("labels", map()),
        ("annotations", map()),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("finalizers", list()),
    ];
    let names = texts(&["name", "generateName", "namespace", "UID", "resourceVersion"]);
    let condition = texts(&["status", "type", "message", "reason"]).into_iter().chain([("lastTransitionTime", Type::Timestamp)]);
    let status = [("conditions", Type::list(Type::object("kubernetes.NamespaceCondition"))), ("phase", Type::String)];
    let of_namespace = [("metadata", "Metadata"), ("spec", "Spec"), ("status", "Status")];
    environment
        .object_type("kubernetes.NamespaceMetadata", names.into_iter().chain(of_metadata))
        .object_type("kubernetes.NamespaceSpec", [("finalizers", list())])
        .object_type("kubernetes.NamespaceCondition", condition)
        .object_type("kubernetes.NamespaceStatus", status)
        .object_type("kubernetes.Namespace", of_namespace.map(|(field, ty)| (field, Type::object(&format!("kubernetes.Namespace{ty}")))));
}
