//! How long a request may take: a minute, or less where its `timeout` parameter says so.

use std::time::Duration;

use schema::Status;

use super::query::Query;
use super::route::{Asked, Route};

/// Upstream's `--request-timeout`.
pub const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Subresources whose answers last.
const LASTING: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// Whether an answer lasts as long as its client wants: watches and streams. No deadline, and no seat.
pub(crate) fn lasts(route: &Route) -> bool {
    match route {
        Route::Path => false,
        Route::Resource(Asked { target, word, .. }) => *word == "watch" || LASTING.contains(&target.subresource.as_str()),
    }
}

/// The time that a request that does not last has. 400 for what is no duration.
pub(crate) fn of(query: &Query) -> Result<Duration, Status> {
    let Some(text) = query.get("timeout").filter(|text| !text.is_empty()) else { return Ok(REQUEST_MAX) };
    let invalid = |why: &str| Status::bad_request(format!("invalid timeout specified in the request URL - {why}"));
    let nanos = schema::duration::parse_nanos(text).map_err(|why| invalid(&why))?;
    Ok(match u64::try_from(nanos) {
        Ok(0) | Err(_) => REQUEST_MAX,
        Ok(nanos) => Duration::from_nanos(nanos).min(REQUEST_MAX),
    })
}

/// 504, as upstream says it.
pub(crate) fn passed() -> Status {
    Status::timeout("Timeout: request did not complete within the allotted timeout")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::route::route;
    use super::*;

    #[test]
    fn a_parameter_may_shorten_the_time() {
        let of = |text: &str| of(&Query::parse(text)).map_err(|status| (status.code, status.message));
        assert_eq!(of(""), Ok(REQUEST_MAX));
        assert_eq!(of("timeout=10s"), Ok(Duration::from_secs(10)));
        assert_eq!(of("timeout=5m"), Ok(REQUEST_MAX));
        assert_eq!(of("timeout=0s"), Ok(REQUEST_MAX));
        let why = r#"invalid timeout specified in the request URL - time: invalid duration "soon""#;
        assert_eq!(of("timeout=soon"), Err((400, why.to_owned())));
    }

    #[test]
    fn watches_and_streams_last() {
        for (path, query, want) in [
            ("/api/v1/pods", "watch=true", true),
            ("/api/v1/pods", "", false),
            ("/api/v1/namespaces/a/pods/x/log", "", true),
            ("/api/v1/namespaces/a/pods/x/exec", "", true),
            ("/api/v1/namespaces/a/pods/x/status", "", false),
            ("/metrics", "", false),
        ] {
            assert_eq!(lasts(&route(&Method::GET, path, &Query::parse(query))), want, "{path}?{query}");
        }
    }
}
