//! A cluster in one process: real API server, store, controllers and scheduler on fakes.
