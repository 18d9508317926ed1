//! Paths of the node's API.

use std::sync::Arc;

use contract::ExecSpec;
use http::{Method, Uri};
use jiff::Timestamp;
use schema::Status;
use stream::remote::Wants;

use crate::context::Context;
use crate::logs::LogOptions;
use crate::registry::PodEntry;

/// A pod as a path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodName {
    namespace: String,
    name: String,
    /// `""`: whichever has the name.
    uid: String,
}

impl PodName {
    pub(super) fn find(&self, cx: &Context) -> Result<Arc<PodEntry>, Status> {
        let found = cx.registry.by_name(&self.namespace, &self.name);
        let found = found.filter(|entry| self.uid.is_empty() || entry.pod.metadata.uid == self.uid);
        found.ok_or_else(|| {
            Status::failure(404, "NotFound", format!("pod {:?} is not on this node", format!("{}/{}", self.namespace, self.name)))
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Health,
    Pods,
    Summary,
    Metrics,
    ResourceMetrics,
    Logs { pod: PodName, container: String, options: LogOptions, previous: bool },
    Exec { pod: PodName, container: String, exec: ExecSpec, wants: Wants },
    Attach { pod: PodName, container: String, wants: Wants },
    PortForward { pod: PodName, ports: Vec<u16> },
}

impl Route {
    pub(super) fn of(method: &Method, uri: &Uri) -> Result<Self, Status> {
        let query = pairs(uri.query().unwrap_or_default());
        let segments: Vec<String> = uri.path().split('/').filter(|segment| !segment.is_empty()).map(decode).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let route = match segments.as_slice() {
            ["healthz", ..] => Self::Health,
            ["pods"] => Self::Pods,
            ["stats", "summary"] => Self::Summary,
            ["metrics"] => Self::Metrics,
            ["metrics", "resource"] => Self::ResourceMetrics,
            ["containerLogs", namespace, name, container] => {
                let previous = flag(&query, "previous");
                Self::Logs { pod: pod(namespace, name, ""), container: (*container).to_owned(), options: log_options(&query)?, previous }
            }
            ["exec", namespace, name, container] => exec(pod(namespace, name, ""), container, &query)?,
            ["exec", namespace, name, uid, container] => exec(pod(namespace, name, uid), container, &query)?,
            ["attach", namespace, name, container] => attach(pod(namespace, name, ""), container, &query)?,
            ["attach", namespace, name, uid, container] => attach(pod(namespace, name, uid), container, &query)?,
            ["portForward", namespace, name] => Self::PortForward { pod: pod(namespace, name, ""), ports: ports(&query)? },
            ["portForward", namespace, name, uid] => Self::PortForward { pod: pod(namespace, name, uid), ports: ports(&query)? },
            _ => return Err(Status::failure(404, "NotFound", format!("the node's API has no path {:?}", uri.path()))),
        };
        let fits = *method == Method::GET || (*method == Method::POST && route.runs());
        if fits { Ok(route) } else { Err(Status::failure(405, "MethodNotAllowed", format!("{method} is not allowed on {:?}", uri.path()))) }
    }

    /// It runs something or reaches into a pod.
    pub(super) fn runs(&self) -> bool {
        matches!(self, Self::Exec { .. } | Self::Attach { .. } | Self::PortForward { .. })
    }

    /// What the caller must be allowed to do. A WebSocket's GET is still a `create` where it runs something.
    pub(super) fn verb(&self, method: &Method) -> &'static str {
        if self.runs() || *method == Method::POST { "create" } else { "get" }
    }

    /// Of `nodes`.
    pub(super) fn subresource(&self) -> &'static str {
        match self {
            Self::Health => "healthz",
            Self::Pods => "pods",
            Self::Summary => "stats",
            Self::Metrics | Self::ResourceMetrics => "metrics",
            Self::Logs { .. } | Self::Exec { .. } | Self::Attach { .. } | Self::PortForward { .. } => "proxy",
        }
    }
}

fn pod(namespace: &str, name: &str, uid: &str) -> PodName {
    PodName { namespace: namespace.into(), name: name.into(), uid: uid.into() }
}

fn exec(pod: PodName, container: &str, query: &[(String, String)]) -> Result<Route, Status> {
    let wants = wants(query)?;
    let argv: Vec<String> = query.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.clone()).collect();
    if argv.is_empty() {
        return Err(Status::bad_request("you must specify at least 1 command argument"));
    }
    let exec = ExecSpec { argv, stdin: wants.stdin, tty: wants.tty, env: Vec::new() };
    Ok(Route::Exec { pod, container: container.into(), exec, wants })
}

fn attach(pod: PodName, container: &str, query: &[(String, String)]) -> Result<Route, Status> {
    Ok(Route::Attach { pod, container: container.into(), wants: wants(query)? })
}

fn wants(query: &[(String, String)]) -> Result<Wants, Status> {
    Wants::from_query(query.iter().map(|(name, value)| (name.as_str(), value.as_str()))).map_err(Status::bad_request)
}

fn ports(query: &[(String, String)]) -> Result<Vec<u16>, Status> {
    let texts = query.iter().filter(|(name, _)| name == "port" || name == "ports").flat_map(|(_, value)| value.split(','));
    texts
        .map(|text| text.parse().ok().filter(|port| *port > 0).ok_or_else(|| Status::bad_request(format!("{text:?} is no port"))))
        .collect()
}

fn log_options(query: &[(String, String)]) -> Result<LogOptions, Status> {
    let text =
        |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty());
    let number = |name: &str| {
        text(name).map(|value| value.parse::<u64>().map_err(|_| Status::bad_request(format!("{name}={value:?} is no count")))).transpose()
    };
    let since_time = text("sinceTime")
        .map(|value| value.parse::<Timestamp>().map_err(|_| Status::bad_request(format!("sinceTime={value:?} is no time"))))
        .transpose()?;
    let stderr_only = match text("stream") {
        None | Some("All") => None,
        Some("Stdout") => Some(false),
        Some("Stderr") => Some(true),
        Some(other) => return Err(Status::bad_request(format!("stream={other:?} is not one of All, Stdout, Stderr"))),
    };
    Ok(LogOptions {
        follow: flag(query, "follow"),
        timestamps: flag(query, "timestamps"),
        tail_lines: number("tailLines")?,
        since: since_time,
        since_seconds: number("sinceSeconds")?,
        limit_bytes: number("limitBytes")?,
        stderr_only,
    })
}

fn flag(query: &[(String, String)], name: &str) -> bool {
    query.iter().any(|(known, value)| known == name && matches!(value.as_str(), "1" | "true"))
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let one = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(one).collect()
}

/// `%xx`; what is no escape stays.
fn decode(text: &str) -> String {
    let (mut out, bytes) = (Vec::with_capacity(text.len()), text.as_bytes());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok()).and_then(|two| u8::from_str_radix(two, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, uri: &str) -> Result<Route, u16> {
        Route::of(&method.parse().unwrap(), &uri.parse().unwrap()).map_err(|status| status.code)
    }

    #[test]
    fn routes_and_what_they_ask_for() {
        let exec = of("GET", "/exec/d/web/c?input=1&output=1&command=sh&command=-c&command=echo%20a%26b+c").unwrap();
        let Route::Exec { exec: spec, wants, .. } = &exec else { panic!("{exec:?}") };
        assert_eq!((spec.argv.clone(), wants.stdin), (vec!["sh".into(), "-c".into(), "echo a&b c".into()], true));
        assert_eq!((exec.verb(&Method::GET), exec.subresource()), ("create", "proxy"));
        let logs = of("GET", "/containerLogs/d/web/c?follow=true&tailLines=5&sinceTime=2026-01-01T00:00:00Z").unwrap();
        let Route::Logs { options, .. } = &logs else { panic!("{logs:?}") };
        assert_eq!((options.follow, options.tail_lines, logs.verb(&Method::GET)), (true, Some(5), "get"));
        assert_eq!(of("GET", "/portForward/d/web?port=80").unwrap(), Route::PortForward { pod: pod("d", "web", ""), ports: vec![80] });
        assert_eq!(of("GET", "/stats/summary").unwrap().subresource(), "stats");
        for (method, uri, code) in [
            ("GET", "/run/d/web/c", 404),
            ("GET", "/exec/d/web/c?command=x", 400),
            ("GET", "/exec/d/web/c?output=1", 400),
            ("POST", "/pods", 405),
            ("GET", "/containerLogs/d/web/c?tailLines=x", 400),
            ("GET", "/containerLogs/d/web", 404),
            ("GET", "/portForward/d/web?port=0", 400),
        ] {
            assert_eq!(of(method, uri).unwrap_err(), code, "{method} {uri}");
        }
    }
}
