//! The OCI runtime: a plan made by the daemon, a child that allocates nothing.
