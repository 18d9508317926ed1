//! Admission of connections (exec, attach, port-forward, proxy): asked before anything is dialled or upgraded.
//!
//! What is asked for travels as a query; admission sees it as a document (`PodExecOptions` …), and what it makes of that is what
//! the agent is asked for.

use auth::UserInfo;
use schema::{Map, Status, Value, json};

use super::Face;
use super::audit::Notes;
use super::query::Query;
use super::route::Asked;

/// The members of an options document and what they are.
const FLAGS: [&str; 4] = ["stdin", "stdout", "stderr", "tty"];

/// Passes the chain. Returns the query as it is to be used, and texts for Warning headers. Logs are read, not connected to.
pub(super) async fn admit(
    face: &Face,
    user: &UserInfo,
    asked: &Asked,
    query: &Query,
    notes: &Notes,
) -> Result<(Query, Vec<String>), Status> {
    let Some(kind) = kind(asked) else { return Ok((query.clone(), Vec::new())) };
    let document = document(kind, asked, query);
    let mut admitted = document.clone();
    let warnings = face.core.connect(user, &asked.target, &mut admitted, &notes.annotations).await?;
    let query = if admitted == document { query.clone() } else { as_query(&admitted) };
    Ok((query, warnings))
}

fn kind(asked: &Asked) -> Option<&'static str> {
    match (asked.target.resource.as_str(), asked.target.subresource.as_str()) {
        ("pods", "exec") => Some("PodExecOptions"),
        ("pods", "attach") => Some("PodAttachOptions"),
        ("pods", "portforward") => Some("PodPortForwardOptions"),
        ("pods", "proxy") => Some("PodProxyOptions"),
        ("services", "proxy") => Some("ServiceProxyOptions"),
        ("nodes", "proxy") => Some("NodeProxyOptions"),
        _ => None,
    }
}

fn document(kind: &str, asked: &Asked, query: &Query) -> Value {
    let mut doc = Map::new();
    let mut add = |member: &str, value: Value| drop(doc.insert(member.to_owned(), value));
    add("kind", json!(kind));
    add("apiVersion", json!("v1"));
    match kind {
        "PodExecOptions" | "PodAttachOptions" => {
            FLAGS.iter().filter(|flag| query.flag(flag)).for_each(|flag| add(flag, json!(true)));
            query.get("container").filter(|name| !name.is_empty()).into_iter().for_each(|name| add("container", json!(name)));
            let command: Vec<&str> = query.all("command").collect();
            if kind == "PodExecOptions" {
                add("command", if command.is_empty() { Value::Null } else { json!(command) });
            }
        }
        "PodPortForwardOptions" => {
            let ports: Vec<u16> =
                query.all("ports").flat_map(|ports| ports.split(',')).filter_map(|port| port.trim().parse().ok()).collect();
            if !ports.is_empty() {
                add("ports", json!(ports));
            }
        }
        _ if !asked.rest.is_empty() => add("path", json!(asked.rest)),
        _ => {}
    }
    Value::Object(doc)
}

/// The query that asks for what the document says.
fn as_query(document: &Value) -> Query {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let members = document.as_object().into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "kind" | "apiVersion"));
    for (name, value) in members {
        match value {
            Value::Array(items) => pairs.extend(items.iter().map(|item| (name.clone(), plain(item)))),
            Value::Null => {}
            value => pairs.push((name.clone(), plain(value))),
        }
    }
    Query::of(pairs)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use client::Target;

    use super::*;

    fn asked(resource: &str, subresource: &str, rest: &str) -> Asked {
        let target = Target::of("v1", resource, "d").named("x").sub(subresource);
        Asked { target, word: "create", verb: None, rest: rest.into() }
    }

    #[test]
    fn a_query_is_a_document_and_back() {
        let query = Query::parse("container=c&command=sh&command=-c&stdin=true&stdout=1&stderr=false");
        let exec = asked("pods", "exec", "");
        let doc = document(kind(&exec).unwrap(), &exec, &query);
        let want =
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "stdout": true, "container": "c", "command": ["sh", "-c"]});
        assert_eq!(doc, want);
        let back = as_query(&doc);
        assert_eq!(document("PodExecOptions", &exec, &back), doc);
        let forward = asked("pods", "portforward", "");
        assert_eq!(document(kind(&forward).unwrap(), &forward, &Query::parse("ports=80,81&ports=82"))["ports"], json!([80, 81, 82]));
        let proxy = asked("services", "proxy", "/a/b");
        assert_eq!(document(kind(&proxy).unwrap(), &proxy, &query)["path"], "/a/b");
        assert_eq!(kind(&asked("pods", "log", "")), None);
    }
}
