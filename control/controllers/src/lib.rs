//! The controllers: pure plans over shared informers.
