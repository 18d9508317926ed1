//! A pure schedule(snapshot, pod) and the loop that feeds it.
