//! Paths that are no resource: each is authorized as itself.

use std::sync::Arc;

use auth::Attributes;
use http::{Method, Request};
use hyper::body::Incoming;
use schema::json;

use super::aggregated::{self, Asker};
use super::answer::{Answer, document, not_found};
use super::query::Query;
use super::resource::method_not_allowed;
use super::{Face, Refusal, negotiate};

/// The release whose API this is, and ours.
pub const GIT_VERSION: &str = "v1.37.0+corten";

/// Answers, or refuses in upstream's words.
pub(super) async fn answer_path(
    face: &Arc<Face>,
    asker: &Asker<'_>,
    query: &Query,
    request: &Request<Incoming>,
) -> Result<Answer, Refusal> {
    let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
    let verb = method.as_str().to_ascii_lowercase();
    face.core.authorize(&Attributes::path(asker.user, &verb, path)).await?;
    let is_read = *method == Method::GET || *method == Method::HEAD;
    if let Some(answered) = face.health.answer(path, query).await
        && is_read
    {
        return Ok(answered);
    }
    // The OpenAPI document of another server's group is its own affair.
    let remote = path.strip_prefix("/openapi/v3").and_then(|group| face.aggregation.remote(&face.core, group));
    if let Some(remote) = remote.filter(|_| *method == Method::GET) {
        let whole = request.uri().path_and_query().map_or(path, |whole| whole.as_str());
        return Ok(aggregated::get(face, &remote, whole, asker, headers).await);
    }
    let encoding = || negotiate::error(headers, query);
    let found = match path {
        "/version" | "/version/" => Some(document(200, &version(), negotiate::Encoding::Json { pretty: true })),
        "/" => Some(document(200, &json!({"paths": face.discovery.paths(face)}), negotiate::Encoding::Json { pretty: true })),
        "/metrics" => Some(face.metrics.answer(&face.core)),
        "/.well-known/openid-configuration" => Some(document(200, &face.tokens.discovery(&face.base_url), encoding())),
        "/openid/v1/jwks" => {
            let mut keys = document(200, &face.tokens.key_set(), encoding());
            keys.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/jwk-set+json"));
            Some(keys)
        }
        _ if path == "/openapi/v2" || path.starts_with("/openapi/v3") => Some(face.openapi.answer(face, path, query, headers).await?),
        _ => face.discovery.answer(face, path, query, headers)?,
    };
    match found {
        Some(_) if *method != Method::GET => Err(method_not_allowed().into()),
        Some(found) => Ok(found),
        None => Ok(not_found()),
    }
}

pub(super) use answer_path as answer;

fn version() -> schema::Value {
    json!({
        "major": "1", "minor": "37", "emulationMajor": "1", "emulationMinor": "37", "minCompatibilityMajor": "1", "minCompatibilityMinor": "36",
        "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": platform(),
    })
}

fn platform() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{arch}", std::env::consts::OS)
}
