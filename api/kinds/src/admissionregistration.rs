//! The kinds of `admissionregistration.k8s.io`.

mod matching;
pub mod mutating_admission_policy;
pub mod mutating_admission_policy_binding;
pub mod mutating_webhook_configuration;
pub mod validating_admission_policy;
pub mod validating_admission_policy_binding;
pub mod validating_webhook_configuration;
mod webhook;

pub use self::mutating_admission_policy::MutatingAdmissionPolicy;
pub use self::mutating_admission_policy_binding::MutatingAdmissionPolicyBinding;
pub use self::mutating_webhook_configuration::MutatingWebhookConfiguration;
pub use self::validating_admission_policy::ValidatingAdmissionPolicy;
pub use self::validating_admission_policy_binding::ValidatingAdmissionPolicyBinding;
pub use self::validating_webhook_configuration::ValidatingWebhookConfiguration;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![
        Descriptor::of::<MutatingAdmissionPolicy>(),
        Descriptor::of::<MutatingAdmissionPolicyBinding>(),
        Descriptor::of::<MutatingWebhookConfiguration>(),
        Descriptor::of::<ValidatingAdmissionPolicy>(),
        Descriptor::of::<ValidatingAdmissionPolicyBinding>(),
        Descriptor::of::<ValidatingWebhookConfiguration>(),
    ]
}
