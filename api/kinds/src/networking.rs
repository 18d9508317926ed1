//! The kinds of `networking.k8s.io`.

pub mod ingress;
pub mod ingress_class;
pub mod ip_address;
pub mod network_policy;
pub mod service_cidr;

pub use self::ingress::Ingress;
pub use self::ingress_class::IngressClass;
pub use self::ip_address::IpAddress;
pub use self::network_policy::NetworkPolicy;
pub use self::service_cidr::ServiceCidr;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![
        Descriptor::of::<Ingress>(),
        Descriptor::of::<IngressClass>(),
        Descriptor::of::<IpAddress>(),
        Descriptor::of::<NetworkPolicy>(),
        Descriptor::of::<ServiceCidr>(),
    ]
}
