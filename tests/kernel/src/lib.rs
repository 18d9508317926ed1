//! The real-kernel world: drivers, runtime and whole machines in namespaces of their own.
