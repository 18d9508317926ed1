//! The root of a node's process tree: supervisor, parent of containers, holder of descriptors.
