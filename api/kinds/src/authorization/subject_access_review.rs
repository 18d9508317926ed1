//! SubjectAccessReview: may someone do this; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta, Question};

/// May someone do this; never stored.
pub struct SubjectAccessReview;

impl Kind for SubjectAccessReview {
    const META: Meta =
        Meta { verbs: Verbs::CreateOnly, ..Meta::cluster("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews") };
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
