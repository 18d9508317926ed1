//! Small extensions of the standard library that know nothing of Kubernetes.

pub mod instance;

pub use instance::Instance;
