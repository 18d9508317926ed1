//! What a method and a path ask for. Routes are not registered anywhere: any `/api/…` or `/apis/…` path of the right shape
//! names a resource, and whether it exists is the registry's affair, so custom kinds need nothing here.
//!
//! ```text
//! /api/v1[/watch][/namespaces/NS]/RESOURCE[/NAME[/SUBRESOURCE[/REST…]]]
//! /apis/GROUP/VERSION[/watch][/namespaces/NS]/RESOURCE[/NAME[/SUBRESOURCE[/REST…]]]
//! ```

use client::{Target, Verb};
use http::Method;

use super::query::Query;

/// A request, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Health, discovery, documents, metrics: the path as it came.
    Path,
    Resource(Asked),
}

/// A resource request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub target: Target,
    /// What authorization is asked: RBAC's word for it.
    pub word: &'static str,
    /// None: this method has no meaning here (405 for who is authorized).
    pub verb: Option<Verb>,
    /// What follows the subresource: the path behind a proxy, with its leading slash.
    pub rest: String,
}

/// Subresources of a namespace, which `/namespaces/NS/status` could also read as a resource.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Classifies. `path` is percent-encoded as it came.
pub fn route(method: &Method, path: &str, query: &Query) -> Route {
    resource(method, path, query).map_or(Route::Path, Route::Resource)
}

fn resource(method: &Method, path: &str, query: &Query) -> Option<Asked> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", rest @ ..] => ("", rest),
        ["apis", group, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let [version, rest @ ..] = rest else { return None };
    let (watched, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, sub, ..] if !NAMESPACE_SUBRESOURCES.contains(sub) && !sub.is_empty() => (*namespace, &rest[2..]),
        rest => ("", rest),
    };
    let [resource, rest @ ..] = rest else { return None };
    if version.is_empty() || resource.is_empty() || group.is_empty() != (parts[0] == "api") {
        return None;
    }
    // One slash at the end is forgiven.
    let rest = match rest {
        [rest @ .., ""] if rest.len() < 3 => rest,
        rest => rest,
    };
    if rest.iter().take(2).any(|part| part.is_empty()) {
        return None;
    }
    let target = Target {
        group: decode(group)?,
        version: decode(version)?,
        resource: decode(resource)?,
        namespace: decode(namespace)?,
        name: rest.first().map_or(Some(String::new()), |name| decode(name))?,
        subresource: rest.get(1).map_or(Some(String::new()), |sub| decode(sub))?,
    };
    let behind = if rest.len() > 2 { format!("/{}", rest[2..].join("/")) } else { String::new() };
    let (word, verb) = verb(method, &target, watched || query.flag("watch"), watched);
    Some(Asked { target, word, verb, rest: behind })
}

/// RBAC's word and the verb. A watch parameter on the path of one object is a get, as upstream; the `/watch/` prefix is not.
fn verb(method: &Method, target: &Target, watch: bool, prefixed: bool) -> (&'static str, Option<Verb>) {
    let (named, sub) = (!target.name.is_empty(), !target.subresource.is_empty());
    let verb = match *method {
        Method::GET if prefixed || (watch && !named) => Some(Verb::Watch),
        Method::GET if named => Some(Verb::Get),
        Method::GET => Some(Verb::List),
        Method::POST if !named || sub => Some(Verb::Create),
        Method::PUT if named => Some(Verb::Update),
        Method::PATCH if named => Some(Verb::Patch),
        Method::DELETE if named => Some(Verb::Delete),
        Method::DELETE => Some(Verb::DeleteCollection),
        _ => None,
    };
    let word = match (verb, method) {
        (Some(verb), _) => verb.as_str(),
        (None, &Method::POST) => "create",
        (None, &Method::PUT) => "update",
        (None, &Method::PATCH) => "patch",
        (None, &Method::HEAD) if named => "get",
        (None, &Method::HEAD) => "list",
        (None, _) => "",
    };
    (word, verb)
}

/// Percent-decodes one path segment; None where it is no UTF-8.
pub fn decode(segment: &str) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    super::query::unescape(segment, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, uri: &str) -> String {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        match route(&method.parse().unwrap(), path, &Query::parse(query)) {
            Route::Path => "path".into(),
            Route::Resource(Asked { target: t, word, verb, rest }) => {
                let verb = if verb.is_some() { word.to_owned() } else { format!("{word}!") };
                format!(
                    "{verb} {}/{} {} ns={} name={} sub={} rest={rest}",
                    t.group, t.version, t.resource, t.namespace, t.name, t.subresource
                )
            }
        }
    }

    #[test]
    fn paths_name_resources() {
        for (method, uri, want) in [
            ("GET", "/api/v1/pods", "list /v1 pods ns= name= sub= rest="),
            ("GET", "/api/v1/pods?watch=1", "watch /v1 pods ns= name= sub= rest="),
            ("GET", "/api/v1/pods?watch=false", "list /v1 pods ns= name= sub= rest="),
            ("GET", "/api/v1/watch/namespaces/d/pods/x", "watch /v1 pods ns=d name=x sub= rest="),
            ("GET", "/api/v1/namespaces/d/pods/x?watch=1", "get /v1 pods ns=d name=x sub= rest="),
            ("GET", "/api/v1/namespaces", "list /v1 namespaces ns= name= sub= rest="),
            ("GET", "/api/v1/namespaces/d", "get /v1 namespaces ns= name=d sub= rest="),
            ("PUT", "/api/v1/namespaces/d/finalize", "update /v1 namespaces ns= name=d sub=finalize rest="),
            ("POST", "/api/v1/namespaces/d/pods/x/binding", "create /v1 pods ns=d name=x sub=binding rest="),
            ("POST", "/api/v1/namespaces/d/pods/x", "create! /v1 pods ns=d name=x sub= rest="),
            ("PUT", "/api/v1/namespaces/d/pods", "update! /v1 pods ns=d name= sub= rest="),
            ("HEAD", "/api/v1/pods", "list! /v1 pods ns= name= sub= rest="),
            ("DELETE", "/apis/apps/v1/namespaces/d/deployments", "deletecollection apps/v1 deployments ns=d name= sub= rest="),
            ("PATCH", "/apis/apps/v1/namespaces/d/deployments/web/scale", "patch apps/v1 deployments ns=d name=web sub=scale rest="),
            (
                "GET",
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "get rbac.authorization.k8s.io/v1 clusterroles ns= name=system:node sub= rest=",
            ),
            ("GET", "/api/v1/nodes/n/proxy/metrics/cadvisor", "get /v1 nodes ns= name=n sub=proxy rest=/metrics/cadvisor"),
            ("GET", "/api/v1/nodes/", "list /v1 nodes ns= name= sub= rest="),
            ("GET", "/api/v1", "path"),
            ("GET", "/api/v1/", "path"),
            ("GET", "/apis/apps/v1", "path"),
            ("GET", "/apis//v1/pods", "path"),
            ("GET", "//apis/apps/v1/pods", "path"),
            ("GET", "/apis/apps/v1//pods", "path"),
            ("GET", "/healthz", "path"),
        ] {
            assert_eq!(ask(method, uri), want, "{method} {uri}");
        }
    }
}
