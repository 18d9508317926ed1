//! Who is asked again: webhooks with `reinvocationPolicy: IfNeeded`, once, when somebody changed the object after them.
//!
//! ```text
//! round 0: plug-ins ─► webhooks ─ one changed something ─► round 1: plug-ins ─► webhooks that were asked before that change
//! ```
//! The plug-ins of the server always see what webhooks made; a webhook that was not asked in the first round is not in the second.

use schema::Value;

use super::hook::Hook;

/// Kept for one request.
#[derive(Debug, Default)]
pub struct Reinvocation {
    round: u8,
    /// A webhook has changed the object.
    wanted: bool,
    /// Asked, and want to hear of changes after that.
    asked: Vec<String>,
    /// Are to be asked in the second round.
    again: Vec<String>,
    /// The object when the last webhook had seen it.
    left: Option<Value>,
}

impl Reinvocation {
    /// Whether the chain has to be gone through once more; from now on this is the second round.
    pub(crate) fn begin(&mut self) -> bool {
        let again = self.wanted && self.round == 0;
        self.round += u8::from(again);
        again
    }

    /// Something else than a webhook has changed the object so that all plug-ins should see it again.
    pub(in crate::admission) fn want(&mut self) {
        self.wanted = true;
    }

    pub(in crate::admission) fn round(&self) -> u8 {
        self.round
    }

    /// Before the first webhook of a round: a plug-in of the server may have changed the object since.
    pub(super) fn look(&mut self, object: Option<&Value>) {
        if self.round > 0 && self.left.as_ref() != object {
            self.require();
        }
    }

    pub(super) fn includes(&self, id: &str) -> bool {
        self.round == 0 || self.again.iter().any(|one| one == id)
    }

    pub(super) fn was_asked(&mut self, hook: &Hook, changed: bool) {
        if changed {
            self.wanted = true;
            self.require();
        }
        if hook.reinvocable {
            self.asked.push(hook.id.clone());
        }
    }

    /// After the last webhook of a round.
    pub(super) fn leave(&mut self, object: Option<&Value>) {
        if !self.asked.is_empty() && self.wanted {
            self.left = object.cloned();
        }
    }

    fn require(&mut self) {
        self.again.append(&mut self.asked);
    }
}
