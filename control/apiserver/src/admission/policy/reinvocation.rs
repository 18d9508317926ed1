//! Which mutations are made again: those of policies with `reinvocationPolicy: IfNeeded`, once, when somebody changed the object
//! after them. The chain goes through a second round when a policy or a webhook changed the object in the first.

use schema::Value;

/// Kept for one request. A key is policy, binding and parameter.
#[derive(Debug, Default)]
pub struct Reinvocation {
    /// Made in this round or before, and want to hear of changes after that.
    made: Vec<String>,
    /// Are to be made in the second round.
    again: Vec<String>,
    /// The object when the last policy had seen it.
    left: Option<Value>,
}

impl Reinvocation {
    /// Before the first policy of a round: somebody else may have changed the object since.
    pub(super) fn look(&mut self, round: u8, object: &Value) {
        if round > 0 && self.left.as_ref() != Some(object) {
            self.require();
        }
    }

    pub(super) fn includes(&self, round: u8, key: &str) -> bool {
        round == 0 || self.again.iter().any(|one| one == key)
    }

    pub(super) fn was_made(&mut self, key: String, again_if_needed: bool, changed: bool) {
        if changed {
            self.require();
        }
        if again_if_needed {
            self.made.push(key);
        }
    }

    /// After the last policy of a round.
    pub(super) fn leave(&mut self, object: &Value) {
        if !self.made.is_empty() || !self.again.is_empty() {
            self.left = Some(object.clone());
        }
    }

    fn require(&mut self) {
        self.again.append(&mut self.made);
    }
}
