//! SelfSubjectAccessReview: may I do this; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta};

/// May I do this; never stored.
pub struct SelfSubjectAccessReview;

impl Kind for SelfSubjectAccessReview {
    const META: Meta =
        Meta { verbs: Verbs::CreateOnly, ..Meta::cluster("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews") };
}
