//! Browsers of other origins: which of them may read our answers (`--cors-allowed-origins`).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue, ORIGIN,
};
use http::{HeaderMap, Method};

use super::answer::{Answer, Body};

const METHODS: HeaderValue = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE, PATCH");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
);

/// The origins that are let in; none by default.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// Whole origins; `*` stands for any characters: `https://*.example.com`.
    origins: Vec<String>,
}

impl Cors {
    pub fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    /// The origin of a request, if it is let in.
    pub(crate) fn origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        if self.origins.is_empty() {
            return None;
        }
        let origin = headers.get(ORIGIN)?;
        let text = origin.to_str().ok()?;
        self.origins.iter().any(|pattern| fits(pattern, text)).then_some(origin)
    }

    /// The answer to a browser that asks beforehand.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Answer> {
        let origin = self.origin(headers).filter(|_| *method == Method::OPTIONS)?;
        let mut answer = Answer::new(Body::empty());
        *answer.status_mut() = http::StatusCode::NO_CONTENT;
        allow(&mut answer, origin);
        Some(answer)
    }
}

/// Lets scripts of `origin` read an answer.
pub(crate) fn allow(answer: &mut Answer, origin: &HeaderValue) {
    let fields = answer.headers_mut();
    fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    fields.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Date"));
    fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
}

/// The pieces between the stars, in order, the first and the last at the ends.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let pieces: Vec<&str> = rest.split('*').collect();
    let (last, between) = pieces.split_last().expect("a split has a last piece");
    for piece in between {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_fit_whole() {
        for (pattern, origin, want) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://a.example.evil", false),
            ("https://*.example", "https://x.y.example", true),
            ("https://*.example", "https://example", false),
            ("http://localhost:*", "http://localhost:8080", true),
            ("*", "null", true),
            ("https://*.a.*", "https://x.a.b", true),
            ("https://*.a.*", "https://x.b.b", false),
        ] {
            assert_eq!(fits(pattern, origin), want, "{pattern} {origin}");
        }
    }

    #[test]
    fn only_origins_that_are_let_in_are_answered_beforehand() {
        let cors = Cors::new(vec!["https://a.example".into()]);
        let asked = |origin: &'static str| [(ORIGIN, HeaderValue::from_static(origin))].into_iter().collect::<HeaderMap>();
        let answer = cors.preflight(&Method::OPTIONS, &asked("https://a.example")).unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert!(cors.preflight(&Method::OPTIONS, &asked("https://b.example")).is_none());
        assert!(cors.preflight(&Method::GET, &asked("https://a.example")).is_none());
        assert!(Cors::default().preflight(&Method::OPTIONS, &asked("https://a.example")).is_none());
    }
}
