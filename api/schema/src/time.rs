//! Times in documents: `metav1.Time` (RFC 3339, whole seconds, `Z`) and `MicroTime` (six digits).
//! Times never order objects; revisions do.

use jiff::Timestamp;

/// `2026-11-20T08:37:00Z`
pub fn format(time: Timestamp) -> String {
    let seconds = Timestamp::from_second(time.as_second()).unwrap_or(Timestamp::UNIX_EPOCH);
    seconds.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-20T08:37:00.123456Z`
pub fn format_micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Either form, any offset.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}
