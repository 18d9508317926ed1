//! The kinds of `rbac.authorization.k8s.io`.

pub mod cluster_role;
pub mod cluster_role_binding;
pub mod role;
pub mod role_binding;
pub mod rule;

pub use self::cluster_role::{AggregationRule, ClusterRole};
pub use self::cluster_role_binding::ClusterRoleBinding;
pub use self::role::Role;
pub use self::role_binding::RoleBinding;
pub use self::rule::{PolicyRule, RoleRef, Subject};

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<ClusterRole>(), Descriptor::of::<ClusterRoleBinding>(), Descriptor::of::<Role>(), Descriptor::of::<RoleBinding>()]
}
