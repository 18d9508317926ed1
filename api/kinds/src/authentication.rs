//! The kinds of `authentication.k8s.io`.

pub mod self_subject_review;
pub mod token_review;

pub use self::self_subject_review::SelfSubjectReview;
pub use self::token_review::TokenReview;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<SelfSubjectReview>(), Descriptor::of::<TokenReview>()]
}
