//! SelfSubjectReview: who am I; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta, Question};

/// Who am I; never stored.
pub struct SelfSubjectReview;

impl Kind for SelfSubjectReview {
    const META: Meta =
        Meta { verbs: Verbs::CreateOnly, ..Meta::cluster("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews") };
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
