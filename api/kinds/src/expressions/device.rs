//! The names of device selectors: `device`, with its driver, and its attributes and capacities by domain and name.

use std::sync::{Arc, LazyLock};

use expressions::env::Sizes;
use expressions::{Environment, Type};

/// What a selector may be estimated to cost.
pub(crate) const COST_MAX: u64 = 1_000_000;

const DOMAIN_BYTES_MAX: u64 = 63;
const NAME_BYTES_MAX: u64 = 32;
const VALUE_BYTES_MAX: u64 = 64;
/// Attributes and capacities of one device.
const COUNT_MAX: u64 = 32;

pub(super) fn environment() -> &'static Environment {
    static DEVICE: LazyLock<Environment> = LazyLock::new(|| {
        let by_name = |value| Type::map(Type::String, Type::map(Type::String, value));
        let fields = [
            ("driver", Type::String),
            ("attributes", by_name(Type::Dyn)),
            ("capacity", by_name(Type::object("kubernetes.Quantity"))),
            ("allowMultipleAllocations", Type::Bool),
        ];
        let mut environment = Environment::kubernetes();
        environment.object_type("kubernetes.DRADevice", fields).variable("device", Type::object("kubernetes.DRADevice"));
        environment.with_bind().sizes(Arc::new(Device));
        environment
    });
    &DEVICE
}

/// How large the parts of a device are.
struct Device;

impl Sizes for Device {
    fn max_size(&self, path: &[String]) -> Option<u64> {
        let path: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
        match path.as_slice() {
            ["driver"] => Some(DOMAIN_BYTES_MAX),
            ["attributes" | "capacity"] | ["attributes" | "capacity", "@values"] => Some(COUNT_MAX),
            ["attributes" | "capacity", "@keys"] => Some(DOMAIN_BYTES_MAX),
            ["attributes" | "capacity", "@values", "@keys"] => Some(NAME_BYTES_MAX),
            ["attributes", "@values", _] => Some(VALUE_BYTES_MAX),
            _ => None,
        }
    }
}
