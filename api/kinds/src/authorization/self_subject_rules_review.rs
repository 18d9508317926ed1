//! SelfSubjectRulesReview: what may I do in this namespace; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta};

/// What may I do in this namespace; never stored.
pub struct SelfSubjectRulesReview;

impl Kind for SelfSubjectRulesReview {
    const META: Meta =
        Meta { verbs: Verbs::CreateOnly, ..Meta::cluster("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews") };
}
