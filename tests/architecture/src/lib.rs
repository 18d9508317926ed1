//! Rules of the house, read from cargo metadata and the sources. The rules are the tests of this crate.
