//! OpenAPI of what is served: an index of v3 documents, one per group and version, and the one large v2 document.
//!
//! Made of the registry and the facts table when asked for. Clients keep a v3 document by the hash in its URL, which names what
//! it is made of, so the index needs none of the documents and the server keeps none of them in memory.

mod custom;
mod gnostic;
mod gnostic3;
mod operations;
mod others;
mod schemas;
mod shared;
#[cfg(test)]
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use kinds::KindRef;
use schema::{Status, Value, json};

use self::others::Other;
use super::answer::{Answer, Body, answer, document};
use super::negotiate::{self, Encoding};
use super::query::Query;
use super::{Face, discovery, paths};
use crate::registry::Table;

/// Which of the two forms a document has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V2,
    V3,
}

/// Hashes of the v3 documents, kept while the registry's table stays the same.
#[derive(Default)]
pub struct OpenApi {
    hashes: Mutex<Option<(Arc<Table>, Arc<BTreeMap<String, String>>)>>,
}

impl OpenApi {
    pub(super) async fn answer(&self, face: &Face, path: &str, query: &Query, headers: &HeaderMap) -> Result<Answer, Status> {
        let table = face.core.registry().table();
        match path.strip_prefix("/openapi/v3") {
            None => v2(&table, &others::of(face), query, headers),
            Some("" | "/") => Ok(self.index(&table, &others::of(face))),
            Some(rest) => self.v3(&table, rest.trim_matches('/'), query, headers),
        }
    }

    fn index(&self, table: &Arc<Table>, others: &[Other]) -> Answer {
        let hashes = self.hashes(table);
        let own = hashes.iter().map(|(name, hash)| (name.clone(), format!("/openapi/v3/{name}?hash={hash}")));
        let foreign = others.iter().filter_map(|other| Some((other.name.clone(), other.told.openapi_v3.clone()?)));
        let mut paths: serde_json::Map<String, Value> =
            own.filter(|(name, _)| !others.iter().any(|other| other.name == *name)).map(entry).collect();
        paths.extend(foreign.map(entry));
        let mut index = document(200, &json!({"paths": paths}), Encoding::Json { pretty: false });
        index.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        index
    }

    fn v3(&self, table: &Arc<Table>, name: &str, query: &Query, headers: &HeaderMap) -> Result<Answer, Status> {
        const MADE: [&str; 3] = [negotiate::JSON, gnostic3::MEDIA, gnostic3::MEDIA_AT];
        let hashes = self.hashes(table);
        let Some(hash) = hashes.get(name) else { return Ok(nothing()) };
        let media = negotiate::preferred(headers, &MADE).ok_or_else(|| Status::not_acceptable(&MADE[..2].join(", ")))?;
        let etag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("hexadecimal is a header value");
        let same = headers.get(IF_NONE_MATCH).is_some_and(|given| *given == etag);
        let mut answer = match rows(table).remove(name) {
            Some(_) if same => not_modified(answer(200, negotiate::JSON, Body::empty())),
            Some(rows) if media == negotiate::JSON => document(200, &v3_document(&rows), Encoding::Json { pretty: false }),
            Some(rows) => answer(200, gnostic3::MEDIA, Body::Bytes(gnostic3::document(&v3_document(&rows)).into())),
            None => return Ok(nothing()),
        };
        let fields = answer.headers_mut();
        fields.insert(ETAG, etag);
        fields.insert(VARY, HeaderValue::from_static("Accept"));
        if query.get("hash") == Some(hash) {
            fields.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            fields.insert(http::header::EXPIRES, HeaderValue::from_static("Fri, 31 Dec 9999 23:59:59 GMT"));
        }
        Ok(answer)
    }

    fn hashes(&self, table: &Arc<Table>) -> Arc<BTreeMap<String, String>> {
        let mut kept = self.hashes.lock().expect("makers of hashes do not panic");
        if let Some((_, hashes)) = kept.as_ref().filter(|(held, _)| Arc::ptr_eq(held, table)) {
            return Arc::clone(hashes);
        }
        let hashes: Arc<BTreeMap<String, String>> =
            Arc::new(rows(table).iter().map(|(name, rows)| (name.clone(), fingerprint(rows))).collect());
        *kept = Some((Arc::clone(table), Arc::clone(&hashes)));
        hashes
    }
}

fn entry((name, url): (String, String)) -> (String, Value) {
    (name, json!({"serverRelativeURL": url}))
}

/// 404 without a word, as upstream answers here.
fn nothing() -> Answer {
    let mut answer = answer(404, negotiate::JSON, Body::empty());
    answer.headers_mut().remove(CONTENT_TYPE);
    answer
}

/// The rows of each document, by `api/v1`, `apis/apps/v1`.
fn rows(table: &Table) -> BTreeMap<String, Vec<KindRef>> {
    let mut documents: BTreeMap<String, Vec<KindRef>> = BTreeMap::new();
    for row in table.rows() {
        let name = if row.group.is_empty() { format!("api/{}", row.version) } else { format!("apis/{}/{}", row.group, row.version) };
        documents.entry(name).or_default().push(Arc::clone(row));
    }
    documents
}

/// A hash of everything that a document is made of: this build's facts and generator, and its rows.
fn fingerprint(rows: &[KindRef]) -> String {
    let mut text = format!("{} {}", env!("CARGO_PKG_VERSION"), paths::GIT_VERSION);
    for row in rows {
        let subs: Vec<&str> = row.subresources.iter().map(|sub| sub.name.as_ref()).collect();
        text.push_str(&format!("\n{} {} {:?} {:?} {:?} {}", row.resource, row.kind, row.scope, row.verbs, row.ty, subs.join(",")));
        if let Some(custom) = &row.custom {
            text.push_str(&format!(" {}", custom.since));
        }
    }
    discovery::hash(text.as_bytes())
}

fn v3_document(rows: &[KindRef]) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": paths::GIT_VERSION},
        "paths": operations::paths(rows, Version::V3),
        "components": {"schemas": schemas::of(rows, Version::V3)},
    })
}

fn v2(table: &Table, others: &[Other], query: &Query, headers: &HeaderMap) -> Result<Answer, Status> {
    const MADE: [&str; 3] = [negotiate::JSON, gnostic::MEDIA, gnostic::MEDIA_AT];
    let media = negotiate::preferred(headers, &MADE).ok_or_else(|| Status::not_acceptable(&MADE[..2].join(", ")))?;
    let rows = table.rows();
    let mut operations = operations::paths(rows, Version::V2);
    let parameters = shared::parameters(&mut operations);
    let mut whole = json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": paths::GIT_VERSION},
        "paths": operations,
        "definitions": schemas::of(rows, Version::V2),
        "parameters": parameters,
    });
    others.iter().for_each(|other| other.add_to(&mut whole));
    // Both forms have the hash of the JSON one, as upstream: it names the content.
    let compact = serde_json::to_vec(&whole).map_err(Status::internal)?;
    let etag = discovery::etag(&compact);
    let same = headers.get(IF_NONE_MATCH).is_some_and(|given| *given == etag);
    let (content_type, bytes) = match media {
        _ if same => (negotiate::JSON, Vec::new()),
        negotiate::JSON if query.flag("pretty") => (negotiate::JSON, super::answer::pretty(&whole)),
        negotiate::JSON => (negotiate::JSON, compact),
        _ => (gnostic::MEDIA, gnostic::document(&whole)),
    };
    let mut answer = answer(200, content_type, Body::Bytes(bytes.into()));
    answer.headers_mut().insert(ETAG, etag);
    for field in ["Accept-Encoding", "Accept"] {
        answer.headers_mut().append(VARY, HeaderValue::from_static(field));
    }
    Ok(if same { not_modified(answer) } else { answer })
}

/// What the client holds is still good.
fn not_modified(mut answer: Answer) -> Answer {
    *answer.status_mut() = http::StatusCode::NOT_MODIFIED;
    answer.headers_mut().remove(CONTENT_TYPE);
    *answer.body_mut() = Body::empty();
    answer
}
