//! Whether a token of an issuer outside is good: issuer, audience, time, algorithm, signature, in the order in which upstream's library
//! looks, and in its words.

use super::provider::Provider;
use crate::jwt::{Claims, Jws, audiences, seconds};
use crate::rbac::rules::quoted;

/// How far the issuer's clock may be ahead of ours.
const LEEWAY_SECONDS: i64 = 60;

/// What a token must say.
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    /// One of them is enough.
    pub audiences: &'a [String],
}

/// The issuer that a token names. Google's has two names for one.
pub(super) fn issuer(claims: &Claims) -> &str {
    match claims.get("iss").and_then(schema::Value::as_str).unwrap_or_default() {
        "accounts.google.com" => "https://accounts.google.com",
        other => other,
    }
}

/// Checks all of it; asks `provider` for keys.
pub(super) async fn token(jws: &Jws<'_>, expected: &Expected<'_>, now: i64, provider: &Provider) -> Result<(), String> {
    check_claims(&jws.claims, expected, now)?;
    provider.check_algorithm(&jws.algorithm)?;
    provider.verify(jws).await.map_err(|why| format!("failed to verify signature: {why}"))?;
    check_audience(&jws.claims, expected, true)
}

fn check_claims(claims: &Claims, expected: &Expected<'_>, now: i64) -> Result<(), String> {
    if issuer(claims) != expected.issuer {
        return Err(format!("oidc: id token issued by a different provider, expected {:?} got {:?}", expected.issuer, issuer(claims)));
    }
    if expected.audiences.len() == 1 {
        check_audience(claims, expected, false)?;
    }
    let expiry = seconds(claims, "exp");
    if expiry.is_none_or(|expiry| expiry < now) {
        return Err(format!("oidc: token is expired (Token Expiry: {})", expiry.map_or("0001-01-01 00:00:00 +0000 UTC".into(), go_time)));
    }
    match seconds(claims, "nbf") {
        Some(start) if now + LEEWAY_SECONDS < start => {
            Err(format!("oidc: current time {} before the nbf (not before) time: {}", go_time(now), go_time(start)))
        }
        _ => Ok(()),
    }
}

fn check_audience(claims: &Claims, expected: &Expected<'_>, many: bool) -> Result<(), String> {
    let given = audiences(claims);
    if given.iter().any(|audience| expected.audiences.contains(audience)) {
        return Ok(());
    }
    if many {
        let mut wanted = expected.audiences.to_vec();
        wanted.sort_unstable();
        return Err(format!("oidc: expected audience in {} got {}", quoted(&wanted), quoted(&given)));
    }
    Err(format!("oidc: expected audience {:?} got {}", expected.audiences.first().map(String::as_str).unwrap_or_default(), quoted(&given)))
}

/// `2026-01-01 00:00:00 +0000 UTC`
fn go_time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string())
}
