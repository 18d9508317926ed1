//! ComponentStatus: health of the control plane's parts, computed on each read.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta};

/// Health of the control plane's parts, computed on each read.
pub struct ComponentStatus;

impl Kind for ComponentStatus {
    const META: Meta =
        Meta { short: &["cs"], verbs: Verbs::These(&["get", "list"]), ..Meta::cluster("", "ComponentStatus", "componentstatuses") };
}
