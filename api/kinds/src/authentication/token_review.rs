//! TokenReview: whose token is this; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta, Question};

/// Whose token is this; never stored.
pub struct TokenReview;

impl Kind for TokenReview {
    const META: Meta = Meta { verbs: Verbs::CreateOnly, ..Meta::cluster("authentication.k8s.io", "TokenReview", "tokenreviews") };
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
