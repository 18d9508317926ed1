//! The node agent: one task per pod, probes, status, and its API on 10250.
