//! TaintNodesByCondition: a new node takes no pods before its first status says that it is ready.

use async_trait::async_trait;
use schema::{DocExt, Status, Value, json};

use super::{Admission, Operation, Plugin};

pub struct TaintNodesByCondition;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

#[async_trait]
impl Plugin for TaintNodesByCondition {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.is_object("", "nodes") {
            return Ok(());
        }
        let tainted = new.items_at("spec.taints").iter().any(|taint| taint.str_at("key") == NOT_READY);
        if !tainted {
            let mut taints = new.items_at("spec.taints").to_vec();
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            new.set_at("spec.taints", taints);
        }
        Ok(())
    }
}
