//! Pod links over raw netlink, and their addresses.
