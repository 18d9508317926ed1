//! Whether a request is for a hook, and as which resource.

use kinds::KindRef;
use schema::{DocExt, LabelSelector, Status, Value};

use super::hook::Hook;
use super::word;
use crate::admission::{Admission, Operation};

/// One rule of a webhook.
pub(in crate::admission) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource: `pods`, `pods/exec`, `*`, `*/scale`, `pods/*`, `*/*`.
    resources: Vec<(String, String)>,
    scope: String,
}

/// The resource as which a hook is asked, and the kind of its documents.
pub(in crate::admission) struct Place {
    pub group: String,
    pub version: String,
    pub resource: String,
    /// Group, version, kind.
    pub kind: [String; 3],
    /// Documents have to be converted to it.
    pub converted: Option<KindRef>,
}

/// Configurations that say what is admitted are no business of webhooks: nobody could mend them.
pub(super) fn is_exempt(request: &Admission<'_>) -> bool {
    request.kind.group == "admissionregistration.k8s.io"
}

/// Where `hook` is asked about this request; None: not at all.
pub(super) fn place(hook: &Hook, request: &Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<Option<Place>, Status> {
    let kind = &request.kind;
    let is_own = hook.rules.iter().any(|rule| rule.matches(request, &kind.group, &kind.version, &kind.resource));
    let own = is_own.then(|| own_place(request, new, old));
    let Some(found) = own.or_else(|| equivalent_place(hook, request)) else { return Ok(None) };
    let objects = matches_object(&hook.objects, request, new, old);
    let namespaces = matches_namespace(&hook.namespaces, request, new);
    match (namespaces, objects) {
        (Ok(false), _) | (_, Ok(false)) => Ok(None),
        (Err(status), _) | (_, Err(status)) => Err(status),
        (Ok(true), Ok(true)) => Ok(Some(found)),
    }
}

/// The resource as it is asked for.
pub(in crate::admission) fn own_place(request: &Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Place {
    let kind = &request.kind;
    Place {
        group: kind.group.to_string(),
        version: kind.version.to_string(),
        resource: kind.resource.to_string(),
        kind: own_kind(request, new, old),
        converted: None,
    }
}

/// What the documents of the request say that they are.
fn own_kind(request: &Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> [String; 3] {
    let doc = new.or(old).filter(|doc| !doc.str_at("kind").is_empty());
    let Some(doc) = doc else {
        return [request.kind.group.to_string(), request.kind.version.to_string(), request.kind.kind.to_string()];
    };
    let api_version = doc.str_at("apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    [group.to_owned(), version.to_owned(), doc.str_at("kind").to_owned()]
}

/// Another version of the same objects that the hook knows; earlier rules first.
fn equivalent_place(hook: &Hook, request: &Admission<'_>) -> Option<Place> {
    if !hook.equivalent || request.kind.storage_prefix.is_empty() {
        return None;
    }
    let table = request.core.registry().table();
    let others = || table.rows().iter().filter(|row| is_equivalent(row, request));
    hook.rules.iter().find_map(|rule| {
        let row = others().find(|row| rule.matches(request, &row.group, &row.version, &row.resource))?;
        Some(as_other(row, request.subresource))
    })
}

pub(in crate::admission) fn is_equivalent(row: &KindRef, request: &Admission<'_>) -> bool {
    let own = &request.kind;
    let other = row.group != own.group || row.version != own.version;
    let has = request.subresource.is_empty() || row.subresource(request.subresource).is_some();
    row.storage_prefix == own.storage_prefix && other && has
}

pub(in crate::admission) fn as_other(row: &KindRef, subresource: &str) -> Place {
    let body = row.subresource(subresource).and_then(|sub| sub.kind.clone());
    let parent = (row.group.clone(), row.version.clone(), row.kind.clone());
    let (group, version, kind) = body.clone().unwrap_or(parent);
    Place {
        group: row.group.to_string(),
        version: row.version.to_string(),
        resource: row.resource.to_string(),
        kind: [group.to_string(), version.to_string(), kind.to_string()],
        converted: body.is_none().then(|| row.clone()),
    }
}

impl Rule {
    pub(in crate::admission) fn new(rule: &Value) -> Self {
        let texts = |path: &str| rule.items_at(path).iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
        let split = |text: String| match text.split_once('/') {
            Some((resource, sub)) => (resource.to_owned(), sub.to_owned()),
            None => (text, String::new()),
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources").into_iter().map(split).collect(),
            scope: rule.str_at("scope").to_owned(),
        }
    }

    /// The groups and resources that it names.
    pub(in crate::admission) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.groups.iter().flat_map(|group| self.resources.iter().map(move |(resource, _)| (group.as_str(), resource.as_str())))
    }

    pub(in crate::admission) fn matches(&self, request: &Admission<'_>, group: &str, version: &str, resource: &str) -> bool {
        let is = |wanted: &String, found: &str| wanted == "*" || wanted == found;
        let any = |list: &[String], found: &str| list.iter().any(|wanted| is(wanted, found));
        any(&self.operations, word(request.operation))
            && any(&self.groups, group)
            && any(&self.versions, version)
            && self.resources.iter().any(|(wanted, sub)| is(wanted, resource) && is(sub, request.subresource))
            && self.fits_scope(request)
    }

    /// A namespace is an object of the cluster.
    fn fits_scope(&self, request: &Admission<'_>) -> bool {
        let of_cluster = request.is("", "namespaces") || request.namespace.is_empty();
        match self.scope.as_str() {
            "" | "*" => true,
            "Namespaced" => !of_cluster,
            "Cluster" => of_cluster,
            _ => false,
        }
    }
}

/// The namespace that a request is about; a namespace lies within itself.
pub(in crate::admission) fn namespace<'a>(request: &Admission<'a>) -> &'a str {
    if request.is("", "namespaces") { request.name } else { request.namespace }
}

pub(in crate::admission) fn matches_namespace(
    selector: &Result<LabelSelector, String>,
    request: &Admission<'_>,
    new: Option<&Value>,
) -> Result<bool, Status> {
    if request.namespace.is_empty() && !request.is("", "namespaces") {
        return Ok(true);
    }
    let selector = selector.as_ref().map_err(Status::internal)?;
    if selector.is_everything() {
        return Ok(true);
    }
    let written = matches!(request.operation, Operation::Create | Operation::Update) && request.is_object("", "namespaces");
    if let Some(new) = new.filter(|_| written) {
        return Ok(selector.matches_document(new)); // nobody else knows these labels yet
    }
    let name = namespace(request);
    let item = request.core.cache.kind("/namespaces/").and_then(|namespaces| namespaces.get(&format!("/namespaces/{name}")));
    let item = item.ok_or_else(|| Status::not_found("", "namespaces", name))?;
    Ok(selector.matches(&item.object.meta.labels))
}

pub(in crate::admission) fn matches_object(
    selector: &Result<LabelSelector, String>,
    request: &Admission<'_>,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<bool, Status> {
    let selector = selector.as_ref().map_err(Status::internal)?;
    if selector.is_everything() {
        return Ok(true);
    }
    let labelled = request.operation != Operation::Connect; // the options of a connection have no labels
    Ok(labelled && [new, old].into_iter().flatten().any(|doc| selector.matches_document(doc)))
}
