//! Protobuf messages that no facts table knows, put together by field number out of JSON values.

use schema::{Map, Value};

/// A message under construction.
#[derive(Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn message(&mut self, field: u64, message: Self) -> &mut Self {
        self.bytes(field, &message.0)
    }

    /// A varint field.
    pub(super) fn number(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    pub(super) fn double(&mut self, field: u64, value: f64) -> &mut Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Nothing for a value that is absent or empty, as proto3 has it.
    pub(super) fn text(&mut self, field: u64, value: Option<&Value>) -> &mut Self {
        match value.and_then(Value::as_str).filter(|text| !text.is_empty()) {
            Some(text) => self.bytes(field, text.as_bytes()),
            None => self,
        }
    }

    pub(super) fn flag(&mut self, field: u64, value: Option<&Value>) -> &mut Self {
        if value.and_then(Value::as_bool) == Some(true) {
            self.varint(field << 3);
            self.varint(1);
        }
        self
    }

    pub(super) fn texts(&mut self, field: u64, value: Option<&Value>) -> &mut Self {
        for one in value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(field, one.as_bytes());
        }
        self
    }

    /// `repeated` messages.
    pub(super) fn each(&mut self, field: u64, list: Option<&Value>, make: impl Fn(&Value) -> Self) -> &mut Self {
        for one in list.and_then(Value::as_array).into_iter().flatten() {
            self.message(field, make(one));
        }
        self
    }

    /// `repeated Named… { name = 1; value = 2 }`
    pub(super) fn named(&mut self, field: u64, entries: Option<&Value>, make: impl Fn(&Value) -> Self) -> &mut Self {
        for (name, value) in entries.and_then(Value::as_object).into_iter().flatten() {
            self.message(field, named(name, make(value)));
        }
        self
    }

    pub(super) fn extensions(&mut self, field: u64, object: &Map<String, Value>) -> &mut Self {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.message(field, named(name, any(value)));
        }
        self
    }
}

fn named(name: &str, value: Message) -> Message {
    let mut message = Message::default();
    message.bytes(1, name.as_bytes()).message(2, value);
    message
}

/// A value as YAML text; JSON is that, too.
pub(super) fn any(value: &Value) -> Message {
    let mut message = Message::default();
    message.bytes(2, value.to_string().as_bytes());
    message
}

/// `one` as the only field of its message.
pub(super) fn only(field: u64, one: Message) -> Message {
    let mut message = Message::default();
    message.message(field, one);
    message
}
