//! The condition of a disruption budget: written by its controller and by evictions alike.

use jiff::Timestamp;
use schema::{DocExt, Value, json, time};

const ALLOWED: &str = "DisruptionAllowed";

/// Sets `DisruptionAllowed` in a budget's status to what its `disruptionsAllowed` says.
pub fn set_condition(status: &mut Value, now: Timestamp) {
    let (flag, reason) = wanted(status);
    write(status, flag, reason, "", now);
}

/// Says that the budget could not be worked out: nothing is allowed, and why.
pub fn set_failed(status: &mut Value, why: &str, now: Timestamp) {
    status.set_at("disruptionsAllowed", 0);
    write(status, "False", "SyncFailed", why, now);
}

/// Whether the condition says what `disruptionsAllowed` does.
pub fn is_condition_true_to(status: &Value) -> bool {
    held(status).is_some_and(|held| (held.str_at("status"), held.str_at("reason")) == wanted(status))
}

fn wanted(status: &Value) -> (&'static str, &'static str) {
    let is_allowed = status.i64_at("disruptionsAllowed").is_some_and(|allowed| allowed > 0);
    if is_allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") }
}

fn held(status: &Value) -> Option<&Value> {
    status.items_at("conditions").iter().find(|condition| condition.str_at("type") == ALLOWED)
}

/// The time of the transition moves with the flag alone; conditions of others stay.
fn write(status: &mut Value, flag: &str, reason: &str, message: &str, now: Timestamp) {
    let since = held(status).filter(|held| held.str_at("status") == flag).map(|held| held.str_at("lastTransitionTime").to_owned());
    let mut condition = json!({"type": ALLOWED, "status": flag, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| time::format(now))});
    if let Some(generation) = status.i64_at("observedGeneration") {
        condition.set_at("observedGeneration", generation);
    }
    let mut conditions = status.items_at("conditions").to_vec();
    match conditions.iter_mut().find(|held| held.str_at("type") == ALLOWED) {
        Some(held) => *held = condition,
        None => conditions.push(condition),
    }
    status.set_at("conditions", conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_follows_the_number_and_its_time_the_flag() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut status = json!({"disruptionsAllowed": 1, "observedGeneration": 2, "conditions": [{"type": "Foreign", "status": "True"}]});
        set_condition(&mut status, at("2026-01-01T00:00:00Z"));
        assert!(is_condition_true_to(&status));
        status["disruptionsAllowed"] = json!(2);
        set_condition(&mut status, at("2026-01-02T00:00:00Z"));
        assert_eq!(
            status["conditions"][1],
            json!({"type": ALLOWED, "status": "True", "reason": "SufficientPods", "message": "", "observedGeneration": 2,
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        );
        set_failed(&mut status, "why", at("2026-01-03T00:00:00Z"));
        assert!(!is_condition_true_to(&status));
        assert_eq!(
            (status["disruptionsAllowed"].clone(), status["conditions"][1]["lastTransitionTime"].clone()),
            (json!(0), json!("2026-01-03T00:00:00Z"))
        );
        assert_eq!(status["conditions"].as_array().unwrap().len(), 2);
    }
}
