//! Which media type and which shape an answer has: the `Accept` header against what we can make.

use std::borrow::Cow;

use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use schema::Status;

use super::query::Query;

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const META: &str = "meta.k8s.io";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json { pretty: bool },
    Yaml,
    Protobuf,
}

/// What is made of an object or a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As it is.
    Plain,
    /// `as=Table`, in this version of meta.k8s.io.
    Table(&'static str),
    /// `as=PartialObjectMetadata`
    Partial(&'static str),
    /// `as=PartialObjectMetadataList`
    PartialList(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub encoding: Encoding,
    pub shape: Shape,
}

impl Wanted {
    /// The Content-Type of the answer.
    pub fn content_type(&self) -> &'static str {
        match self.encoding {
            Encoding::Json { .. } => JSON,
            Encoding::Yaml => YAML,
            Encoding::Protobuf => PROTOBUF,
        }
    }
}

/// One clause of an Accept header.
struct Clause<'a> {
    media: &'a str,
    /// Thousandths.
    quality: u32,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Clause<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

/// What a resource is answered as. `listed`: a list or a watch. 406 where nothing that is accepted can be made.
pub fn resource(headers: &HeaderMap, query: &Query, listed: bool) -> Result<Wanted, Status> {
    let pretty = pretty(headers, query);
    let header = accept(headers);
    let mut clauses = clauses(&header);
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    clauses
        .iter()
        .find_map(|clause| wanted(clause, listed, pretty))
        .ok_or_else(|| Status::not_acceptable(&format!("{JSON}, {YAML}, {PROTOBUF}")))
}

/// What a watch is answered as: as a resource, but never YAML.
pub fn watch(headers: &HeaderMap, query: &Query) -> Result<Wanted, Status> {
    let wanted = resource(headers, query, true)?;
    match wanted.encoding {
        Encoding::Yaml => Err(Status::not_acceptable(&format!("{JSON};stream=watch, {PROTOBUF};stream=watch"))),
        // Lines are frames: they cannot be broken for reading.
        Encoding::Json { .. } => Ok(Wanted { encoding: Encoding::Json { pretty: false }, ..wanted }),
        Encoding::Protobuf => Ok(wanted),
    }
}

/// The headers without the clauses that ask for whole objects in protobuf; their metadata has that form for every kind.
pub fn without_protobuf(headers: &HeaderMap) -> Result<Cow<'_, HeaderMap>, Status> {
    let header = accept(headers);
    if !header.contains(PROTOBUF) {
        return Ok(Cow::Borrowed(headers));
    }
    let is_whole = |clause: &&str| clause.contains(PROTOBUF) && !clause.contains("as=Partial");
    let kept: Vec<&str> = header.split(',').filter(|clause| !is_whole(clause)).collect();
    let refused = || Status::not_acceptable(&format!("{JSON}, {YAML}"));
    if kept.is_empty() {
        return Err(refused());
    }
    let mut headers = headers.clone();
    headers.insert(ACCEPT, HeaderValue::from_str(&kept.join(",")).map_err(|_| refused())?);
    Ok(Cow::Owned(headers))
}

/// What an error is answered as. It has neither rows nor metadata: where only such shapes are accepted, it comes as JSON that
/// is indented for whoever reads it, as upstream writes what it could not negotiate.
pub fn error(headers: &HeaderMap, query: &Query) -> Encoding {
    let (header, pretty) = (accept(headers), pretty(headers, query));
    let mut clauses = clauses(&header);
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    let plain = clauses.iter().filter(|clause| clause.parameter("as").is_empty());
    plain.filter_map(|clause| encoding(clause.media, pretty)).next().unwrap_or(Encoding::Json { pretty: true })
}

/// Whether `as=kind;g=group;v=version` is preferred over the plain document. Err: neither is accepted.
pub fn alternative(headers: &HeaderMap, query: &Query, kind: &str, group: &str, version: &str) -> Result<(bool, Encoding), Status> {
    let pretty = pretty(headers, query);
    let header = accept(headers);
    let mut clauses = clauses(&header);
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    for clause in &clauses {
        let Some(encoding) = encoding(clause.media, pretty) else { continue };
        if clause.parameter("as").is_empty() {
            return Ok((false, encoding));
        }
        let same = clause.parameter("as") == kind && clause.parameter("g") == group && clause.parameter("v") == version;
        if same && encoding != Encoding::Yaml {
            return Ok((true, encoding));
        }
    }
    Err(Status::not_acceptable(&format!("{JSON}, {YAML}, {PROTOBUF}")))
}

/// The one of `types` that is liked best (parameters aside); wildcards and no header at all mean the first.
pub fn preferred(headers: &HeaderMap, types: &[&'static str]) -> Option<&'static str> {
    let header = accept(headers);
    let mut clauses = clauses(&header);
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    clauses.iter().find_map(|clause| match clause.media {
        "*/*" | "application/*" => types.first().copied(),
        media => types.iter().find(|ty| **ty == media).copied(),
    })
}

fn accept(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let header = values.join(",");
    if header.trim().is_empty() { "*/*".to_owned() } else { header }
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    header.split(',').map(str::trim).filter(|clause| !clause.is_empty()).map(clause).filter(|clause| clause.quality > 0).collect()
}

fn clause(text: &str) -> Clause<'_> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let parameters: Vec<(&str, &str)> =
        parts.filter_map(|part| part.split_once('=')).map(|(key, value)| (key.trim(), value.trim().trim_matches('"'))).collect();
    let quality = parameters.iter().find(|(key, _)| *key == "q").and_then(|(_, value)| value.parse::<f32>().ok()).unwrap_or(1.0);
    Clause { media, quality: (quality.clamp(0.0, 1.0) * 1000.0) as u32, parameters }
}

fn encoding(media: &str, pretty: bool) -> Option<Encoding> {
    match media {
        JSON | "*/*" | "application/*" => Some(Encoding::Json { pretty }),
        YAML => Some(Encoding::Yaml),
        PROTOBUF => Some(Encoding::Protobuf),
        _ => None,
    }
}

fn wanted(clause: &Clause<'_>, listed: bool, pretty: bool) -> Option<Wanted> {
    let encoding = encoding(clause.media, pretty)?;
    let version = match clause.parameter("v") {
        "v1beta1" => "v1beta1",
        _ => "v1",
    };
    let ours = clause.parameter("g") == META && matches!(clause.parameter("v"), "v1" | "v1beta1");
    let shape = match clause.parameter("as") {
        "" => Shape::Plain,
        // A Table has no protobuf form that anybody reads.
        "Table" if ours && encoding != Encoding::Protobuf => Shape::Table(version),
        "PartialObjectMetadata" if ours => Shape::Partial(version),
        "PartialObjectMetadataList" if ours && listed => Shape::PartialList(version),
        _ => return None,
    };
    Some(Wanted { encoding, shape })
}

/// Indented for who reads it with own eyes.
fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.get("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|reader| agent.starts_with(reader))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        [(ACCEPT, accept.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn the_best_clause_that_we_can_make_counts() {
        let compact = Encoding::Json { pretty: false };
        for (accept, want) in [
            ("*/*", Some((compact, Shape::Plain))),
            ("application/vnd.kubernetes.protobuf,application/json", Some((Encoding::Protobuf, Shape::Plain))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Some((compact, Shape::Table("v1"))),
            ),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Some((compact, Shape::Table("v1beta1")))),
            ("application/json;q=0.5,application/yaml", Some((Encoding::Yaml, Shape::Plain))),
            ("application/json;as=Nope;v=v1;g=meta.k8s.io,application/json", Some((compact, Shape::Plain))),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io",
                Some((compact, Shape::Table("v1"))),
            ),
            ("text/html", None),
            ("application/json;as=Nope;v=v1;g=meta.k8s.io", None),
            ("application/json;q=0", None),
        ] {
            let found = resource(&headers(accept), &Query::default(), true).ok();
            assert_eq!(found.map(|wanted| (wanted.encoding, wanted.shape)), want, "{accept}");
        }
    }

    #[test]
    fn people_get_indented_json() {
        let mut headers = headers("*/*");
        headers.insert(USER_AGENT, "curl/8.0".parse().unwrap());
        assert_eq!(error(&headers, &Query::default()), Encoding::Json { pretty: true });
        assert_eq!(error(&headers, &Query::parse("pretty=false")), Encoding::Json { pretty: false });
    }

    #[test]
    fn an_error_that_cannot_be_had_as_asked_is_indented() {
        for (accept, want) in [
            ("application/json", Encoding::Json { pretty: false }),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Encoding::Json { pretty: true }),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Encoding::Json { pretty: false }),
            ("text/html", Encoding::Json { pretty: true }),
            ("application/yaml", Encoding::Yaml),
        ] {
            assert_eq!(error(&headers(accept), &Query::default()), want, "{accept}");
        }
    }

    #[test]
    fn a_watch_is_never_yaml() {
        assert_eq!(watch(&headers("application/yaml"), &Query::default()).unwrap_err().code, 406);
    }
}
