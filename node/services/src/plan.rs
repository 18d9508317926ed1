//! From API objects to what the data plane needs: pure.
