//! LocalSubjectAccessReview: may someone do this in this namespace; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta};

/// May someone do this in this namespace; never stored.
pub struct LocalSubjectAccessReview;

impl Kind for LocalSubjectAccessReview {
    const META: Meta = Meta {
        verbs: Verbs::CreateOnly,
        ..Meta::namespaced("authorization.k8s.io", "LocalSubjectAccessReview", "localsubjectaccessreviews")
    };
}
