//! The kinds of `resource.k8s.io`.

mod device;
pub mod device_class;
pub mod device_taint_rule;
pub mod resource_claim;
pub mod resource_claim_template;
pub mod resource_slice;

pub use self::device_class::DeviceClass;
pub use self::device_taint_rule::DeviceTaintRule;
pub use self::resource_claim::ResourceClaim;
pub use self::resource_claim_template::ResourceClaimTemplate;
pub use self::resource_slice::ResourceSlice;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![
        Descriptor::of::<DeviceClass>(),
        Descriptor::of::<DeviceTaintRule>(),
        Descriptor::of::<ResourceClaim>(),
        Descriptor::of::<ResourceClaimTemplate>(),
        Descriptor::of::<ResourceSlice>(),
    ]
}
