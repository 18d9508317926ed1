//! A reader of protobuf messages for tests: fields by number, without knowing what they mean.

/// Field numbers and payloads of a message; varints as their digits.
pub(super) fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                let value = varint(&mut bytes);
                found.push((key >> 3, value.to_string().into_bytes()));
                continue;
            }
            1 => 8,
            _ => varint(&mut bytes) as usize,
        };
        found.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The first field of that number.
pub(super) fn at_field(fields: &[(u64, Vec<u8>)], number: u64) -> &[u8] {
    &fields.iter().find(|(field, _)| *field == number).unwrap_or_else(|| panic!("no field {number}")).1
}

/// The first field on a path of numbers.
pub(super) fn at(bytes: &[u8], path: &[u64]) -> Vec<u8> {
    path.iter().fold(bytes.to_vec(), |bytes, number| at_field(&fields(&bytes), *number).to_vec())
}
