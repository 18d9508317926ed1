//! The names of device selectors: `device`, with its driver, and its attributes and capacities by domain and name.

use std::sync::LazyLock;

use expressions::{Environment, Type};

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
        environment
    });
    &DEVICE
}
