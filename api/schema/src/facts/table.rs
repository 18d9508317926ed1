//! The file form of the facts table: a magic, a version, and a deflated body of varints over one string table.
//!
//! Both sides live here, so that what `cargo xtask schema` writes is what [`read`] reads. A file of another version is
//! refused: the table is regenerated, never migrated.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::{Arity, Facts, Field, KindEntry, ListType, Presence, Rare, Shape, Slot, SlotTo, Type, TypeId};

const MAGIC: &[u8; 6] = b"CTFACT";
const VERSION: u8 = 3;
/// An inflated table is far below this; a damaged file must not fill the memory.
const INFLATED_MAX: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("the facts table is no facts table (wrong first bytes)")]
    Magic,
    #[error("the facts table has version {0}, this build reads {VERSION}: run `cargo xtask schema`")]
    Version(u8),
    #[error("the facts table is damaged at byte {0} of its inflated body")]
    Damaged(usize),
    #[error("the facts table cannot be inflated")]
    Inflate(#[source] std::io::Error),
}

/// Reads a table. Its text stays in memory for the life of the process.
pub fn read(file: &[u8]) -> Result<Facts, TableError> {
    let rest = file.strip_prefix(MAGIC).ok_or(TableError::Magic)?;
    let (&version, body) = rest.split_first().ok_or(TableError::Magic)?;
    if version != VERSION {
        return Err(TableError::Version(version));
    }
    let mut inflated = Vec::new();
    DeflateDecoder::new(body).take(INFLATED_MAX).read_to_end(&mut inflated).map_err(TableError::Inflate)?;
    let mut reader = Reader { bytes: &inflated, at: 0, texts: Vec::new(), lists: Vec::new(), rare: Vec::new() };
    reader.facts().ok_or(TableError::Damaged(reader.at))
}

/// The file of a table; equal tables give equal bytes.
pub fn write(facts: &Facts) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.facts(facts);
    // The tables come first in the file, and are complete only when everything else is written.
    let types = std::mem::take(&mut writer.out);
    writer.rare_facts();
    let rare = std::mem::take(&mut writer.out);
    let mut body = Vec::new();
    writer.tables(&mut body);
    body.extend_from_slice(&rare);
    body.extend_from_slice(&types);
    let mut file = [MAGIC.as_slice(), &[VERSION]].concat();
    let mut deflate = DeflateEncoder::new(&mut file, Compression::best());
    deflate.write_all(&body).and_then(|()| deflate.try_finish()).expect("writing to memory cannot fail");
    drop(deflate);
    file
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    texts: Vec<&'static str>,
    lists: Vec<&'static [&'static str]>,
    rare: Vec<&'static Rare>,
}

impl Reader<'_> {
    fn facts(&mut self) -> Option<Facts> {
        self.read_texts()?;
        self.read_lists()?;
        let rare = self.many(Self::rare)?;
        self.rare = Vec::leak(rare).iter().collect();
        let types = self.many(Self::read_type)?;
        let kinds = self.many(|reader| Some(KindEntry { api_version: reader.text()?, kind: reader.text()?, id: TypeId(reader.u32()?) }))?;
        Some(Facts::new(types, kinds))
    }

    /// All texts are slices of one leaked string.
    fn read_texts(&mut self) -> Option<()> {
        let lengths = self.many(Self::usize)?;
        let total = lengths.iter().try_fold(0usize, |sum, one| sum.checked_add(*one))?;
        let end = self.at.checked_add(total)?;
        let blob = std::str::from_utf8(self.bytes.get(self.at..end)?).ok()?;
        let mut rest: &'static str = Box::leak(blob.to_owned().into_boxed_str());
        self.at = end;
        for length in lengths {
            let (text, tail) = rest.split_at_checked(length)?;
            self.texts.push(text);
            rest = tail;
        }
        Some(())
    }

    fn read_lists(&mut self) -> Option<()> {
        let lists = self.many(|reader| reader.many(Self::text))?;
        self.lists = lists.into_iter().map(|list| &*Vec::leak(list)).collect();
        Some(())
    }

    fn read_type(&mut self) -> Option<Type> {
        Some(Type { name: self.text()?, map_atomic: self.usize()? == 1, fields: self.many(Self::field)?, layout: self.many(Self::slot)? })
    }

    fn field(&mut self) -> Option<Field> {
        let name = self.text()?;
        let shape = self.shape()?;
        let flags = self.u32()?;
        let bit = |at: u32| flags >> at & 1 == 1;
        Some(Field {
            name,
            shape,
            arity: [Arity::One, Arity::List, Arity::Map, Arity::MapOfList][(flags & 3) as usize],
            list_type: *[ListType::Atomic, ListType::Set, ListType::Map].get((flags >> 2 & 3) as usize)?,
            presence: *[Presence::Value, Presence::Always, Presence::Pointer].get((flags >> 4 & 3) as usize)?,
            required: bit(6),
            patch_merge: bit(7),
            retain_keys: bit(8),
            patch_replace: bit(9),
            map_atomic: bit(10),
            wrapped: bit(11),
            proto: self.u32()?,
            rare: {
                let at = self.usize()?;
                self.rare.get(at).copied()?
            },
        })
    }

    fn rare(&mut self) -> Option<Rare> {
        Some(Rare {
            list_map_keys: self.list()?,
            enumeration: self.list()?,
            merge_key: self.optional_text()?,
            default: self.optional_text()?,
        })
    }

    fn shape(&mut self) -> Option<Shape> {
        let code = self.usize()?;
        if let Some(shape) = PLAIN_SHAPES.get(code) {
            return Some(*shape);
        }
        let id = TypeId(self.u32()?);
        Some(match code - PLAIN_SHAPES.len() {
            0 => Shape::Object(id),
            1 => Shape::SchemaOrArray(id),
            2 => Shape::SchemaOrBool(id),
            3 => Shape::SchemaOrStrings(id),
            _ => return None,
        })
    }

    fn slot(&mut self) -> Option<Slot> {
        let number = self.u32()?;
        let to = match self.usize()? {
            0 => SlotTo::Inline(self.text()?, self.many(Self::slot)?.into()),
            index => SlotTo::Field((index - 1) as u16),
        };
        Some(Slot { number, to })
    }

    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.usize()?;
        // Every element takes at least a byte, so a damaged count cannot reserve more than the file is long.
        let mut all = Vec::with_capacity(count.min(self.bytes.len()));
        for _ in 0..count {
            all.push(one(self)?);
        }
        all.shrink_to_fit();
        Some(all)
    }

    fn text(&mut self) -> Option<&'static str> {
        let at = self.usize()?;
        self.texts.get(at).copied()
    }

    fn optional_text(&mut self) -> Option<Option<&'static str>> {
        match self.usize()? {
            0 => Some(None),
            at => self.texts.get(at - 1).map(|text| Some(*text)),
        }
    }

    fn list(&mut self) -> Option<&'static [&'static str]> {
        let at = self.usize()?;
        self.lists.get(at).copied()
    }

    fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.usize()?).ok()
    }

    fn usize(&mut self) -> Option<usize> {
        let mut value = 0usize;
        for shift in (0..35).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// The shapes without a type, by their code in the file.
const PLAIN_SHAPES: [Shape; 13] = [
    Shape::String,
    Shape::Int32,
    Shape::Int64,
    Shape::Number,
    Shape::Bool,
    Shape::Bytes,
    Shape::Time,
    Shape::MicroTime,
    Shape::Quantity,
    Shape::IntOrString,
    Shape::Duration,
    Shape::Any,
    Shape::FieldsV1,
];

#[derive(Default)]
struct Writer {
    out: Vec<u8>,
    texts: Interner<&'static str>,
    lists: Interner<Vec<usize>>,
    rare: Interner<Rare>,
}

/// Values by the order in which they were first seen.
struct Interner<T> {
    index: BTreeMap<T, usize>,
    order: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { index: BTreeMap::new(), order: Vec::new() }
    }
}

impl<T: Ord + Clone> Interner<T> {
    fn id(&mut self, value: T) -> usize {
        if let Some(id) = self.index.get(&value) {
            return *id;
        }
        self.order.push(value.clone());
        self.index.insert(value, self.order.len() - 1);
        self.order.len() - 1
    }
}

impl Writer {
    fn facts(&mut self, facts: &Facts) {
        self.usize(facts.types.len());
        for one in &facts.types {
            self.text(one.name);
            self.usize(usize::from(one.map_atomic));
            self.usize(one.fields.len());
            one.fields.iter().for_each(|field| self.field(field));
            self.slots(&one.layout);
        }
        self.usize(facts.kinds.len());
        for entry in &facts.kinds {
            self.text(entry.api_version);
            self.text(entry.kind);
            self.usize(entry.id.0 as usize);
        }
    }

    fn field(&mut self, field: &Field) {
        self.text(field.name);
        self.shape(field.shape);
        let bits = [field.required, field.patch_merge, field.retain_keys, field.patch_replace, field.map_atomic, field.wrapped];
        let enums = field.arity as usize | (field.list_type as usize) << 2 | (field.presence as usize) << 4;
        let flags = bits.iter().enumerate().fold(enums, |flags, (at, bit)| flags | usize::from(*bit) << (6 + at));
        self.usize(flags);
        self.usize(field.proto as usize);
        let rare = self.rare.id(field.rare.clone());
        self.usize(rare);
    }

    /// The rare facts that the fields refer to.
    fn rare_facts(&mut self) {
        let rare = std::mem::take(&mut self.rare.order);
        self.usize(rare.len());
        for one in &rare {
            self.list(one.list_map_keys);
            self.list(one.enumeration);
            self.optional_text(one.merge_key);
            self.optional_text(one.default);
        }
    }

    fn shape(&mut self, shape: Shape) {
        let (code, id) = match shape {
            Shape::Object(id) => (0, id),
            Shape::SchemaOrArray(id) => (1, id),
            Shape::SchemaOrBool(id) => (2, id),
            Shape::SchemaOrStrings(id) => (3, id),
            plain => {
                let code = PLAIN_SHAPES.iter().position(|one| *one == plain);
                return self.usize(code.expect("every shape without a type has a code"));
            }
        };
        self.usize(PLAIN_SHAPES.len() + code);
        self.usize(id.0 as usize);
    }

    fn slots(&mut self, slots: &[Slot]) {
        self.usize(slots.len());
        for slot in slots {
            self.usize(slot.number as usize);
            match &slot.to {
                SlotTo::Field(index) => self.usize(usize::from(*index) + 1),
                SlotTo::Inline(name, inner) => {
                    self.usize(0);
                    self.text(name);
                    self.slots(inner);
                }
            }
        }
    }

    fn text(&mut self, text: &'static str) {
        let id = self.texts.id(text);
        self.usize(id);
    }

    fn optional_text(&mut self, text: Option<&'static str>) {
        let id = text.map_or(0, |text| self.texts.id(text) + 1);
        self.usize(id);
    }

    fn list(&mut self, list: &[&'static str]) {
        let ids = list.iter().map(|text| self.texts.id(text)).collect();
        let id = self.lists.id(ids);
        self.usize(id);
    }

    /// The string table and the list table, which the body refers to.
    fn tables(&self, out: &mut Vec<u8>) {
        varint(out, self.texts.order.len());
        self.texts.order.iter().for_each(|text| varint(out, text.len()));
        self.texts.order.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
        varint(out, self.lists.order.len());
        for list in &self.lists.order {
            varint(out, list.len());
            list.iter().for_each(|id| varint(out, *id));
        }
    }

    fn usize(&mut self, value: usize) {
        varint(&mut self.out, value);
    }
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_its_file() {
        let facts = Facts::builtin();
        let again = read(&write(facts)).expect("what we write we read");
        assert_eq!(&again, facts);
    }

    #[test]
    fn a_foreign_torn_or_newer_file_is_refused() {
        assert!(matches!(read(b"PK"), Err(TableError::Magic)));
        assert!(matches!(read(b"CTFACT\x09"), Err(TableError::Version(9))));
        let whole = write(Facts::builtin());
        assert!(read(&whole[..whole.len() / 2]).is_err());
    }
}
