use super::*;

const OUT_OF_BUDGET: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

fn failing(expression: &str, policy: &str) -> Value {
    merged(rule(expression), &json!({"failurePolicy": policy}))
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_decided_by_the_failure_policy() {
    let cluster = Cluster::bare().await;
    validating(&cluster, "open", failing("object.spec.nope == 1", "Ignore")).await;
    try_map(&cluster, "a").await.unwrap();
    validating(&cluster, "shut", failing("object.spec.nope == 1", "Fail")).await;
    let status = try_map(&cluster, "b").await.unwrap_err();
    let want = "ValidatingAdmissionPolicy 'shut' with binding 'shut-b' denied request: expression 'object.spec.nope == 1' resulted in error: no such key: spec";
    assert_eq!((status.code, status.message), (422, format!("configmaps \"b\" is forbidden: {want}")));
}

#[tokio::test]
async fn conditions_and_annotations_that_fail_follow_it_too() {
    let cluster = Cluster::bare().await;
    let conditions = json!([{"name": "a", "expression": "object.x == 1"}, {"name": "b", "expression": "object.y == 1"}]);
    for policy in ["Ignore", "Fail"] {
        let name = policy.to_lowercase();
        validating(&cluster, &name, merged(failing("false", policy), &json!({"matchConditions": conditions}))).await;
    }
    let message = try_map(&cluster, "a").await.unwrap_err().message;
    let want = "with binding 'fail-b' denied request: [expression 'object.x == 1' resulted in error: no such key: x, expression 'object.y == 1' resulted in error: no such key: y]";
    assert!(message.ends_with(want), "{message}");
    cluster.delete(bindings("Validating").named("fail-b"), Options::default()).await.unwrap();
    // One that is false decides, whatever goes wrong with others.
    let conditions = json!([{"name": "a", "expression": "object.x == 1"}, {"name": "b", "expression": "false"}]);
    validating(&cluster, "never", merged(failing("false", "Fail"), &json!({"matchConditions": conditions}))).await;
    try_map(&cluster, "b").await.unwrap();
    for (policy, fine) in [("Ignore", true), ("Fail", false)] {
        let name = format!("told-{}", policy.to_lowercase());
        let annotations = json!([{"key": "k", "valueExpression": "string(object.nope)"}]);
        validating(&cluster, &name, json!({"failurePolicy": policy, "auditAnnotations": annotations})).await;
        let answer = try_map(&cluster, &name).await;
        assert_eq!(answer.is_ok(), fine, "{answer:?}");
    }
}

#[tokio::test]
async fn a_policy_that_costs_too_much_ends_by_its_failure_policy() {
    let cluster = Cluster::bare().await;
    // 300³ steps: more than one evaluation may cost.
    let list = "variables.l.all(a, variables.l.all(b, variables.l.all(c, a + b + c >= 0)))";
    let variables = json!([{"name": "l", "expression": "lists.range(300)"}]);
    for policy in ["Ignore", "Fail"] {
        let name = policy.to_lowercase();
        validating(&cluster, &name, merged(failing(list, policy), &json!({"variables": variables}))).await;
    }
    let message = try_map(&cluster, "a").await.unwrap_err().message;
    assert!(
        message.ends_with(&format!("expression '{list}' resulted in error: operation cancelled: actual cost limit exceeded")),
        "{message}"
    );
    cluster.delete(bindings("Validating").named("fail-b"), Options::default()).await.unwrap();
    try_map(&cluster, "a").await.unwrap();
    // Each of them within its own limit, but not all of them together.
    let costly = json!({"expression": "variables.l.all(a, variables.l.all(b, a + b >= 0))"});
    let many: Vec<Value> = (0..40).map(|_| costly.clone()).collect();
    validating(&cluster, "sum", json!({"variables": variables, "validations": many})).await;
    let message = try_map(&cluster, "b").await.unwrap_err().message;
    assert!(
        message.ends_with(&format!("ValidatingAdmissionPolicy 'sum' with binding 'sum-b' denied request: {OUT_OF_BUDGET}")),
        "{message}"
    );
}

#[tokio::test]
async fn mistakes_are_found_when_a_policy_is_written() {
    let cluster = Cluster::bare().await;
    let policy = |spec: Value| json!({"metadata": {"name": "p"}, "spec": merged(json!({"matchConstraints": constraints("", "v1", "configmaps")}), &spec)});
    for (spec, want) in [
        (
            rule("object.x +"),
            "spec.validations[0].expression: Invalid value: \"object.x +\": compilation failed: ERROR: <input>:1:11: Syntax error",
        ),
        (rule("'a'"), "spec.validations[0].expression: Invalid value: \"'a'\": must evaluate to bool but got string"),
        (rule("params.x == 1"), "undeclared reference to 'params'"),
        (rule("variables.x == 1"), "undeclared reference to 'variables'"),
        (
            json!({"validations": [{"expression": "true"}], "variables": [{"name": "a", "expression": "variables.b"}]}),
            "spec.variables[0].expression: Invalid value: \"variables.b\": compilation failed",
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "1"}]}),
            "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] but got int",
        ),
    ] {
        let status = cluster.create(policies("Validating"), policy(spec)).await.unwrap_err();
        assert!(status.code == 422 && status.message.contains(want), "{status}");
    }
    let mutation = |expression: &str| json!({"reinvocationPolicy": "Never", "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]});
    let status = cluster.create(policies("Mutating"), policy(mutation("Object.spec{}"))).await.unwrap_err();
    assert!(status.message.contains("must evaluate to Object but got Object.spec"), "{status}");
}

#[tokio::test]
async fn a_denied_request_changes_nothing_and_is_told_to_the_audit_log() {
    let cluster = Cluster::bare().await;
    bound(&cluster, "Validating", "p", rule("false"), json!({"validationActions": ["Deny", "Audit"]})).await;
    let before = cluster.core.revision();
    let doc = json!({"metadata": {"name": "x"}});
    let (answer, annotations) = told(&cluster, &cluster.admin, Verb::Create, config_maps(), doc).await;
    assert_eq!((answer.unwrap_err().code, cluster.core.revision()), (422, before));
    assert_eq!(annotations[0].0, "validation.policy.admission.k8s.io/validation_failure");
}

#[tokio::test]
async fn policies_change_while_requests_pass() {
    let cluster = Cluster::bare().await;
    validating(&cluster, "p", rule("object.metadata.name != 'never'")).await;
    let writes = async {
        for round in 0..30 {
            assert_eq!(try_map(&cluster, "never").await.unwrap_err().code, 422, "round {round}");
            try_map(&cluster, &format!("x{round}")).await.unwrap();
        }
    };
    let changes = async {
        for round in 0..30 {
            let spec = json!({"spec": {"validations": [{"expression": format!("object.metadata.name != 'never' && {round} >= 0")}]}});
            cluster.patch(policies("Validating").named("p"), Patch::Merge, spec).await.unwrap();
        }
    };
    tokio::join!(writes, changes);
}
