//! Documents as people read them: every form that `kubectl get -o` has.
//!
//! | form | module |
//! |---|---|
//! | `json`, `yaml`, `kyaml` | [`whole`], [`kyaml`] |
//! | `name` | [`name`] |
//! | `jsonpath=…`, `go-template=…` | [`template`] |
//! | `custom-columns=…` | [`columns`] |
//! | a table of the server, `wide`, with labels, kinds, namespaces | [`table`] |
//!
//! [`sort`] puts a list in order first (`--sort-by`). Text goes into a `String`: where it is shown is the caller's.

pub mod columns;
pub mod form;
pub mod kyaml;
pub mod name;
pub mod sort;
pub mod table;
pub mod template;
pub mod whole;

mod tabs;

pub use form::{Form, FormError};
pub use table::Table;

/// A text that leads no terminal astray: escape sequences and carriage returns are shown instead of sent.
pub fn escaped(text: &str) -> String {
    text.replace('\u{1b}', "^[").replace('\r', "\\r")
}
