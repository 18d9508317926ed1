//! The kinds of `authorization.k8s.io`.

pub mod local_subject_access_review;
pub mod self_subject_access_review;
pub mod self_subject_rules_review;
pub mod subject_access_review;

pub use self::local_subject_access_review::LocalSubjectAccessReview;
pub use self::self_subject_access_review::SelfSubjectAccessReview;
pub use self::self_subject_rules_review::SelfSubjectRulesReview;
pub use self::subject_access_review::SubjectAccessReview;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![
        Descriptor::of::<LocalSubjectAccessReview>(),
        Descriptor::of::<SelfSubjectAccessReview>(),
        Descriptor::of::<SelfSubjectRulesReview>(),
        Descriptor::of::<SubjectAccessReview>(),
    ]
}
