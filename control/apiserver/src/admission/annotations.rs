//! What the audit log should tell of an admission decision: keys of the plug-in that speaks, values for people and programs.
//!
//! [`crate::Core::call_annotated`] hands them to whoever writes the audit line. The first value of a key stays, as upstream;
//! programs outside and policies add to them, so there is an end to it.

use std::sync::Mutex;

/// Bytes of keys and values of one request.
const BYTES_MAX: usize = 256 << 10;

/// Shared by the plug-ins of one request; those that are asked at once write at once.
#[derive(Debug, Default)]
pub struct Annotations(Mutex<Vec<(String, String)>>);

impl Annotations {
    /// Adds one, unless its key is taken or there are too many.
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        let mut held = self.0.lock().expect("no holder of the annotations panics");
        let bytes: usize = held.iter().map(|(key, value)| key.len() + value.len()).sum();
        if let Some((_, there)) = held.iter().find(|(taken, _)| *taken == key) {
            if *there != value {
                tracing::warn!(key, "an audit annotation is there already");
            }
        } else if bytes + key.len() + value.len() > BYTES_MAX {
            tracing::warn!(key, "an audit annotation is left out: the request has {bytes} bytes of them");
        } else {
            held.push((key, value));
        }
    }

    /// What was added so far, in order.
    pub fn all(&self) -> Vec<(String, String)> {
        self.0.lock().expect("no holder of the annotations panics").clone()
    }

    /// The same, and there are none left.
    pub fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.0.lock().expect("no holder of the annotations panics"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_stays_and_there_is_an_end() {
        let annotations = Annotations::default();
        annotations.add("a", "1");
        annotations.add("a", "2");
        annotations.add("b", "x".repeat(BYTES_MAX));
        annotations.add("c", "3");
        assert_eq!(annotations.take(), [("a".to_owned(), "1".to_owned()), ("c".to_owned(), "3".to_owned())]);
    }
}
