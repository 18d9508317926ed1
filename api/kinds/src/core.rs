//! The kinds of the core group.

pub mod config_map;
pub mod endpoints;
pub mod event;
pub mod namespace;
pub mod node;
pub mod object_reference;
pub mod pod;
pub mod secret;
pub mod service;
pub mod service_account;

pub use self::config_map::ConfigMap;
pub use self::endpoints::*;
pub use self::event::*;
pub use self::namespace::*;
pub use self::node::*;
pub use self::object_reference::ObjectReference;
pub use self::pod::Pod;
pub use self::pod::affinity::*;
pub use self::pod::container::*;
pub use self::pod::spec::*;
pub use self::pod::status::*;
pub use self::pod::volume::*;
pub use self::secret::Secret;
pub use self::service::*;
pub use self::service_account::ServiceAccount;
