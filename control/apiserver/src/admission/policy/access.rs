//! Who writes a policy or a binding must be able to read what it refers to: else a policy would tell its writer, request by request,
//! what parameters hold that the writer may not see.

use async_trait::async_trait;
use auth::{Attributes, UserInfo};
use schema::{DocExt, FieldErrors, Path, Status, Value};

use crate::Core;
use crate::admission::{Admission, Operation, Plugin};

/// The rights that policies with parameters ask for.
pub struct ParamAccess;

const GROUP: &str = "admissionregistration.k8s.io";

/// A policy's kind of parameters.
struct ParamKind<'a> {
    api_version: &'a str,
    kind: &'a str,
}

impl<'a> ParamKind<'a> {
    fn of(policy: &'a Value) -> Option<Self> {
        let kind = policy.at("spec.paramKind").filter(|kind| kind.is_object())?;
        Some(Self { api_version: kind.str_at("apiVersion"), kind: kind.str_at("kind") })
    }

    /// Group, version and resource; `*` for what is not known.
    fn resource(&self, core: &Core) -> (String, String, String) {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        let resource = core.registry().kind(self.api_version, self.kind).map_or_else(|| "*".into(), |kind| kind.resource.to_string());
        (group.to_owned(), version.to_owned(), resource)
    }
}

#[async_trait]
impl Plugin for ParamAccess {
    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new.filter(|_| matches!(request.operation, Operation::Create | Operation::Update)) else { return Ok(()) };
        if request.kind.group != GROUP || !request.subresource.is_empty() || request.user.is_in(auth::MASTERS) {
            return Ok(());
        }
        match request.kind.resource.as_ref() {
            "validatingadmissionpolicies" | "mutatingadmissionpolicies" => of_policy(request, new, old).await,
            "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings" => of_binding(request, new, old).await,
            _ => Ok(()),
        }
    }
}

/// `get` of all objects of the kind.
async fn of_policy(request: &Admission<'_>, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let is_same = old.is_some_and(|old| old.at("spec.paramKind") == new.at("spec.paramKind"));
    let Some(kind) = ParamKind::of(new).filter(|_| !is_same) else { return Ok(()) };
    let (group, version, resource) = kind.resource(request.core);
    let asked = Attributes { namespace: "*", name: "*", ..Attributes::resource(request.user, "get", &group, &version, &resource) };
    if request.core.authorize(&asked).await.is_ok() {
        return Ok(());
    }
    let why = format!(
        "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
        shown(request.user),
        kind.kind,
        kind.api_version
    );
    refuse(request, &Path::new("spec").child("paramKind"), &why)
}

/// `get` of the parameter, `list` of those that are selected.
async fn of_binding(request: &Admission<'_>, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let member = |doc: &Value, path: &str| doc.at(path).cloned();
    let same = |old: &Value| ["spec.paramRef", "spec.policyName"].iter().all(|path| member(old, path) == member(new, path));
    let Some(reference) = new.at("spec.paramRef").filter(|reference| reference.is_object()) else { return Ok(()) };
    if old.is_some_and(same) {
        return Ok(());
    }
    let policy = policy(request, new.str_at("spec.policyName"));
    let kind = policy.as_ref().and_then(ParamKind::of);
    let all = || ("*".to_owned(), "*".to_owned(), "*".to_owned());
    let (group, version, resource) = kind.as_ref().map_or_else(all, |kind| kind.resource(request.core));
    let verb = if reference.at("selector").is_some_and(Value::is_object) { "list" } else { "get" };
    let or_all = |text: &'_ str| if text.is_empty() { "*".to_owned() } else { text.to_owned() };
    let (namespace, name) = (or_all(reference.str_at("namespace")), or_all(reference.str_at("name")));
    let asked = Attributes { namespace: &namespace, name: &name, ..Attributes::resource(request.user, verb, &group, &version, &resource) };
    if request.core.authorize(&asked).await.is_ok() {
        return Ok(());
    }
    let why = format!("user {} does not have {verb:?} permission on the object referenced by paramRef", shown(request.user));
    refuse(request, &Path::new("spec").child("paramRef"), &why)
}

/// The policy that a binding names, if it is there.
fn policy(request: &Admission<'_>, name: &str) -> Option<Value> {
    let resource = request.kind.resource.strip_suffix("bindings")?;
    let plural = if resource.starts_with("validating") { "validatingadmissionpolicies" } else { "mutatingadmissionpolicies" };
    let prefix = format!("/{GROUP}/{plural}/");
    let item = request.core.cache.kind(&prefix)?.get(&format!("{prefix}{name}"))?;
    Some(item.object.value())
}

fn refuse(request: &Admission<'_>, path: &Path, why: &str) -> Result<(), Status> {
    let mut errors = FieldErrors::default();
    errors.forbidden(path, why);
    Err(Status::invalid(&request.kind.group, &request.kind.kind, request.name, &errors))
}

/// As Go prints a user.
fn shown(user: &UserInfo) -> String {
    let extra: Vec<String> = user.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    format!("&{{{} {} [{}] map[{}]}}", user.name, user.uid, user.groups.join(" "), extra.join(" "))
}
