//! What the server says of itself: every discovery document, and what `explain` makes of the schemas.

use super::session::{Row, Session};

/// Ten kinds with a field that lies deep in each.
const EXPLAINED: &[Row] = &[
    (&["explain", "pods", "--recursive"], &["KIND:", "Pod", "ephemeralContainers", "terminationGracePeriodSeconds", "procMount"]),
    (&["explain", "deployments", "--recursive"], &["GROUP:", "apps", "maxUnavailable", "topologySpreadConstraints"]),
    (&["explain", "services", "--recursive"], &["sessionAffinityConfig", "timeoutSeconds", "nodePort"]),
    (&["explain", "nodes", "--recursive"], &["kubeletEndpoint", "allocatable", "podCIDRs"]),
    (&["explain", "ingresses", "--recursive"], &["pathType", "defaultBackend", "secretName"]),
    (&["explain", "networkpolicies", "--recursive"], &["endPort", "namespaceSelector", "except"]),
    (&["explain", "cronjobs", "--recursive"], &["concurrencyPolicy", "podFailurePolicy", "jobTemplate"]),
    (
        &["explain", "customresourcedefinitions", "--recursive"],
        &["x-kubernetes-validations", "conversionReviewVersions", "selectableFields"],
    ),
    (&["explain", "persistentvolumes", "--recursive"], &["volumeHandle", "persistentVolumeReclaimPolicy", "fsType"]),
    (&["explain", "validatingadmissionpolicies", "--recursive"], &["messageExpression", "matchConditions", "auditAnnotations"]),
    (&["explain", "hpa", "--api-version=autoscaling/v1", "--recursive"], &["targetCPUUtilizationPercentage"]),
    (&["explain", "hpa", "--recursive"], &["VERSION:", "v2", "stabilizationWindowSeconds"]),
];

pub(crate) fn run(session: &mut Session<'_>) {
    session.rows(EXPLAINED);
    documents(session);
}

/// The core's versions, the groups, each group's versions, each version's resources, and the ways to the schemas.
fn documents(session: &mut Session<'_>) {
    session.shows(&["get", "--raw", "/api"], &["\"kind\":\"APIVersions\"", "\"versions\":[\"v1\"]"]);
    session
        .shows(&["get", "--raw", "/api/v1"], &["\"kind\":\"APIResourceList\"", "\"groupVersion\":\"v1\"", "\"pods/ephemeralcontainers\""]);
    let groups = read(session, "/apis");
    let groups = groups["groups"].as_array().cloned().unwrap_or_default();
    session.holds(&format!("there are groups: {groups:?}"), groups.len() > 15);
    for group in &groups {
        let name = text(&group["name"]);
        let own = read(session, &format!("/apis/{name}"));
        session.holds(&format!("/apis/{name} is what /apis says of it: {own}"), own["versions"] == group["versions"]);
        for version in group["versions"].as_array().into_iter().flatten() {
            let version = text(&version["groupVersion"]);
            let list = read(session, &format!("/apis/{version}"));
            let whole = list["resources"].as_array().is_some_and(|resources| {
                !resources.is_empty() && resources.iter().all(|resource| resource["verbs"].is_array() && resource["kind"].is_string())
            });
            session.holds(&format!("/apis/{version} lists its resources: {list}"), whole && list["groupVersion"] == version);
        }
    }
    let paths = read(session, "/openapi/v3");
    let paths = paths["paths"].as_object().cloned().unwrap_or_default();
    session.holds("each group's version has a schema", paths.len() > groups.len());
    for path in ["/version", "/openapi/v2", paths["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap_or("/nowhere")] {
        let document = read(session, path);
        session.holds(&format!("{path} is an object"), document.as_object().is_some_and(|fields| fields.len() > 3));
    }
}

fn read(session: &mut Session<'_>, path: &str) -> serde_json::Value {
    let said = session.value(&["get", "--raw", path]);
    let read = serde_json::from_str(&said);
    session.holds(&format!("{path} is JSON"), read.is_ok());
    read.unwrap_or_default()
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
