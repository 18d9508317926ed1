//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or unreachable, unless it says otherwise.

use async_trait::async_trait;
use schema::{DocExt, Status, Value, json};

use super::{Admission, Operation, Plugin};

pub struct DefaultTolerationSeconds;

const SECONDS: i64 = 300;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        if request.is_object("", "pods") && matches!(request.operation, Operation::Create | Operation::Update) {
            for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
                tolerate(new, key);
            }
        }
        Ok(())
    }
}

fn tolerate(pod: &mut Value, key: &str) {
    let tolerated = pod.items_at("spec.tolerations").iter().any(|toleration| {
        let own = toleration.str_at("key");
        let effect = toleration.str_at("effect");
        (own == key || own.is_empty()) && (effect == "NoExecute" || effect.is_empty())
    });
    if tolerated {
        return;
    }
    let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
    match pod.at_mut("spec.tolerations").and_then(Value::as_array_mut) {
        Some(tolerations) => tolerations.push(toleration),
        None => pod.set_at("spec.tolerations", vec![toleration]),
    }
}
