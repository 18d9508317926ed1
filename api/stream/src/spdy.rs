//! SPDY/3.1, as far as Kubernetes uses it: many byte streams with headers over one connection.
//!
//! Peers built on Go's spdystream know no flow control: they never grant anything. So windows are kept from the start but
//! enforced only against a peer that has shown that it grants (a SETTINGS or WINDOW_UPDATE frame); with the others the
//! connection's own back-pressure and bounded queues hold.

mod connection;
pub mod frame;
pub mod headers;

pub use connection::{Connection, Reader, Stream, Writer, client, server};
pub use headers::Headers;
