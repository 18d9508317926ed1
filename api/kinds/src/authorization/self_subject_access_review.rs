//! SelfSubjectAccessReview: may I do this; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta, Question};

/// May I do this; never stored.
pub struct SelfSubjectAccessReview;

impl Kind for SelfSubjectAccessReview {
    const META: Meta =
        Meta { verbs: Verbs::CreateOnly, ..Meta::cluster("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews") };
    const NOTHING: &[Question] = &[
        Question::Columns,
        Question::Fields,
        Question::Defaults,
        Question::Rules,
        Question::Updates,
        Question::Subresources,
        Question::Warnings,
    ];
}
