//! Drivers that keep everything in memory and pass the suites: the nodes of the in-process cluster.
