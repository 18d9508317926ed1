//! SelfSubjectRulesReview: what may I do in this namespace; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta, Question};

/// What may I do in this namespace; never stored.
pub struct SelfSubjectRulesReview;

impl Kind for SelfSubjectRulesReview {
    const META: Meta =
        Meta { verbs: Verbs::CreateOnly, ..Meta::cluster("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews") };
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
