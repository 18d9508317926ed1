//! Name formats (`apimachinery/pkg/util/validation`): each check returns the texts of what is wrong, empty when right
//! (golden/names.jsonl).

/// RFC 1123 label: 63 characters.
pub fn is_dns1123_label(_name: &str) -> Vec<String> {
    unimplemented!()
}

/// RFC 1123 subdomain: 253 characters.
pub fn is_dns1123_subdomain(_name: &str) -> Vec<String> {
    unimplemented!()
}

/// RFC 1035 label.
pub fn is_dns1035_label(_name: &str) -> Vec<String> {
    unimplemented!()
}

/// Label and annotation keys: `[prefix/]name`.
pub fn is_qualified_name(_name: &str) -> Vec<String> {
    unimplemented!()
}

pub fn is_label_value(_value: &str) -> Vec<String> {
    unimplemented!()
}

/// Environment variable names (relaxed: printable ASCII without `=`).
pub fn is_env_var_name(_name: &str) -> Vec<String> {
    unimplemented!()
}

/// ConfigMap and Secret keys.
pub fn is_config_map_key(_key: &str) -> Vec<String> {
    unimplemented!()
}

/// IANA service name, as port names.
pub fn is_port_name(_name: &str) -> Vec<String> {
    unimplemented!()
}

pub fn is_c_identifier(_name: &str) -> Vec<String> {
    unimplemented!()
}

/// Path segments: no `/`, `%`, not `.` or `..` (RBAC names).
pub fn is_path_segment_name(_name: &str) -> Vec<String> {
    unimplemented!()
}
