//! Who asks, and may they: certificates, tokens, RBAC and the bootstrap policy.
