//! The protobuf wire format, as far as etcd's messages need it: numbers, bytes and messages within messages.
//!
//! Fields that a message does not know are passed over, so a newer etcd may say more than we ask.

use bytes::{Buf, Bytes};

/// Bytes that are no protobuf message, or not the one expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub(crate) struct Malformed(&'static str);

/// Something that comes from etcd.
pub(crate) trait Decode: Default {
    /// Takes one field; those it does not know it leaves.
    fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed>;
}

/// Something that goes to etcd.
pub(crate) trait Encode {
    fn encode(&self, out: &mut Out);
}

/// The value of one field.
pub(crate) enum Field {
    Number(u64),
    /// A part of the message's own memory.
    Bytes(Bytes),
    /// Of a wire type that none of our messages has.
    Other,
}

impl Field {
    pub(crate) fn int(self) -> Result<i64, Malformed> {
        self.number().map(u64::cast_signed)
    }

    pub(crate) fn number(self) -> Result<u64, Malformed> {
        if let Self::Number(number) = self { Ok(number) } else { Err(Malformed("a number was expected")) }
    }

    pub(crate) fn flag(self) -> Result<bool, Malformed> {
        Ok(self.number()? != 0)
    }

    pub(crate) fn bytes(self) -> Result<Bytes, Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed("bytes were expected")) }
    }

    pub(crate) fn text(self) -> Result<String, Malformed> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(crate) fn message<M: Decode>(self) -> Result<M, Malformed> {
        decode(self.bytes()?)
    }
}

/// A whole message.
pub(crate) fn decode<M: Decode>(mut bytes: Bytes) -> Result<M, Malformed> {
    let mut message = M::default();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => take(&mut bytes, 8).map(|_| Field::Other)?,
            2 => {
                let length = varint(&mut bytes)?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            5 => take(&mut bytes, 4).map(|_| Field::Other)?,
            _ => return Err(Malformed("unknown wire type")),
        };
        message.set(tag >> 3, field)?;
    }
    Ok(message)
}

fn varint(bytes: &mut Bytes) -> Result<u64, Malformed> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        if bytes.is_empty() {
            return Err(Malformed("it ends within a number"));
        }
        let byte = bytes.get_u8();
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Malformed("a number has more than ten bytes"))
}

fn take(bytes: &mut Bytes, length: u64) -> Result<Bytes, Malformed> {
    let length = usize::try_from(length).ok().filter(|&length| length <= bytes.len());
    length.map(|length| bytes.split_to(length)).ok_or(Malformed("it ends within a field"))
}

/// A message in the making. Zeros and empty bytes say nothing and are left out, as the format's third edition has it.
#[derive(Default)]
pub(crate) struct Out(pub(crate) Vec<u8>);

impl Out {
    pub(crate) fn int(&mut self, number: u64, value: i64) {
        if value != 0 {
            self.chosen_int(number, value);
        }
    }

    /// Also when it is zero: where a field is one of several alternatives.
    pub(crate) fn chosen_int(&mut self, number: u64, value: i64) {
        self.varint(number << 3);
        self.varint(value.cast_unsigned());
    }

    pub(crate) fn flag(&mut self, number: u64, value: bool) {
        self.int(number, i64::from(value));
    }

    pub(crate) fn bytes(&mut self, number: u64, value: &[u8]) {
        if !value.is_empty() {
            self.chosen_bytes(number, value);
        }
    }

    pub(crate) fn message(&mut self, number: u64, value: &impl Encode) {
        let mut inner = Self::default();
        value.encode(&mut inner);
        self.chosen_bytes(number, &inner.0);
    }

    fn chosen_bytes(&mut self, number: u64, value: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Sample {
        number: i64,
        bytes: Bytes,
        inner: Option<Box<Sample>>,
    }

    impl Decode for Sample {
        fn set(&mut self, number: u64, field: Field) -> Result<(), Malformed> {
            match number {
                1 => self.number = field.int()?,
                2 => self.bytes = field.bytes()?,
                3 => self.inner = Some(Box::new(field.message()?)),
                _ => {}
            }
            Ok(())
        }
    }

    impl Encode for Sample {
        fn encode(&self, out: &mut Out) {
            out.int(1, self.number);
            out.bytes(2, &self.bytes);
            if let Some(inner) = &self.inner {
                out.message(3, &**inner);
            }
        }
    }

    fn encoded(message: &impl Encode) -> Bytes {
        let mut out = Out::default();
        message.encode(&mut out);
        out.0.into()
    }

    #[test]
    fn bytes_are_as_the_format_has_them() {
        let inner = Sample { number: -1, ..Sample::default() };
        let sample = Sample { number: 300, bytes: Bytes::from_static(b"ab"), inner: Some(Box::new(inner)) };
        let minus_one = [8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        let want = [&[8, 0xac, 2, 18, 2, b'a', b'b', 26, 11][..], &minus_one].concat();
        assert_eq!(encoded(&sample), want);
        assert_eq!(encoded(&Sample::default()), Bytes::new());
    }

    #[test]
    fn unknown_fields_are_passed_over_and_broken_messages_refused() {
        let known = [8, 5];
        let unknown = [&[0x79, 1, 2, 3, 4, 5, 6, 7, 8][..], &[0x7d, 1, 2, 3, 4], &[0x78, 1], &[0x7a, 1, 0]].concat();
        let both = Bytes::from([&unknown[..], &known].concat());
        assert_eq!(decode::<Sample>(both).unwrap().number, 5);
        for broken in [&[8][..], &[8, 0x80], &[18, 5, 1], &[0x0b], &[10, 1, 1], &[8; 1], &[0xff; 12]] {
            assert!(decode::<Sample>(Bytes::copy_from_slice(broken)).is_err(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(number: i64, bytes: Vec<u8>, inner in prop::option::of(any::<i64>())) {
            let inner = inner.map(|number| Box::new(Sample { number, ..Sample::default() }));
            let sample = Sample { number, bytes: bytes.into(), inner };
            prop_assert_eq!(decode::<Sample>(encoded(&sample)).unwrap(), sample);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = decode::<Sample>(bytes.into());
        }
    }
}
