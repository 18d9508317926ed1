//! Go durations (`1h30m`, golden/durations.jsonl) and the two human forms of ages that tables print.

use std::time::Duration;

/// Parses `time.ParseDuration` texts; negative durations are an error of the caller's choosing, so nanoseconds are signed.
pub fn parse_nanos(_text: &str) -> Result<i64, String> {
    unimplemented!()
}

/// `Duration.String()`.
pub fn format_nanos(_nanos: i64) -> String {
    unimplemented!()
}

/// `duration.HumanDuration`: what an AGE column shows.
pub fn human(_duration: Duration) -> String {
    unimplemented!()
}

/// As [`human`] for signed seconds: `-1` is `0s`, `-2` and below `<invalid>`.
pub fn human_seconds(_seconds: i64) -> String {
    unimplemented!()
}
