//! Services in one nftables table: flat maps, atomic changes.
