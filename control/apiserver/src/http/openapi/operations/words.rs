//! What operations are called: tags, ids and sentences, made of group, version, kind and action as upstream makes them.
//! Generated clients name their methods by the ids.

/// Where an operation is found.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    /// `""`: the kind itself.
    pub sub: &'a str,
    pub namespaced: bool,
    /// Of a namespaced kind, in all namespaces.
    pub everywhere: bool,
    pub custom: bool,
}

impl Place<'_> {
    /// `core_v1`, `rbacAuthorization_v1`, `goldenExampleCom_v1`
    pub(super) fn tag(&self) -> String {
        format!("{}_{}", self.group_name(), self.version)
    }

    /// `readCoreV1NamespacedPodStatus`
    pub(super) fn operation_id(&self, action: &str) -> String {
        let (verb, collection) = match action {
            "get" => ("read", ""),
            "post" => ("create", ""),
            "put" => ("replace", ""),
            "deletecollection" => ("delete", "Collection"),
            other => (other, ""),
        };
        let (before, after) = match (self.namespaced, self.everywhere) {
            (true, _) => ("Namespaced", ""),
            (_, true) => ("", "ForAllNamespaces"),
            _ => ("", ""),
        };
        let (group, version, sub) = (capitalized(&self.group_name()), capitalized(self.version), capitalized(self.sub));
        format!("{verb}{group}{version}{collection}{before}{}{sub}{after}", self.kind)
    }

    pub(super) fn description(&self, action: &str) -> String {
        let (kind, of) = (self.kind, if self.sub.is_empty() { String::new() } else { format!("{} of ", self.sub) });
        match action {
            "get" => format!("read {of}the specified {kind}"),
            "put" => format!("replace {of}the specified {kind}"),
            "patch" => format!("partially update {of}the specified {kind}"),
            "post" => format!("create {of}{} {kind}", article(kind)),
            "delete" => format!("delete {of}{} {kind}", article(kind)),
            "deletecollection" => format!("delete collection of {kind}"),
            _ if self.custom => format!("list objects of kind {kind}"),
            _ => format!("list or watch objects of kind {kind}"),
        }
    }

    fn group_name(&self) -> String {
        if self.group.is_empty() {
            return "core".to_owned();
        }
        let mut words = self.group.strip_suffix(".k8s.io").unwrap_or(self.group).split(['.', '-']);
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |name, word| name + &capitalized(word))
    }
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_uppercase().collect::<String>() + characters.as_str()).unwrap_or_default()
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        let pod = Place { group: "", version: "v1", kind: "Pod", sub: "", namespaced: true, everywhere: false, custom: false };
        let role = Place { group: "rbac.authorization.k8s.io", kind: "ClusterRole", namespaced: false, ..pod };
        let widget = Place { group: "golden.example.com", kind: "Widget", sub: "status", custom: true, ..pod };
        assert_eq!([pod.tag(), role.tag(), widget.tag()], ["core_v1", "rbacAuthorization_v1", "goldenExampleCom_v1"]);
        let everywhere = Place { namespaced: false, everywhere: true, ..pod };
        assert_eq!(everywhere.operation_id("list"), "listCoreV1PodForAllNamespaces");
        assert_eq!(role.operation_id("deletecollection"), "deleteRbacAuthorizationV1CollectionClusterRole");
        assert_eq!(widget.operation_id("get"), "readGoldenExampleComV1NamespacedWidgetStatus");
        assert_eq!(widget.description("patch"), "partially update status of the specified Widget");
        assert_eq!(Place { kind: "Endpoints", ..pod }.description("post"), "create an Endpoints");
    }
}
