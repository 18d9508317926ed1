//! The generic API core and its HTTP face.
