//! Cluster DNS: prebuilt answers, forwarding upstream.
