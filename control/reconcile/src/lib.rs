//! The runtime that every controller shares: queue, back-off, expectations, events.
