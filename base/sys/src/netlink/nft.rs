//! nftables: tables, chains, rules, sets and maps of family `ip`, changed in transactions.
//!
//! A [`Transaction`] is all or nothing, and packets see either the state before it or the state after it. Rules are
//! written as the kernel evaluates them: expressions over sixteen 4-byte registers. That is more than the `nft`
//! language can say: one rule may chain several look-ups and record what it chose.
//!
//! ```text
//! load key into registers ──► look-up in a map (key registers -> data registers) ──► nat / verdict
//! ```
//!
//! Each rule carries a hash of its own expressions as its comment, so that a later run can tell by a dump whether a
//! chain is what it wants ([`Rule::digest`]).

mod monitor;
mod rule;

pub use self::monitor::{Event, Monitor};
pub use self::rule::{Is, Rule};
use super::{APPEND, Attributes, Batch, CREATE, Message, Result, Socket, Writer, attributes, number, string};

const SUBSYSTEM: u16 = 10;
const NFGENMSG: usize = 4;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const DELETE_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const GET_SET: u16 = 10;
const DELETE_SET: u16 = 11;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;
const GET_GENERATION: u16 = 16;
/// Elements of one message: its list is an attribute, and an attribute ends at 64 KiB.
const ELEMENTS_MAX: usize = 800;
const SET_MAP: u32 = 0x8;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVAL: u32 = 0x20;

/// Address families as nftables counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFamily {
    Inet,
    Ip,
    Other(u8),
}

impl TableFamily {
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Other(number) => number,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            1 => Self::Inet,
            2 => Self::Ip,
            other => Self::Other(other),
        }
    }
}

/// Where in a packet's way a base chain hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl HookPoint {
    fn of(number: u32) -> Option<Self> {
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting].into_iter().find(|point| *point as u32 == number)
    }
}

/// What makes a chain a base chain. The policy is always accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    pub point: HookPoint,
    pub priority: i32,
    /// `nat`, or else `filter`.
    pub nat: bool,
}

/// A chain with all its rules.
#[derive(Clone, Debug)]
pub struct Chain {
    pub name: String,
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// Types of key and data components, in nft's own numbering, so that `nft list` prints them well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ipv4 = 7,
    Protocol = 12,
    Port = 13,
    /// Any 4-byte number in host order.
    Mark = 19,
    LinkIndex = 20,
}

/// A set, or a map where `data` is not [`Data::None`].
#[derive(Clone, Debug)]
pub struct Set {
    pub name: &'static str,
    /// One component after the other, each in a register of its own.
    pub key: &'static [Kind],
    pub data: Data,
    /// Filled by rules; the elements expire, and there are at most this many.
    pub dynamic: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    None,
    Values(&'static [Kind]),
    Verdict,
}

/// What an element maps to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    None,
    Bytes(Vec<u8>),
    Drop,
    Goto(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Element {
    pub key: Vec<u8>,
    pub value: Value,
}

/// A base chain of anybody, as found in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignChain {
    pub family: TableFamily,
    pub table: String,
    pub name: String,
    pub hook: HookPoint,
    pub drops: bool,
}

/// A rule found in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRule {
    pub chain: String,
    pub handle: u64,
    pub comment: String,
}

/// Changes that happen together.
#[derive(Debug)]
pub struct Transaction<'a> {
    table: &'a str,
    batch: Batch,
    elements: usize,
}

impl<'a> Transaction<'a> {
    /// On one table of family ip; it is made where it is absent.
    pub fn on(table: &'a str) -> Self {
        let mut this = Self::empty(table);
        this.message("making the table", NEW_TABLE, CREATE, |w| w.str(1, table));
        this
    }

    /// For a table that is known to be there, or that must not be made.
    pub fn empty(table: &'a str) -> Self {
        let mut batch = Batch::new();
        batch.push("beginning a transaction", BATCH_BEGIN, 0, &batch_header(), |_| {});
        Self { table, batch, elements: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.batch.marks.len() == 1
    }

    /// Elements added and removed so far.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Refused (absent) where there is none.
    pub fn delete_table(&mut self) {
        let table = self.table;
        self.message(format!("deleting table {table}"), DELETE_TABLE, 0, |w| w.str(1, table));
    }

    /// Makes the chain, without rules.
    pub fn chain(&mut self, chain: &Chain) {
        let table = self.table;
        self.message(format!("making chain {}", chain.name), NEW_CHAIN, CREATE, |w| {
            w.str(1, table);
            w.str(3, &chain.name);
            let Some(hook) = chain.hook else { return };
            w.nested(4, |w| {
                w.be32(1, hook.point as u32);
                w.be32(2, hook.priority as u32);
            });
            w.str(7, if hook.nat { "nat" } else { "filter" });
        });
    }

    pub fn rules(&mut self, chain: &Chain) {
        for rule in &chain.rules {
            self.rule(&chain.name, rule);
        }
    }

    fn rule(&mut self, chain: &str, rule: &Rule) {
        let table = self.table;
        self.message(format!("adding a rule to chain {chain}"), NEW_RULE, CREATE | APPEND, |w| {
            write_rule(w, table, chain, rule, &rule.digest())
        });
    }

    /// Removes all rules of a chain.
    pub fn clear_chain(&mut self, chain: &str) {
        let table = self.table;
        self.message(format!("clearing chain {chain}"), DELETE_RULE, 0, |w| {
            w.str(1, table);
            w.str(2, chain);
        });
    }

    pub fn delete_chain(&mut self, chain: &str) {
        let table = self.table;
        self.message(format!("deleting chain {chain}"), DELETE_CHAIN, 0, |w| {
            w.str(1, table);
            w.str(3, chain);
        });
    }

    pub fn set(&mut self, set: &Set) {
        let table = self.table;
        self.message(format!("making set {}", set.name), NEW_SET, CREATE, |w| write_set(w, table, set));
    }

    pub fn delete_set(&mut self, set: &str) {
        let table = self.table;
        self.message(format!("deleting set {set}"), DELETE_SET, 0, |w| {
            w.str(1, table);
            w.str(2, set);
        });
    }

    /// Adding one that is there with the same value changes nothing; with another value it is refused.
    pub fn add<'e>(&mut self, set: &str, elements: impl IntoIterator<Item = &'e Element>) {
        self.each_chunk("adding elements to", NEW_ELEMENT, CREATE, set, elements, true);
    }

    /// Removing one that is not there is refused.
    pub fn remove<'e>(&mut self, set: &str, elements: impl IntoIterator<Item = &'e Element>) {
        self.each_chunk("removing elements from", DELETE_ELEMENT, 0, set, elements, false);
    }

    fn each_chunk<'e>(
        &mut self,
        verb: &str,
        kind: u16,
        flags: u16,
        set: &str,
        elements: impl IntoIterator<Item = &'e Element>,
        values: bool,
    ) {
        let table = self.table;
        let mut elements = elements.into_iter().peekable();
        while elements.peek().is_some() {
            let mut count = 0;
            self.message(format!("{verb} {set}"), kind, flags, |w| {
                w.str(1, table);
                w.str(2, set);
                w.nested(3, |w| {
                    for element in elements.by_ref().take(ELEMENTS_MAX) {
                        write_element(w, element, values);
                        count += 1;
                    }
                });
            });
            self.elements += count;
        }
    }

    fn message(&mut self, what: impl Into<std::borrow::Cow<'static, str>>, kind: u16, flags: u16, fill: impl FnOnce(&mut Writer<'_>)) {
        self.batch.push(what, (SUBSYSTEM << 8) | kind, flags, &header(TableFamily::Ip), fill);
    }

    /// Makes it so, or nothing of it.
    pub fn commit(mut self, socket: &mut Socket) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        commit(&mut self.batch, socket)
    }
}

/// Only the last message asks to be acknowledged: refusals come anyway, and 50,000 acknowledgements would overrun the socket.
fn commit(batch: &mut Batch, socket: &mut Socket) -> Result<()> {
    batch.acknowledge_last();
    batch.push("committing", BATCH_END, 0, &batch_header(), |_| {});
    socket.transact(batch)
}

impl Socket {
    /// All elements of a set; a set or table that is absent has none.
    pub fn set_elements(&mut self, table: &str, set: &str) -> Result<Vec<Element>> {
        let mut request = Batch::dump("listing set elements", (SUBSYSTEM << 8) | GET_ELEMENT, &header(TableFamily::Ip), |w| {
            w.str(1, table);
            w.str(2, set);
        });
        match self.dump(&mut request) {
            Ok(messages) => Ok(messages.iter().flat_map(elements).collect()),
            Err(error) if error.is_absent() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Counts the transactions of this network namespace, anybody's.
    pub fn generation(&mut self) -> Result<u32> {
        let mut request =
            Batch::get("asking for the generation", (SUBSYSTEM << 8) | GET_GENERATION, &header(TableFamily::Other(0)), |_| {});
        let message = self.get(&mut request)?;
        Ok(message.attributes(NFGENMSG).find_kind(1).map(big_endian).unwrap_or_default())
    }

    /// Names of the table's sets.
    pub fn sets(&mut self, table: &str) -> Result<Vec<String>> {
        let mut request = Batch::dump("listing sets", (SUBSYSTEM << 8) | GET_SET, &header(TableFamily::Ip), |w| w.str(1, table));
        match self.dump(&mut request) {
            Ok(messages) => Ok(messages.iter().filter_map(|m| m.attributes(NFGENMSG).find_kind(2).map(string)).collect()),
            Err(error) if error.is_absent() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Names of the table's chains.
    pub fn chains(&mut self, table: &str) -> Result<Vec<String>> {
        let ours = self.dump_chains()?;
        let ours = ours.iter().filter(|message| message.body.first() == Some(&TableFamily::Ip.number()));
        Ok(ours
            .filter(|message| message.attributes(NFGENMSG).find_kind(1).map(string).as_deref() == Some(table))
            .filter_map(|message| message.attributes(NFGENMSG).find_kind(3).map(string))
            .collect())
    }

    /// Every base chain of type filter, whoever made it.
    pub fn base_chains(&mut self) -> Result<Vec<ForeignChain>> {
        Ok(self.dump_chains()?.iter().filter_map(base_chain).collect())
    }

    fn dump_chains(&mut self) -> Result<Vec<Message>> {
        let mut request = Batch::dump("listing chains", (SUBSYSTEM << 8) | GET_CHAIN, &header(TableFamily::Other(0)), |_| {});
        self.dump(&mut request)
    }

    /// The rules of a table in their order, chain by chain.
    pub fn rules(&mut self, family: TableFamily, table: &str) -> Result<Vec<FoundRule>> {
        let mut request = Batch::dump("listing rules", (SUBSYSTEM << 8) | GET_RULE, &header(family), |w| w.str(1, table));
        match self.dump(&mut request) {
            Ok(messages) => Ok(messages.iter().filter_map(|message| found_rule(message, table)).collect()),
            Err(error) if error.is_absent() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Puts a rule with this comment at the head of somebody else's chain.
    pub fn insert_rule(&mut self, family: TableFamily, table: &str, chain: &str, rule: &Rule, comment: &str) -> Result<()> {
        let mut batch = Batch::new();
        batch.push("beginning a transaction", BATCH_BEGIN, 0, &batch_header(), |_| {});
        let what = format!("inserting a rule into chain {chain} of table {table}");
        batch.push(what, (SUBSYSTEM << 8) | NEW_RULE, CREATE, &header(family), |w| write_rule(w, table, chain, rule, comment));
        commit(&mut batch, self)
    }

    pub fn delete_rule(&mut self, family: TableFamily, table: &str, chain: &str, handle: u64) -> Result<()> {
        let mut batch = Batch::new();
        batch.push("beginning a transaction", BATCH_BEGIN, 0, &batch_header(), |_| {});
        let what = format!("removing a rule from chain {chain} of table {table}");
        batch.push(what, (SUBSYSTEM << 8) | DELETE_RULE, 0, &header(family), |w| {
            w.str(1, table);
            w.str(2, chain);
            w.be64(3, handle);
        });
        commit(&mut batch, self)
    }

    /// Makes these chains of ours exactly so, together with `more` in the same transaction; chains that are right stay untouched.
    pub fn ensure_chains<'a>(
        &mut self,
        table: &'a str,
        sets: &[Set],
        chains: &[Chain],
        more: impl FnOnce(&mut Transaction<'a>),
    ) -> Result<()> {
        let (found_sets, found_chains) = (self.sets(table)?, self.chains(table)?);
        let found_rules = self.rules(TableFamily::Ip, table)?;
        let mut transaction = Transaction::on(table);
        for set in sets.iter().filter(|set| !found_sets.iter().any(|found| found == set.name)) {
            transaction.set(set);
        }
        let is_right = |chain: &Chain| {
            let found = found_rules.iter().filter(|rule| rule.chain == chain.name).map(|rule| rule.comment.clone());
            found_chains.contains(&chain.name) && found.eq(chain.rules.iter().map(Rule::digest))
        };
        let wrong: Vec<&Chain> = chains.iter().filter(|chain| !is_right(chain)).collect();
        for chain in &wrong {
            if found_chains.contains(&chain.name) {
                transaction.clear_chain(&chain.name);
            } else {
                transaction.chain(chain);
            }
        }
        for chain in &wrong {
            transaction.rules(chain);
        }
        more(&mut transaction);
        transaction.commit(self)
    }
}

const VERDICT_GOTO: i32 = -4;

fn write_verdict(w: &mut Writer<'_>, code: i32, chain: Option<&str>) {
    w.nested(2, |w| {
        w.be32(1, code as u32);
        if let Some(chain) = chain {
            w.str(2, chain);
        }
    });
}

fn write_rule(w: &mut Writer<'_>, table: &str, chain: &str, rule: &Rule, comment: &str) {
    w.str(1, table);
    w.str(2, chain);
    w.nested(4, |w| w.raw(&rule.expressions));
    // As nft's own comments: type 0, length, text with its NUL.
    let mut userdata = vec![0, (comment.len() + 1) as u8];
    userdata.extend_from_slice(comment.as_bytes());
    userdata.push(0);
    w.bytes(7, &userdata);
}

fn write_set(w: &mut Writer<'_>, table: &str, set: &Set) {
    let mut flags = 0;
    w.str(1, table);
    w.str(2, set.name);
    w.be32(4, type_of(set.key));
    w.be32(5, 4 * set.key.len() as u32);
    match set.data {
        Data::None => {}
        Data::Values(kinds) => {
            flags |= SET_MAP;
            w.be32(6, type_of(kinds));
            w.be32(7, 4 * kinds.len() as u32);
        }
        Data::Verdict => {
            flags |= SET_MAP;
            w.be32(6, 0xffff_ff00);
            w.be32(7, 0);
        }
    }
    if let Some(size) = set.dynamic {
        flags |= SET_TIMEOUT | SET_EVAL;
        w.nested(9, |w| w.be32(1, size));
    }
    w.be32(3, flags);
    // The kernel wants one for sets that are used before they exist; the name is enough to find it.
    w.be32(10, 1);
}

/// nft packs up to five component types, six bits each.
fn type_of(kinds: &[Kind]) -> u32 {
    kinds.iter().fold(0, |all, kind| (all << 6) | *kind as u32)
}

fn write_element(w: &mut Writer<'_>, element: &Element, with_value: bool) {
    w.nested(1, |w| {
        w.nested(1, |w| w.bytes(1, &element.key));
        if !with_value {
            return;
        }
        match &element.value {
            Value::None => {}
            Value::Bytes(bytes) => w.nested(2, |w| w.bytes(1, bytes)),
            Value::Drop => w.nested(2, |w| write_verdict(w, libc::NF_DROP, None)),
            Value::Goto(chain) => w.nested(2, |w| write_verdict(w, VERDICT_GOTO, Some(chain))),
        }
    });
}

fn header(family: TableFamily) -> [u8; NFGENMSG] {
    [family.number(), 0, 0, 0]
}

fn batch_header() -> [u8; NFGENMSG] {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    [0, 0, high, low]
}

fn elements(message: &Message) -> Vec<Element> {
    let list = message.attributes(NFGENMSG).find_kind(3).unwrap_or_default();
    attributes(list).filter_map(|(_, element)| found_element(attributes(element))).collect()
}

fn found_element(element: Attributes<'_>) -> Option<Element> {
    let key = attributes(element.clone().find_kind(1)?).find_kind(1)?.to_vec();
    let Some(data) = element.find_kind(2) else { return Some(Element { key, value: Value::None }) };
    if let Some(bytes) = attributes(data).find_kind(1) {
        return Some(Element { key, value: Value::Bytes(bytes.to_vec()) });
    }
    let verdict = attributes(data).find_kind(2)?;
    let value = match attributes(verdict).find_kind(2) {
        Some(chain) => Value::Goto(string(chain)),
        None => Value::Drop,
    };
    Some(Element { key, value })
}

fn base_chain(message: &Message) -> Option<ForeignChain> {
    let find = |kind| message.attributes(NFGENMSG).find_kind(kind);
    let hook = HookPoint::of(attributes(find(4)?).find_kind(1).map(big_endian)?)?;
    if string(find(7)?) != "filter" {
        return None;
    }
    let drops = find(5).map(big_endian) == Some(libc::NF_DROP as u32);
    let family = TableFamily::of(*message.body.first()?);
    Some(ForeignChain { family, table: string(find(1)?), name: string(find(3)?), hook, drops })
}

fn found_rule(message: &Message, table: &str) -> Option<FoundRule> {
    let find = |kind| message.attributes(NFGENMSG).find_kind(kind);
    if string(find(1)?) != table {
        return None;
    }
    let handle = find(3)?.try_into().map_or(0, u64::from_be_bytes);
    let userdata = find(7).unwrap_or_default();
    let comment = userdata.get(2..).filter(|_| userdata[0] == 0).map(string).unwrap_or_default();
    Some(FoundRule { chain: string(find(2)?), handle, comment })
}

fn big_endian(payload: &[u8]) -> u32 {
    number(payload).swap_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_survives_the_wire() {
        for value in [Value::None, Value::Bytes(vec![1, 2, 3, 4]), Value::Drop, Value::Goto("c".into())] {
            let element = Element { key: vec![9; 16], value };
            let mut bytes = Vec::new();
            write_element(&mut Writer::into_buffer(&mut bytes), &element, true);
            let (_, body) = attributes(&bytes).next().unwrap();
            assert_eq!(found_element(attributes(body)), Some(element));
        }
    }
}
