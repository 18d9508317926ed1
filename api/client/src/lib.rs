//! The API as its callers see it, whether the server is in this process or behind TLS.
//!
//! A [`Request`] says what is wanted without any HTTP; a [`Transport`] answers it. The API server's core is one
//! transport (with the caller's identity bound to it), HTTPS is another, so controllers, the scheduler and the node agent are the
//! same code wherever they run. [`informer`]s share the `Arc`ed [`Object`]s of whatever they read from.
//!
//! ```text
//! Client (typed calls) ──► Transport ──► apiserver core (in process)
//! Informer (list+watch)        └───────► https (keep-alive, h2, client certificate)
//! ```

pub mod api;
pub mod events;
pub mod https;
pub mod informer;
pub mod kubeconfig;
pub mod object;
pub mod request;
pub mod transport;
mod wire;

pub use api::Client;
pub use https::Https;
pub use informer::{Change, Informer, Store as Lister};
pub use object::{Lens, Object};
pub use request::{Answer, Body, Bytes, Delete, List, Options, Patch, Request, Response, Target, Verb, Watch, WatchEvent, WatchKind};
pub use transport::Transport;
