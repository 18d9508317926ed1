//! JSON Web Tokens as a stranger sends them: read within bounds, believed only after a key has signed for them.
//!
//! ```text
//! text ──► Jws::parse ──► algorithm, key id, claims (nobody's word yet) ──► keys::Key::verify ──► claims
//! ```
//! A token has three parts of unpadded base64url and [`TOKEN_BYTES_MAX`] bytes at most; its JSON nests no deeper than serde_json goes (128)
//! and names nothing twice, because two readers of a document with two `sub` may see two users. The algorithm is never taken from the token
//! alone: a key verifies those of its own sort, and `none` and the HMACs are no algorithms here.

pub mod keys;
pub mod signer;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schema::Value;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Larger ones are nobody's: what an issuer signs fits a header.
pub const TOKEN_BYTES_MAX: usize = 128 << 10;

pub type Claims = serde_json::Map<String, Value>;

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("malformed jwt: {0} bytes; at most {TOKEN_BYTES_MAX} are read")]
    Large(usize),
    #[error("malformed jwt, expected 3 parts got {0}")]
    Parts(usize),
    #[error("malformed jwt {part}: {why}")]
    Part { part: &'static str, why: String },
    #[error("malformed jwt header: {0}")]
    Header(&'static str),
}

/// A token taken apart. Until a key has verified it, what it says is the word of whoever sent it.
#[derive(Debug)]
pub struct Jws<'a> {
    pub algorithm: String,
    /// Empty where the token names none.
    pub key_id: String,
    pub claims: Claims,
    /// What was signed: the first two parts.
    message: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    pub fn parse(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(JwtError::Large(token.len()));
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else { return Err(JwtError::Parts(parts.len())) };
        let (header, claims) = (object("header", header)?, object("payload", payload)?);
        if header.contains_key("crit") {
            return Err(JwtError::Header("critical extensions are not understood"));
        }
        let text = |name: &str| header.get(name).and_then(Value::as_str).map(str::to_owned);
        let algorithm = text("alg").ok_or(JwtError::Header("no algorithm"))?;
        let message = &token[..token.len() - signature.len() - 1];
        Ok(Self { algorithm, key_id: text("kid").unwrap_or_default(), claims, message, signature: decoded("signature", signature)? })
    }

    /// The claim of `iss`; empty where there is none.
    pub fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether `key` has signed it.
    pub fn is_signed_by(&self, key: &keys::Key) -> bool {
        key.verify(&self.algorithm, self.message.as_bytes(), &self.signature)
    }
}

/// A claim of `aud`: one text or a list of them.
pub fn audiences(claims: &Claims) -> Vec<String> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A claim of a time in seconds since 1970, fractions cut off.
pub fn seconds(claims: &Claims, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    value.as_i64().or_else(|| value.as_f64().filter(|seconds| seconds.abs() < 9.2e18).map(|seconds| seconds as i64))
}

fn object(part: &'static str, text: &str) -> Result<Claims, JwtError> {
    let bytes = decoded(part, text)?;
    let Unique(value) = serde_json::from_slice(&bytes).map_err(|error| JwtError::Part { part, why: error.to_string() })?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(JwtError::Part { part, why: "no JSON object".into() }),
    }
}

fn decoded(part: &'static str, text: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| JwtError::Part { part, why: error.to_string() })
}

/// JSON that names nothing twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Claims::new();
        while let Some(name) = members.next_key::<String>()? {
            let Unique(value) = members.next_value()?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("{name:?} is named twice")));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#"{"alg":"ES256","kid":"k"}"#, r#"{"iss":"i","aud":["a","b"],"exp":12.9,"nested":{"a":[1,null,true]}}"#);
        let jws = Jws::parse(&text).unwrap();
        assert_eq!((jws.algorithm.as_str(), jws.key_id.as_str(), jws.issuer()), ("ES256", "k", "i"));
        assert_eq!(
            (audiences(&jws.claims), seconds(&jws.claims, "exp"), seconds(&jws.claims, "nbf")),
            (vec!["a".into(), "b".into()], Some(12), None)
        );
        assert_eq!(jws.message, text.rsplit_once('.').unwrap().0);
    }

    #[test]
    fn what_is_no_token_is_refused_in_words() {
        let deep = format!("{}1{}", "[".repeat(4_000), "]".repeat(4_000));
        for (text, want) in [
            (String::new(), "expected 3 parts got 1"),
            ("a.b".into(), "expected 3 parts got 2"),
            (".".repeat(9), "expected 3 parts got 10"),
            ("x".repeat(TOKEN_BYTES_MAX + 1), "at most 131072 are read"),
            ("..".into(), "malformed jwt header: EOF"),
            ("e30=.e30.".into(), "malformed jwt header: Invalid"),
            ("e30.e3.".into(), "malformed jwt payload"),
            (token("{}", "{}"), "no algorithm"),
            (token(r#"{"alg":"ES256"}"#, "[]"), "payload: no JSON object"),
            (token(r#"{"alg":"ES256","alg":"none"}"#, "{}"), "header: \"alg\" is named twice"),
            (token(r#"{"alg":"ES256"}"#, r#"{"sub":"a","sub":"b"}"#), "payload: \"sub\" is named twice"),
            (token(r#"{"alg":"ES256"}"#, r#"{"a":{"b":1,"b":2}}"#), "\"b\" is named twice"),
            (token(r#"{"alg":"ES256","crit":["b64"]}"#, "{}"), "critical extensions are not understood"),
            (token(r#"{"alg":"ES256"}"#, &format!(r#"{{"a":{deep}}}"#)), "recursion limit exceeded"),
            (token(r#"{"alg":"ES256"}"#, "{\"a\":1} trailing"), "trailing characters"),
            (token("\u{0}\u{ff}", "{}"), "malformed jwt header"),
        ] {
            let why = Jws::parse(&text).unwrap_err().to_string();
            assert!(why.contains(want), "{why} of {:.60}", text);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[A-Za-z0-9_.=-]{0,200}") {
            let _ = Jws::parse(&text);
        }

        #[test]
        fn any_payload_is_read_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#), URL_SAFE_NO_PAD.encode(payload));
            let _ = Jws::parse(&text);
        }
    }
}
