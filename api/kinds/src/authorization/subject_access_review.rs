//! SubjectAccessReview: may someone do this; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta};

/// May someone do this; never stored.
pub struct SubjectAccessReview;

impl Kind for SubjectAccessReview {
    const META: Meta =
        Meta { verbs: Verbs::CreateOnly, ..Meta::cluster("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews") };
}
