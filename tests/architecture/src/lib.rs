//! Rules of the house, read from cargo metadata and the sources.
