//! DefaultClass: a claim or an ingress that names no class gets the one that is marked as default, where there is one.

use async_trait::async_trait;
use schema::{DocExt, Status, Value};

use super::{Admission, Operation, Plugin};

/// Where the default class of a kind comes from.
pub struct DefaultClass {
    group: &'static str,
    resource: &'static str,
    /// The member that names the class.
    member: &'static str,
    /// The annotation that named it before the member was there.
    older: &'static str,
    /// Key prefix of the classes.
    classes: &'static str,
    /// The annotation that marks the default, with all its names.
    marks: &'static [&'static str],
}

impl DefaultClass {
    pub const STORAGE: Self = Self {
        group: "",
        resource: "persistentvolumeclaims",
        member: "spec.storageClassName",
        older: "volume.beta.kubernetes.io/storage-class",
        classes: "/storage.k8s.io/storageclasses/",
        marks: &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
    };
    pub const INGRESS: Self = Self {
        group: "networking.k8s.io",
        resource: "ingresses",
        member: "spec.ingressClassName",
        older: "kubernetes.io/ingress.class",
        classes: "/networking.k8s.io/ingressclasses/",
        marks: &["ingressclass.kubernetes.io/is-default-class"],
    };

    /// The newest class that is marked; of several made in one second, the first by name.
    fn default(&self, request: &Admission<'_>) -> Option<String> {
        let ring = request.core.cache.kind(self.classes)?.read();
        let (start, end) = crate::list::bounds(self.classes, "");
        let marked = ring.range(&start, &end).map(|(_, item)| &item.object.meta).filter(|meta| self.is_marked(&meta.annotations));
        let newest = marked.min_by_key(|meta| (std::cmp::Reverse(meta.creation_timestamp.clone()), meta.name.clone()));
        newest.map(|meta| meta.name.clone())
    }

    fn is_marked(&self, annotations: &std::collections::BTreeMap<String, String>) -> bool {
        self.marks.iter().any(|mark| annotations.get(*mark).is_some_and(|value| value == "true"))
    }

    fn names_one(&self, doc: &Value) -> bool {
        let older = doc.map_at("metadata.annotations").is_some_and(|annotations| annotations.contains_key(self.older));
        older || doc.at(self.member).is_some_and(|name| !name.is_null())
    }
}

#[async_trait]
impl Plugin for DefaultClass {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        let applies = request.operation == Operation::Create && request.is_object(self.group, self.resource);
        if applies
            && !self.names_one(new)
            && let Some(name) = self.default(request)
        {
            new.set_at(self.member, name);
        }
        Ok(())
    }
}
