//! LocalSubjectAccessReview: may someone do this in this namespace; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta, Question};

/// May someone do this in this namespace; never stored.
pub struct LocalSubjectAccessReview;

impl Kind for LocalSubjectAccessReview {
    const META: Meta = Meta {
        verbs: Verbs::CreateOnly,
        ..Meta::namespaced("authorization.k8s.io", "LocalSubjectAccessReview", "localsubjectaccessreviews")
    };
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
