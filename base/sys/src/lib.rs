//! Safe wrappers over Linux: the one home of unsafe code.
