//! Continue tokens: which revision a paged list shows and where its next page starts, in upstream's encoding.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use schema::{Status, decode};

/// The place where a paged list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continue {
    /// The revision that every page shows; None: whatever is newest (after the first one's expiry).
    pub revision: Option<u64>,
    /// First key of the page, below the list's prefix.
    pub start: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Wire {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

/// Bits that are left over mean nothing, as Go reads it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

impl Continue {
    pub fn parse(token: &str) -> Result<Self, Status> {
        let bad = |why: String| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let token = token.trim_end_matches('=');
        let illegal = |error: &base64::DecodeError| format!("illegal base64 data at input byte {}", decode::base64_error_at(error, token));
        let bytes = LENIENT.decode(token).map_err(|error| bad(illegal(&error)))?;
        let read = decode::json_value(&bytes).map_err(|error| bad(error.to_string()))?;
        let wire: Wire = serde_json::from_value(read.value).map_err(|error| bad(error.to_string()))?;
        if wire.v != VERSION {
            return Err(bad(format!("server does not recognize this encoded version {}", wire.v)));
        }
        let start = wire.start.strip_prefix('/').unwrap_or(&wire.start);
        if start.is_empty() {
            return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
        }
        if start.split('/').any(|step| matches!(step, "." | ".." | "")) {
            return Err(bad(start.to_owned()));
        }
        let revision = match wire.rv {
            0 => return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into())),
            rv => u64::try_from(rv).ok(),
        };
        Ok(Self { revision, start: start.to_owned() })
    }

    pub fn encode(&self) -> String {
        let (rv, start) = match self.revision {
            Some(revision) => (i64::try_from(revision).unwrap_or(i64::MAX), format!("/{}", self.start)),
            None => (-1, self.start.clone()),
        };
        let wire = Wire { v: VERSION.into(), rv, start };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).expect("a token serialises into memory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_upstreams() {
        let text = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjIyLCJzdGFydCI6Ii9wZzJcdTAwMDAifQ";
        let token = Continue { revision: Some(222), start: "pg2\0".into() };
        assert_eq!(Continue::parse(text).unwrap(), token);
        assert_eq!(token.encode(), text);
        let inconsistent = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiZXgxXHUwMDAwIn0";
        assert_eq!(Continue { revision: None, start: "ex1\0".into() }.encode(), inconsistent);
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for bad in ["garbage", "e30", "", "!!"] {
            assert_eq!(Continue::parse(bad).unwrap_err().code, 400, "{bad}");
        }
        let why = Continue::parse("garbage").unwrap_err().message;
        assert_eq!(why, "invalid continue token: continue key is not valid: invalid character '\\u0081' looking for beginning of value");
        let escape = Continue { revision: Some(1), start: "../secrets/x".into() }.encode();
        assert_eq!(Continue::parse(&escape).unwrap_err().code, 400);
    }
}
