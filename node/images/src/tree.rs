//! The tree that an archive describes, put together in memory: the one place where paths, links and whiteouts are
//! understood. What is written from it, an index or a directory, has no path left to resolve.
//!
//! Every path is resolved within the archive: `..` and symbolic links end at its root. Later entries replace earlier
//! ones; a directory keeps its children. `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` all of a directory.

use std::collections::{BTreeMap, VecDeque};

use contract::Result;

use crate::tarball::{Attributes, Body, Entries, Entry, Extent, Stream, invalid, show};

/// Most directories in each other: bounds the recursion of those who walk the tree.
const DEPTH_MAX: usize = 512;

/// Most entries: bounds memory against an archive that is small only while it is compressed.
const NODES_MAX: usize = 4_000_000;

/// Most symbolic links on the way to one path, as in the kernel.
const LINKS_MAX: usize = 40;

/// Most bytes of extended attributes on one file, as in the kernel.
const XATTRS_MAX: usize = 65_535;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

pub(crate) type NodeId = usize;
pub(crate) const ROOT: NodeId = 0;

#[derive(Debug)]
pub(crate) enum Kind {
    Dir {
        children: BTreeMap<Box<[u8]>, NodeId>,
        /// Nothing of the layers below shows.
        opaque: bool,
    },
    File {
        size: u64,
        extents: Vec<Extent>,
    },
    Symlink(Box<[u8]>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    /// Hides the name in the layers below.
    Whiteout,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) attributes: Attributes,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
}

impl Tree {
    /// Reads the whole stream.
    pub(crate) fn read<S: Stream>(entries: &mut Entries<S>) -> Result<Self> {
        let mut tree = Self::empty();
        while let Some(entry) = entries.next()? {
            if tree.nodes.len() > NODES_MAX {
                return Err(invalid(format!("more than {NODES_MAX} entries")));
            }
            let Entry { path, attributes, body } = entry;
            tree.add(&path, attributes, body)
                .map_err(|error| contract::Error::new(error.kind, format!("{}: {}", show(&path), error.message)))?;
        }
        Ok(tree)
    }

    pub(crate) fn empty() -> Self {
        Self { nodes: vec![Node::dir(0o755)] }
    }

    fn add(&mut self, path: &[u8], attributes: Attributes, body: Body) -> Result<()> {
        let components = components(path)?;
        let Some((&name, parents)) = components.split_last() else {
            if body == Body::Dir {
                self.nodes[ROOT].attributes = filtered(attributes)?;
            }
            return Ok(());
        };
        let parent = self.dir(parents, true)?.ok_or_else(|| invalid("its directory cannot be"))?;
        if name == OPAQUE {
            self.set_opaque(parent);
        } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            self.hide(parent, hidden);
        } else {
            self.put(parent, name, filtered(attributes)?, body)?;
        }
        Ok(())
    }

    fn put(&mut self, parent: NodeId, name: &[u8], attributes: Attributes, body: Body) -> Result<()> {
        let before = self.children(parent).get(name).copied();
        let kind = match body {
            Body::Dir => {
                self.put_dir(parent, name, before, attributes);
                return Ok(());
            }
            Body::HardLink(target) => {
                let target = self
                    .find(&target, false)?
                    .ok_or_else(|| invalid(format!("a hard link to {}, which the archive does not hold before it", show(&target))))?;
                if matches!(self.nodes[target].kind, Kind::Dir { .. } | Kind::Whiteout) {
                    return Err(invalid("a hard link to something that is no file"));
                }
                self.children(parent).insert(name.into(), target);
                return Ok(());
            }
            Body::File(size, extents) => Kind::File { size, extents },
            Body::Symlink(target) => Kind::Symlink(target.into()),
            Body::Char(major, minor) => Kind::Char(major, minor),
            Body::Block(major, minor) => Kind::Block(major, minor),
            Body::Fifo => Kind::Fifo,
        };
        self.insert(parent, name, Node { attributes, kind });
        Ok(())
    }

    fn put_dir(&mut self, parent: NodeId, name: &[u8], before: Option<NodeId>, attributes: Attributes) {
        let was_hidden = before.is_some_and(|before| matches!(self.nodes[before].kind, Kind::Whiteout));
        match before.filter(|before| matches!(self.nodes[*before].kind, Kind::Dir { .. })) {
            Some(existing) => self.nodes[existing].attributes = attributes,
            None => {
                // Hidden below and made again here: nothing of what was below may show.
                let kind = Kind::Dir { children: BTreeMap::new(), opaque: was_hidden };
                self.insert(parent, name, Node { attributes, kind });
            }
        }
    }

    fn insert(&mut self, parent: NodeId, name: &[u8], node: Node) -> NodeId {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.children(parent).insert(name.into(), id);
        id
    }

    fn make_dir(&mut self, parent: NodeId, name: &[u8], was_hidden: bool) -> NodeId {
        let dir = self.insert(parent, name, Node::dir(0o755));
        if was_hidden {
            self.set_opaque(dir);
        }
        dir
    }

    /// A whiteout speaks of the layers below: what this layer itself holds of that name stays.
    fn hide(&mut self, parent: NodeId, hidden: &[u8]) {
        if hidden.is_empty() || hidden.starts_with(WHITEOUT) {
            return; // bookkeeping of aufs
        }
        match self.children(parent).get(hidden).copied() {
            Some(existing) => self.set_opaque(existing),
            None => drop(self.insert(parent, hidden, Node { attributes: Attributes::default(), kind: Kind::Whiteout })),
        }
    }

    fn set_opaque(&mut self, dir: NodeId) {
        if let Kind::Dir { opaque, .. } = &mut self.nodes[dir].kind {
            *opaque = true;
        }
    }

    fn children(&mut self, dir: NodeId) -> &mut BTreeMap<Box<[u8]>, NodeId> {
        match &mut self.nodes[dir].kind {
            Kind::Dir { children, .. } => children,
            other => unreachable!("only directories are walked, not {other:?}"),
        }
    }

    /// The directory at `path`, made where `make` says so; None when it is not there.
    fn dir(&mut self, path: &[&[u8]], make: bool) -> Result<Option<NodeId>> {
        let mut walk = Walk::new(path);
        while let Some(name) = walk.next_name() {
            let here = walk.here();
            let next = match self.children(here).get(&*name).copied() {
                Some(next) if !matches!(self.nodes[next].kind, Kind::Whiteout) => next,
                before if make => self.make_dir(here, &name, before.is_some()),
                _ => return Ok(None),
            };
            match &self.nodes[next].kind {
                Kind::Dir { .. } => walk.enter(next)?,
                Kind::Symlink(target) => walk.follow(target)?,
                _ => return Err(invalid(format!("{} is not a directory", show(&name)))),
            }
        }
        Ok(Some(walk.here()))
    }

    /// The node at `path`; a symbolic link at its end is followed only if `follow`.
    pub(crate) fn find(&mut self, path: &[u8], follow: bool) -> Result<Option<NodeId>> {
        let mut path = components(path)?.into_iter().map(Box::from).collect::<Vec<Box<[u8]>>>();
        for _ in 0..LINKS_MAX {
            let borrowed: Vec<&[u8]> = path.iter().map(|name| &**name).collect();
            let Some((name, parents)) = borrowed.split_last() else { return Ok(Some(ROOT)) };
            let Some(parent) = self.dir(parents, false)? else { return Ok(None) };
            let Some(found) = self.children(parent).get(*name).copied() else { return Ok(None) };
            match &self.nodes[found].kind {
                Kind::Symlink(target) if follow => path = link_path(parents, target)?,
                _ => return Ok(Some(found)),
            }
        }
        Err(invalid("too many symbolic links"))
    }

    /// How many names each node has; for directories the count that `stat` shows.
    pub(crate) fn link_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.nodes.len()];
        counts[ROOT] = 2;
        for (id, node) in self.nodes.iter().enumerate() {
            let Kind::Dir { children, .. } = &node.kind else { continue };
            for &child in children.values() {
                let is_dir = matches!(self.nodes[child].kind, Kind::Dir { .. });
                counts[child] += if is_dir { 2 } else { 1 };
                counts[id] += u32::from(is_dir);
            }
        }
        counts
    }
}

impl Node {
    fn dir(mode: u32) -> Self {
        let attributes = Attributes { mode, ..Attributes::default() };
        Self { attributes, kind: Kind::Dir { children: BTreeMap::new(), opaque: false } }
    }
}

/// Only attributes that a layer may bring: never `trusted.*`, which steers overlayfs, nor the security modules' own.
fn filtered(mut attributes: Attributes) -> Result<Attributes> {
    attributes.xattrs.retain(|(name, _)| {
        let allowed = &**name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
        allowed && name.len() <= 255
    });
    attributes.xattrs.sort();
    attributes.xattrs.dedup_by(|later, earlier| later.0 == earlier.0);
    if attributes.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > XATTRS_MAX {
        return Err(invalid(format!("more than {XATTRS_MAX} bytes of extended attributes")));
    }
    Ok(attributes)
}

/// The names of a path, `.` and `..` worked out.
fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if names.pop().is_none() => return Err(invalid("it leaves the archive")),
            b".." => {}
            _ if name.len() > 255 => return Err(invalid("a name longer than 255 bytes")),
            _ => names.push(name),
        }
    }
    Ok(names)
}

/// Where a link in the directory `parents` points: names from the root.
fn link_path(parents: &[&[u8]], target: &[u8]) -> Result<Vec<Box<[u8]>>> {
    let mut path: Vec<&[u8]> = if target.starts_with(b"/") { Vec::new() } else { parents.to_vec() };
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(path.pop()),
            _ => path.push(name),
        }
    }
    Ok(path.into_iter().map(Box::from).collect())
}

/// A path on its way through the tree.
struct Walk {
    ahead: VecDeque<Box<[u8]>>,
    /// From the root to here.
    stack: Vec<NodeId>,
    links: usize,
}

impl Walk {
    fn new(path: &[&[u8]]) -> Self {
        Self { ahead: path.iter().map(|name| Box::from(*name)).collect(), stack: vec![ROOT], links: 0 }
    }

    fn here(&self) -> NodeId {
        *self.stack.last().expect("the root stays")
    }

    /// The next name to look up, `..` worked out.
    fn next_name(&mut self) -> Option<Box<[u8]>> {
        loop {
            let name = self.ahead.pop_front()?;
            match &*name {
                b"" | b"." => {}
                b".." if self.stack.len() > 1 => drop(self.stack.pop()),
                b".." => {} // above the root is the root
                _ => return Some(name),
            }
        }
    }

    fn enter(&mut self, dir: NodeId) -> Result<()> {
        self.stack.push(dir);
        if self.stack.len() > DEPTH_MAX {
            return Err(invalid(format!("more than {DEPTH_MAX} directories in each other")));
        }
        Ok(())
    }

    fn follow(&mut self, target: &[u8]) -> Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(invalid("too many symbolic links"));
        }
        if target.starts_with(b"/") {
            self.stack.truncate(1);
        }
        for name in target.split(|byte| *byte == b'/').rev() {
            self.ahead.push_front(name.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// `d path`, `f path`, `l path -> target`, `h path -> target`
    fn tree(lines: &str) -> Result<Tree> {
        let mut tree = Tree::empty();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (kind, rest) = line.split_once(' ').unwrap();
            let (path, target) = rest.split_once(" -> ").unwrap_or((rest, ""));
            let body = match kind {
                "d" => Body::Dir,
                "f" => Body::File(0, Vec::new()),
                "l" => Body::Symlink(target.into()),
                _ => Body::HardLink(target.into()),
            };
            tree.add(path.as_bytes(), Attributes { mode: 0o644, ..Attributes::default() }, body)?;
        }
        Ok(tree)
    }

    fn draw(tree: &Tree, id: NodeId, indent: usize, out: &mut String) {
        let Kind::Dir { children, .. } = &tree.nodes[id].kind else { return };
        for (name, &child) in children {
            let what = match &tree.nodes[child].kind {
                Kind::Dir { opaque: true, .. } => "/ opaque".into(),
                Kind::Dir { .. } => "/".into(),
                Kind::Symlink(target) => format!(" -> {}", show(target)),
                Kind::Whiteout => " hidden".into(),
                _ => format!(" #{}", tree.link_counts()[child]),
            };
            out.push_str(&format!("{}{}{what}\n", " ".repeat(indent), show(name)));
            draw(tree, child, indent + 2, out);
        }
    }

    fn check(lines: &str, want: Expect) {
        let mut out = String::new();
        match tree(lines) {
            Ok(tree) => draw(&tree, ROOT, 0, &mut out),
            Err(error) => out = error.message,
        }
        want.assert_eq(&out);
    }

    #[test]
    fn parents_are_made_and_later_entries_win() {
        check(
            "f ./a/b/c\nd a/b\nf a/x\nl a/x -> b",
            expect![[r#"
            a/
              b/
                c #1
              x -> b
        "#]],
        );
    }

    #[test]
    fn links_on_the_way_are_followed_within_the_archive() {
        check(
            "d usr/bin\nl bin -> usr/bin\nf bin/ls\nl etc -> /../../../up\nf etc/passwd",
            expect![[r#"
            bin -> usr/bin
            etc -> /../../../up
            up/
              passwd #1
            usr/
              bin/
                ls #1
        "#]],
        );
    }

    #[test]
    fn hard_links_count() {
        check(
            "f a\nh d/b -> a\nh c -> ./d/../a",
            expect![[r#"
            a #3
            c #3
            d/
              b #3
        "#]],
        );
        check("h b -> a", expect!["a hard link to a, which the archive does not hold before it"]);
        check("d a\nh b -> a", expect!["a hard link to something that is no file"]);
    }

    #[test]
    fn whiteouts_hide_what_is_below_not_what_is_here() {
        check(
            "f a/.wh.gone\nf b/.wh..wh..opq\nf c\nf .wh.c\nf .wh.d\nd d\nf .wh..wh.plnk\nd e\nf .wh.e",
            expect![[r#"
            a/
              gone hidden
            b/ opaque
            c #1
            d/ opaque
            e/ opaque
        "#]],
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        check("f ../x", expect!["it leaves the archive"]);
        check("f a\nf a/b", expect!["a is not a directory"]);
        check("l a -> b\nl b -> a\nf a/x", expect!["too many symbolic links"]);
    }
}
