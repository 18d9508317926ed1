//! Writes an EROFS image that holds a layer's names and attributes and points into the layer's archive for the data.
//!
//! The kernel mounts the two files together: the index as the device, the archive as its extra device 1. Blocks are 512
//! bytes, tar's unit, so that every file's data starts at a block. Nothing is compressed.
//!
//! ```text
//! 0      1024         1152         1536
//! │ zeros │ super block │ device slot │ inodes, each with its xattrs and map or link … │ directories, links, sparse data │
//! ```
//!
//! An inode's number is its byte offset / 32. Multi-byte fields are little-endian.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::tarball::{Attributes, Extent};
use crate::tree::{Kind, Node, NodeId, ROOT, Tree};

const BLOCK_BITS: u32 = 9;
const BLOCK: usize = 1 << BLOCK_BITS;
const SUPER_AT: usize = 1024;
const SLOT_LEN: usize = 128;
const DEVICE_SLOT_AT: usize = SUPER_AT + 128;
const INODES_AT: usize = 3 * BLOCK;
const INODE_LEN: usize = 64;
const NID_BITS: u32 = 5;

const MAGIC: u32 = 0xe0f5_e1e2;
const COMPAT_MTIME: u32 = 0x2;
const INCOMPAT_CHUNKED: u32 = 0x4;
const INCOMPAT_DEVICES: u32 = 0x8;

/// Data layouts, as they stand in an inode's format with the bit for the long inode.
const PLAIN: u16 = 1;
const INLINE: u16 = 1 | 2 << 1;
const CHUNKS: u16 = 1 | 4 << 1;
const CHUNK_INDEXES: u32 = 0x20;
const HOLE: u32 = u32::MAX;
const ARCHIVE: u16 = 1;

/// The largest chunk that an inode can name.
const CHUNK_BITS_MAX: u32 = BLOCK_BITS + 31;

/// Chunks of a sparse file: as many as fit below this bound, none smaller than a page.
const CHUNKS_MAX: u64 = 1 << 20;
const SPARSE_CHUNK_BITS_MIN: u32 = 12;

/// What the chunks of a sparse file may take beyond its data.
const SPARSE_WASTE_MAX: u64 = 64 << 20;

const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// The index of `tree`, whose files' data lies in `archive`, `archive_len` bytes long. Reads of the archive are only those
/// of sparse files: their pieces lie at no block and are copied.
pub(crate) fn index(tree: &Tree, archive: &File, archive_len: u64) -> io::Result<Vec<u8>> {
    let mut layout = Layout::of(tree)?;
    let mut image = vec![0; layout.end];
    for (id, place) in layout.places.iter().enumerate().filter(|(_, place)| place.is_used()) {
        write_inode(&mut image, tree, &layout, id, place);
    }
    for sparse in std::mem::take(&mut layout.sparse) {
        sparse.write(&mut image, archive)?;
    }
    write_super(&mut image, &layout, archive_len)?;
    Ok(image)
}

/// Where everything of one node lies.
#[derive(Clone, Debug, Default)]
struct Place {
    /// Byte offset of the inode; 0 for nodes that no name leads to.
    inode: usize,
    xattrs: Vec<u8>,
    data: Data,
    parent: NodeId,
    links: u32,
}

#[derive(Clone, Debug, Default)]
enum Data {
    #[default]
    None,
    /// Right behind the inode.
    Inline,
    /// Block and length in bytes.
    Blocks(usize, usize),
    /// One chunk in the archive: its block.
    Archive(u32),
    /// Chunk bits; a map behind the inode, filled with the sparse data.
    Sparse(u32),
}

impl Place {
    fn is_used(&self) -> bool {
        self.inode != 0
    }

    fn nid(&self) -> u64 {
        (self.inode >> NID_BITS) as u64
    }

    /// Behind the inode and its extended attributes.
    fn tail(&self) -> usize {
        self.inode + INODE_LEN + self.xattrs.len()
    }

    fn map(&self) -> usize {
        self.tail().next_multiple_of(8)
    }
}

struct Layout {
    places: Vec<Place>,
    sparse: Vec<SparseFile>,
    end: usize,
    inodes: u64,
}

impl Layout {
    /// Gives every node its place: first all inodes, the root before all (its number has only 16 bits), then their data.
    fn of(tree: &Tree) -> io::Result<Self> {
        let mut layout = Self { places: vec![Place::default(); tree.nodes.len()], sparse: Vec::new(), end: INODES_AT, inodes: 0 };
        let order = walk(tree, &mut layout.places);
        for (place, links) in layout.places.iter_mut().zip(tree.link_counts()) {
            place.links = links;
        }
        for &id in &order {
            layout.place_inode(id, &tree.nodes[id])?;
        }
        for &id in &order {
            layout.place_data(id, &tree.nodes[id])?;
        }
        layout.end = layout.end.next_multiple_of(BLOCK);
        layout.inodes = order.len() as u64;
        Ok(layout)
    }

    fn place_inode(&mut self, id: NodeId, node: &Node) -> io::Result<()> {
        let place = &mut self.places[id];
        place.xattrs = encode_xattrs(&node.attributes, matches!(node.kind, Kind::Dir { opaque: true, .. }));
        let fixed = INODE_LEN + place.xattrs.len();
        let mut inode = self.end.next_multiple_of(1 << NID_BITS);
        let mut behind = 0;
        match &node.kind {
            Kind::Symlink(target) if fixed + target.len() <= BLOCK => {
                // What is inline must lie in one block with the end of the inode.
                if (inode % BLOCK) + fixed + target.len() > BLOCK {
                    inode = inode.next_multiple_of(BLOCK);
                }
                place.data = Data::Inline;
                behind = target.len();
            }
            Kind::File { extents, .. } if extents.is_empty() && is_empty(node) => {}
            Kind::File { size, extents } => match archive_block(*size, extents)? {
                Some(block) => {
                    place.data = Data::Archive(block);
                    behind = map_len(place.xattrs.len(), 1);
                }
                None => {
                    let bits = sparse_chunk_bits(*size);
                    place.data = Data::Sparse(bits);
                    behind = map_len(place.xattrs.len(), size.div_ceil(1 << bits) as usize);
                }
            },
            _ => {}
        }
        place.inode = inode;
        self.end = inode + fixed + behind;
        Ok(())
    }

    fn place_data(&mut self, id: NodeId, node: &Node) -> io::Result<()> {
        match (&node.kind, &self.places[id].data) {
            (Kind::Dir { children, .. }, _) => {
                let len = dir_len(children);
                self.places[id].data = Data::Blocks(self.take_blocks(len)?, len);
            }
            (Kind::Symlink(target), Data::None) => {
                let len = target.len();
                self.places[id].data = Data::Blocks(self.take_blocks(len)?, len);
            }
            (Kind::File { size, extents }, &Data::Sparse(bits)) => {
                let map = self.places[id].map();
                let chunks = SparseFile::chunks(extents, bits);
                let stored: u64 = extents.iter().map(|extent| extent.len).sum();
                if (chunks.len() as u64) << bits > SPARSE_WASTE_MAX + 16 * stored {
                    return Err(io::Error::other(format!("a sparse file of {size} bytes with only {stored} stored")));
                }
                let block = self.take_blocks(chunks.len() << bits)?;
                self.sparse.push(SparseFile {
                    bits,
                    map,
                    count: size.div_ceil(1 << bits) as usize,
                    chunks,
                    block,
                    extents: extents.clone(),
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// Room for `len` bytes; its first block.
    fn take_blocks(&mut self, len: usize) -> io::Result<usize> {
        let start = self.end.next_multiple_of(BLOCK);
        self.end = start + len;
        let block = start >> BLOCK_BITS;
        if u32::try_from(block).is_err() {
            return Err(io::Error::other("the index of the layer grows beyond 2 TiB"));
        }
        Ok(block)
    }
}

/// Every node that a name leads to, once, parents first; notes each directory's parent.
fn walk(tree: &Tree, places: &mut [Place]) -> Vec<NodeId> {
    let mut order = Vec::with_capacity(tree.nodes.len());
    let mut seen = vec![false; tree.nodes.len()];
    let mut ahead = vec![ROOT];
    places[ROOT].parent = ROOT;
    while let Some(id) = ahead.pop() {
        if std::mem::replace(&mut seen[id], true) {
            continue;
        }
        order.push(id);
        if let Kind::Dir { children, .. } = &tree.nodes[id].kind {
            for &child in children.values().rev() {
                places[child].parent = id;
                ahead.push(child);
            }
        }
    }
    order
}

fn is_empty(node: &Node) -> bool {
    matches!(node.kind, Kind::File { size: 0, .. })
}

/// The archive's block at which the whole file lies; None for one with holes.
fn archive_block(size: u64, extents: &[Extent]) -> io::Result<Option<u32>> {
    if whole_chunk_bits(size) > CHUNK_BITS_MAX && sparse_chunk_bits(size) > CHUNK_BITS_MAX {
        return Err(io::Error::other(format!("a file of {size} bytes is too large for an index")));
    }
    match extents {
        [Extent { at: 0, stream, len }]
            if *len == size && stream.is_multiple_of(BLOCK as u64) && whole_chunk_bits(size) <= CHUNK_BITS_MAX =>
        {
            let block = u32::try_from(stream >> BLOCK_BITS).map_err(|_| io::Error::other("the layer's archive is larger than 2 TiB"))?;
            Ok(Some(block))
        }
        _ => Ok(None),
    }
}

/// Bytes of a map of `count` chunks, with what aligns it.
fn map_len(xattrs: usize, count: usize) -> usize {
    (INODE_LEN + xattrs).next_multiple_of(8) - (INODE_LEN + xattrs) + 8 * count
}

/// The smallest chunk that holds the whole file.
fn whole_chunk_bits(size: u64) -> u32 {
    size.next_power_of_two().trailing_zeros().max(BLOCK_BITS)
}

fn sparse_chunk_bits(size: u64) -> u32 {
    whole_chunk_bits(size.div_ceil(CHUNKS_MAX)).max(SPARSE_CHUNK_BITS_MIN)
}

/// A file with holes: its chunks that hold data are copied into the index.
struct SparseFile {
    bits: u32,
    map: usize,
    /// Chunks of the whole file.
    count: usize,
    /// Those with data, ascending.
    chunks: Vec<u64>,
    block: usize,
    extents: Vec<Extent>,
}

impl SparseFile {
    fn chunks(extents: &[Extent], bits: u32) -> Vec<u64> {
        let mut chunks: Vec<u64> = extents.iter().flat_map(|extent| extent.at >> bits..=(extent.at + extent.len - 1) >> bits).collect();
        chunks.dedup();
        chunks
    }

    fn write(&self, image: &mut [u8], archive: &File) -> io::Result<()> {
        for chunk in 0..self.count {
            put_chunk(image, self.map + 8 * chunk, 0, HOLE);
        }
        for (index, &chunk) in self.chunks.iter().enumerate() {
            let block = self.block + (index << self.bits >> BLOCK_BITS);
            put_chunk(image, self.map + 8 * chunk as usize, 0, block as u32);
        }
        for extent in &self.extents {
            self.copy(image, archive, extent)?;
        }
        Ok(())
    }

    /// Copies a piece, chunk by chunk.
    fn copy(&self, image: &mut [u8], archive: &File, extent: &Extent) -> io::Result<()> {
        let (mut at, end) = (extent.at, extent.at + extent.len);
        while at < end {
            let chunk = at >> self.bits;
            let index = self.chunks.binary_search(&chunk).expect("every chunk with data has room");
            let stop = end.min((chunk + 1) << self.bits);
            let start = (self.block << BLOCK_BITS) + (index << self.bits) + (at - (chunk << self.bits)) as usize;
            let room = &mut image[start..start + (stop - at) as usize];
            archive.read_exact_at(room, extent.stream + (at - extent.at))?;
            at = stop;
        }
        Ok(())
    }
}

fn write_inode(image: &mut [u8], tree: &Tree, layout: &Layout, id: NodeId, place: &Place) {
    let Node { attributes, kind } = &tree.nodes[id];
    let (kind_bits, size) = match kind {
        Kind::Dir { .. } => (S_IFDIR, 0), // its size is that of its blocks
        Kind::File { size, .. } => (S_IFREG, *size),
        Kind::Symlink(target) => (S_IFLNK, target.len() as u64),
        Kind::Char(..) | Kind::Whiteout => (S_IFCHR, 0),
        Kind::Block(..) => (S_IFBLK, 0),
        Kind::Fifo => (S_IFIFO, 0),
    };
    let (format, size, union) = match (&place.data, kind) {
        (Data::Blocks(block, len), _) => (PLAIN, *len as u64, *block as u32),
        (Data::Inline, _) => (INLINE, size, 0),
        (Data::Archive(_), _) => (CHUNKS, size, CHUNK_INDEXES | (whole_chunk_bits(size) - BLOCK_BITS)),
        (Data::Sparse(bits), _) => (CHUNKS, size, CHUNK_INDEXES | (bits - BLOCK_BITS)),
        (Data::None, Kind::Char(major, minor) | Kind::Block(major, minor)) => (PLAIN, 0, encode_device(*major, *minor)),
        (Data::None, _) => (PLAIN, size, 0),
    };
    let mut inode = Fields { bytes: image, at: place.inode };
    inode.u16(format);
    inode.u16(xattr_count(&place.xattrs));
    inode.u16((kind_bits | attributes.mode) as u16);
    inode.u16(0);
    inode.u64(size);
    inode.u32(union);
    inode.u32(place.nid() as u32);
    inode.u32(attributes.uid);
    inode.u32(attributes.gid);
    inode.u64(attributes.mtime.0 as u64);
    inode.u32(attributes.mtime.1);
    inode.u32(place.links);
    let behind = place.inode + INODE_LEN;
    image[behind..behind + place.xattrs.len()].copy_from_slice(&place.xattrs);
    write_data(image, tree, layout, id, place);
}

fn write_data(image: &mut [u8], tree: &Tree, layout: &Layout, id: NodeId, place: &Place) {
    match (&tree.nodes[id].kind, &place.data) {
        (Kind::Dir { children, .. }, Data::Blocks(block, _)) => {
            let target = |name: &[u8], child: Option<NodeId>| child.unwrap_or(if name == b"." { id } else { place.parent });
            let entry = |(name, child)| {
                let target = target(name, child);
                (name, layout.places[target].nid(), file_type(&tree.nodes[target].kind))
            };
            let entries: Vec<(&[u8], u64, u8)> = dir_names(children).into_iter().map(entry).collect();
            write_dir(&mut image[block << BLOCK_BITS..], &entries);
        }
        (Kind::Symlink(target), Data::Blocks(block, _)) => image[block << BLOCK_BITS..][..target.len()].copy_from_slice(target),
        (Kind::Symlink(target), Data::Inline) => image[place.tail()..][..target.len()].copy_from_slice(target),
        (Kind::File { .. }, Data::Archive(block)) => put_chunk(image, place.map(), ARCHIVE, *block),
        _ => {}
    }
}

fn put_chunk(image: &mut [u8], at: usize, device: u16, block: u32) {
    let mut chunk = Fields { bytes: image, at };
    chunk.u16(0);
    chunk.u16(device);
    chunk.u32(block);
}

fn file_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Dir { .. } => 2,
        Kind::Char(..) | Kind::Whiteout => 3,
        Kind::Block(..) => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// As the kernel packs a device number in 32 bits.
fn encode_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

const DIRENT_LEN: usize = 12;

/// A directory's names with `.` and `..`, in the order in which the kernel searches them.
fn dir_names(children: &BTreeMap<Box<[u8]>, NodeId>) -> Vec<(&[u8], Option<NodeId>)> {
    let mut names: Vec<(&[u8], Option<NodeId>)> = vec![(b".", None), (b"..", None)];
    names.extend(children.iter().map(|(name, child)| (&**name, Some(*child))));
    names.sort_unstable();
    names
}

/// Fills blocks with names one after the other: how many fall into each, and how many bytes of it they take.
fn pack(names: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut blocks = vec![(0, 0)];
    for len in names {
        let (count, used) = blocks.last_mut().expect("there is a first block");
        let needed = DIRENT_LEN + len;
        if *used + needed <= BLOCK {
            *count += 1;
            *used += needed;
        } else {
            blocks.push((1, needed));
        }
    }
    blocks
}

/// Whole blocks but for the last one, which counts as far as it is used.
fn dir_len(children: &BTreeMap<Box<[u8]>, NodeId>) -> usize {
    let blocks = pack(dir_names(children).iter().map(|(name, _)| name.len()));
    let last = blocks.last().map_or(0, |(_, used)| *used);
    (blocks.len() - 1) * BLOCK + last
}

fn write_dir(blocks: &mut [u8], mut entries: &[(&[u8], u64, u8)]) {
    let packed = pack(entries.iter().map(|(name, ..)| name.len()));
    for ((count, _), block) in packed.into_iter().zip(blocks.chunks_mut(BLOCK)) {
        let (here, rest) = entries.split_at(count);
        write_dir_block(block, here);
        entries = rest;
    }
}

fn write_dir_block(block: &mut [u8], entries: &[(&[u8], u64, u8)]) {
    let mut name_at = DIRENT_LEN * entries.len();
    for (index, (name, nid, kind)) in entries.iter().enumerate() {
        let mut entry = Fields { bytes: block, at: index * DIRENT_LEN };
        entry.u64(*nid);
        entry.u16(name_at as u16);
        entry.u16(u16::from(*kind));
        block[name_at..name_at + name.len()].copy_from_slice(name);
        name_at += name.len();
    }
}

/// Inline extended attributes: a head of 12 bytes, then entries aligned to 4.
fn encode_xattrs(attributes: &Attributes, opaque: bool) -> Vec<u8> {
    const USER: u8 = 1;
    const TRUSTED: u8 = 4;
    const SECURITY: u8 = 6;
    let mut entries: Vec<(u8, &[u8], &[u8])> = Vec::new();
    for (name, value) in &attributes.xattrs {
        let split =
            name.strip_prefix(b"user.").map(|rest| (USER, rest)).or_else(|| name.strip_prefix(b"security.").map(|rest| (SECURITY, rest)));
        entries.extend(split.map(|(index, rest)| (index, rest, &**value)));
    }
    if opaque {
        entries.push((TRUSTED, b"overlay.opaque", b"y"));
    }
    if entries.is_empty() {
        return Vec::new();
    }
    let mut out = vec![0; 12];
    for (index, name, value) in entries {
        out.extend_from_slice(&[name.len() as u8, index]);
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn xattr_count(encoded: &[u8]) -> u16 {
    if encoded.is_empty() { 0 } else { ((encoded.len() - 12) / 4 + 1) as u16 }
}

fn write_super(image: &mut [u8], layout: &Layout, archive_len: u64) -> io::Result<()> {
    let blocks = |len: u64| u32::try_from(len.div_ceil(BLOCK as u64)).map_err(|_| io::Error::other("the layer is larger than 2 TiB"));
    let own_blocks = blocks(layout.end as u64)?;
    let mut sb = Fields { bytes: image, at: SUPER_AT };
    sb.u32(MAGIC);
    sb.u32(0); // no checksum: not announced in the features
    sb.u32(COMPAT_MTIME);
    sb.u16(BLOCK_BITS as u16); // and no extension slots
    sb.u16(layout.places[ROOT].nid() as u16);
    sb.u64(layout.inodes);
    sb.u64(0); // build time
    sb.u32(0);
    sb.u32(own_blocks);
    sb.u32(0); // inode numbers count from the start
    sb.u32(0); // no shared extended attributes
    sb.at = SUPER_AT + 80;
    sb.u32(INCOMPAT_CHUNKED | INCOMPAT_DEVICES);
    sb.u16(0);
    sb.u16(1);
    sb.u16((DEVICE_SLOT_AT / SLOT_LEN) as u16);
    let mut slot = Fields { bytes: image, at: DEVICE_SLOT_AT + 64 };
    slot.u32(blocks(archive_len)?);
    slot.u32(own_blocks);
    Ok(())
}

/// Writes fields one behind the other.
struct Fields<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Fields<'_> {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
}
