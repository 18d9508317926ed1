//! The store on this kernel, in both layouts. Needs root: layers hold devices and owners, and indexes are mounted.

#![expect(clippy::print_stdout, reason = "a test says what it skipped")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::{ErrorKind, Image, ImageConfig, Images};
use env::Env;
use expect_test::expect;
use tar::{Builder, EntryType, Header};

use crate::ingest::Hex;
use crate::{Builtin, Layout, Store};

/// A store in folders of its own; what it mounted goes with it.
struct Fixture {
    dirs: tempfile::TempDir,
    env: Env,
    store: Arc<Store>,
}

impl Fixture {
    fn new(layout: Layout) -> Self {
        let dirs = tempfile::tempdir().unwrap();
        let env = Env::real();
        let store = Self::open(dirs.path(), &env, layout);
        println!("{layout:?}: layers are {}", if store.mounts_layers() { "mounted" } else { "unpacked" });
        Self { dirs, env, store }
    }

    fn open(dirs: &Path, env: &Env, layout: Layout) -> Arc<Store> {
        let builtin = Builtin { exe: "/proc/self/exe".into() };
        Store::open_with(&dirs.join("images"), &dirs.join("run"), env, builtin, layout).unwrap()
    }

    /// The same folders again, as after a restart.
    fn reopen(&mut self, layout: Layout) {
        self.store = Self::open(self.dirs.path(), &self.env, layout);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dirs.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    async fn import(&self, archive: &[u8], name: &str) -> contract::Result<Image> {
        self.store.import(&self.write("archive.tar", archive), name, ImageConfig::default()).await
    }

    /// What the one layer of an image shows.
    async fn layer(&self, image: &Image) -> BTreeMap<String, String> {
        let rootfs = self.store.ensure_rootfs(&image.id, "look").await.unwrap();
        let seen = describe(&rootfs.lowers[0]);
        self.store.remove_rootfs("look").await.unwrap();
        seen
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.store.release_all().unwrap();
        let below = crate::mounts::mounted_below(&self.path("run/layers")).unwrap();
        assert!(below.is_empty(), "{below:?} is still mounted");
    }
}

/// Both layouts; only the one that this user and kernel can do.
fn layouts() -> Vec<Layout> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: unpacking and mounting layers needs root");
        return Vec::new();
    }
    vec![Layout::Auto, Layout::Unpacked]
}

/// One line per path: everything that a container can see of it.
fn describe(root: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    describe_below(root, root, &mut out);
    out
}

fn describe_below(root: &Path, path: &Path, out: &mut BTreeMap<String, String>) {
    let about = fs::symlink_metadata(path).unwrap();
    let kind = about.file_type();
    let what = if kind.is_dir() {
        "dir".to_owned()
    } else if kind.is_symlink() {
        let target = fs::read_link(path).unwrap().to_string_lossy().into_owned();
        if target.len() > 99 { format!("-> {} bytes", target.len()) } else { format!("-> {target}") }
    } else if kind.is_char_device() || kind.is_block_device() {
        format!(
            "{} {}:{}",
            if kind.is_char_device() { "char" } else { "block" },
            rustix::fs::major(about.rdev()),
            rustix::fs::minor(about.rdev())
        )
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        let content = fs::read(path).unwrap();
        assert_eq!(content.len() as u64, about.len());
        let shown = if content.len() < 40 {
            String::from_utf8_lossy(&content).into_owned()
        } else {
            format!("{} bytes {}", content.len(), &Hex::of(&content).as_str()[..8])
        };
        format!("{shown:?} x{}", about.nlink())
    };
    let owner = if about.uid() + about.gid() == 0 { String::new() } else { format!(" {}:{}", about.uid(), about.gid()) };
    let time = if about.mtime() == 0 { String::new() } else { format!(" @{}.{}", about.mtime(), about.mtime_nsec()) };
    let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    out.insert(name, format!("{what} {:o}{owner}{time}{}", about.mode() & 0o7777, xattrs(path, kind.is_symlink())));
    if kind.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            describe_below(root, &entry.unwrap().path(), out);
        }
    }
}

fn xattrs(path: &Path, is_link: bool) -> String {
    let mut names = vec![0; 4096];
    let listed = if is_link { Ok(0) } else { rustix::fs::listxattr(path, &mut names[..]) };
    let mut shown: Vec<String> = names[..listed.unwrap_or(0)]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 256];
            let len = rustix::fs::getxattr(path, name, &mut value[..]).unwrap();
            format!(" {}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(&value[..len]).escape_debug())
        })
        .collect();
    shown.sort();
    shown.concat()
}

fn lines(seen: &BTreeMap<String, String>) -> String {
    seen.iter().map(|(path, what)| format!("{path}: {what}\n")).collect()
}

struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(&mut self, path: &str, kind: EntryType, edit: impl Fn(&mut Header), content: &[u8]) -> &mut Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        edit(&mut header);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    fn file(&mut self, path: &str, content: &[u8]) -> &mut Self {
        self.add(path, EntryType::Regular, |_| (), content)
    }

    fn link(&mut self, path: &str, kind: EntryType, target: &str) -> &mut Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_size(0);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    fn bytes(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.0, Builder::new(Vec::new())).into_inner().unwrap()
    }
}

/// One of everything.
fn everything() -> Vec<u8> {
    let mut tar = Tar::new();
    let long = format!("deep/{}/file", "d".repeat(101));
    tar.add("./", EntryType::Directory, |header| header.set_mode(0o751), b"");
    tar.add("bin/su", EntryType::Regular, |header| (header.set_mode(0o4755), header.set_uid(7), header.set_gid(8)).2, b"setuid");
    tar.add("dated", EntryType::Regular, |header| header.set_mtime(1_700_000_000), b"x");
    tar.add("dev/null", EntryType::Char, |header| (header.set_device_major(1).unwrap(), header.set_device_minor(3).unwrap()).1, b"");
    tar.add(
        "dev/many",
        EntryType::Block,
        |header| (header.set_device_major(259).unwrap(), header.set_device_minor(70_000).unwrap()).1,
        b"",
    );
    tar.add("dev/pipe", EntryType::Fifo, |_| (), b"");
    tar.file("empty", b"").file(&long, b"long name").file("etc/motd", b"hello").file("odd !name", b"odd");
    tar.link("etc/motd2", EntryType::Link, "etc/motd").link("lib", EntryType::Symlink, "usr/lib").link(
        "long-link",
        EntryType::Symlink,
        &"t/".repeat(1000),
    );
    tar.file("lib/through-link", b"y");
    tar.file("gone/.wh.file", b"").file("opaque/.wh..wh..opq", b"").file("opaque/shown", b"z");
    let trusted: (&str, &[u8]) = ("SCHILY.xattr.trusted.overlay.redirect", b"/etc");
    let capability: &[u8] = &[0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    tar.pax(&[("SCHILY.xattr.user.note", b"hi"), trusted, ("SCHILY.xattr.security.capability", capability), ("mtime", b"12.5")]);
    tar.file("bin/ping", b"ping");
    tar.file("big", &b"0123456789abcdef".repeat(5000));
    tar.bytes()
}

#[tokio::test]
async fn a_layer_shows_all_that_its_archive_holds() {
    let want = expect![[r#"
        : dir 751
        big: "80000 bytes 0da54bf6" x1 644
        bin: dir 755
        bin/ping: "ping" x1 644 @12.500000000 security.capability=\0\0\0\u{2}\0\u{4}\0\0\0\0\0\0\0\0\0\0\0\0\0\0 user.note=hi
        bin/su: "setuid" x1 4755 7:8
        dated: "x" x1 644 @1700000000.0
        deep: dir 755
        deep/ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd: dir 755
        deep/ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd/file: "long name" x1 644
        dev: dir 755
        dev/many: block 259:70000 644
        dev/null: char 1:3 644
        dev/pipe: fifo 644
        empty: "" x1 644
        etc: dir 755
        etc/motd: "hello" x2 644
        etc/motd2: "hello" x2 644
        gone: dir 755
        gone/file: char 0:0 0
        lib: -> usr/lib 777
        long-link: -> 2000 bytes 777
        odd !name: "odd" x1 644
        opaque: dir 755 trusted.overlay.opaque=y
        opaque/shown: "z" x1 644
        usr: dir 755
        usr/lib: dir 755
        usr/lib/through-link: "y" x1 644
    "#]];
    let mut seen = Vec::new();
    for layout in layouts() {
        let fixture = Fixture::new(layout);
        let image = fixture.import(&everything(), "everything").await.unwrap();
        seen.push(fixture.layer(&image).await);
    }
    let Some(first) = seen.first() else { return };
    want.assert_eq(&lines(first));
    assert_eq!(lines(first), lines(&seen[1]), "both layouts show the same");
}

#[tokio::test]
async fn passes_the_suite() {
    for layout in layouts() {
        let fixture = Fixture::new(layout);
        let scratch = fixture.path("suite");
        fs::create_dir(&scratch).unwrap();
        contract::images_suite::run(&*fixture.store, &scratch).await;
    }
}

#[tokio::test]
async fn large_directories_are_whole_and_searchable() {
    let mut tar = Tar::new();
    for number in 0..3000u32 {
        // Names of all lengths, some before "." in the order of bytes.
        let prefix = ["", "!", "-", "z"][number as usize % 4];
        let name = format!("dir/{prefix}{number}{}", "n".repeat(number as usize % 90));
        tar.file(&name, format!("content {number}").repeat(number as usize % 70).as_bytes());
    }
    let archive = tar.bytes();
    let mut seen = Vec::new();
    for layout in layouts() {
        let fixture = Fixture::new(layout);
        let image = fixture.import(&archive, "many").await.unwrap();
        seen.push(fixture.layer(&image).await);
    }
    let Some(first) = seen.first() else { return };
    assert_eq!(first.len(), 3002);
    assert_eq!(first, &seen[1]);
}

/// A file of 1 MB with `head` at its start and `tail` at its end.
fn sparse_archives() -> Vec<(&'static str, Vec<u8>)> {
    const SIZE: usize = 1_000_000;
    let (head, tail) = ([b'h'; 700], [b't'; 300]);
    let data = [&head[..], &tail[..]].concat();
    let map = [(0, head.len()), (SIZE - tail.len(), tail.len())];
    let size = SIZE.to_string();
    let text = map.map(|(at, len)| format!("{at},{len}")).join(",");
    let mut one = format!("2\n0\n{}\n{}\n{}\n", head.len(), SIZE - tail.len(), tail.len()).into_bytes();
    one.resize(512, 0);
    one.extend_from_slice(&data);
    let pax_1 = Tar::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ])
        .file("GNUSparseFile.0/sparse", &one)
        .bytes();
    let pax_01 = Tar::new()
        .pax(&[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.name", b"sparse"), ("GNU.sparse.map", text.as_bytes())])
        .file("GNUSparseFile.0/sparse", &data)
        .bytes();
    let old = Tar::new()
        .add(
            "sparse",
            EntryType::GNUSparse,
            |header| {
                let gnu = header.as_gnu_mut().unwrap();
                for (field, (at, len)) in gnu.sparse.iter_mut().zip(map) {
                    field.offset.copy_from_slice(format!("{at:011o}\0").as_bytes());
                    field.numbytes.copy_from_slice(format!("{len:011o}\0").as_bytes());
                }
                gnu.realsize.copy_from_slice(format!("{SIZE:011o}\0").as_bytes());
            },
            &data,
        )
        .bytes();
    vec![("pax 1.0", pax_1), ("pax 0.1", pax_01), ("old gnu", old)]
}

#[tokio::test]
async fn sparse_files_have_their_holes() {
    let mut content = vec![0; 1_000_000];
    content[..700].fill(b'h');
    content[1_000_000 - 300..].fill(b't');
    for layout in layouts() {
        let fixture = Fixture::new(layout);
        for (format, archive) in sparse_archives() {
            let image = fixture.import(&archive, "sparse").await.unwrap();
            let rootfs = fixture.store.ensure_rootfs(&image.id, "c").await.unwrap();
            assert!(fs::read(rootfs.lowers[0].join("sparse")).unwrap() == content, "{format}, {layout:?}");
            fixture.store.remove_rootfs("c").await.unwrap();
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[tokio::test]
async fn compression_makes_no_difference() {
    let Some(&layout) = layouts().first() else { return };
    let fixture = Fixture::new(layout);
    let plain = everything();
    let mut layers = Vec::new();
    for archive in [plain.clone(), gzip(&plain), zstd(&plain), [gzip(&plain[..5000]), gzip(&plain[5000..])].concat()] {
        let image = fixture.import(&archive, "x").await.unwrap();
        layers.push(fixture.store.layers_of(&Hex::parse(&image.id).unwrap()).await);
    }
    assert_eq!(layers[0], [Hex::of(&plain)], "a layer is named by its plain bytes");
    assert!(layers.iter().all(|layer| *layer == layers[0]), "{layers:?}");
}

#[tokio::test]
async fn bad_archives_are_refused_and_leave_nothing() {
    let Some(&layout) = layouts().first() else { return };
    let fixture = Fixture::new(layout);
    let good = everything();
    let compressed = gzip(&good);
    let mut flipped = compressed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let table: [(&str, Vec<u8>, &str); 7] = [
        ("junk", b"#!/bin/sh\n".repeat(100), "no tar header at byte 0"),
        ("cut within an entry", good[..good.len() / 2].to_vec(), "the archive ends within an entry"),
        ("cut gzip", compressed[..compressed.len() / 2].to_vec(), "read archive"),
        ("damaged gzip", flipped, ""),
        ("xz", b"\xfd7zXZ\0aaaaaaaa".to_vec(), "compressed with xz: decompress it first"),
        ("a path that leaves", raw_path(b"../../etc/passwd"), "../../etc/passwd: it leaves the archive"),
        ("a device of its own kind", raw_kind(b'Q'), "tar entries of type 'Q' are not understood"),
    ];
    for (case, archive, want) in table {
        let error = fixture.import(&archive, "bad").await.expect_err(case);
        assert!(error.message.contains(want) && error.message.contains("archive.tar"), "{case}: {error}");
    }
    assert_eq!(fixture.store.list().await.unwrap(), []);
    for folder in ["images/tmp", "images/layers"] {
        let left: Vec<_> =
            fs::read_dir(fixture.path(folder)).unwrap().map(|entry| entry.unwrap().file_name()).filter(|name| name != "boot").collect();
        assert!(left.is_empty(), "{left:?} is left in {folder}");
    }
}

/// A header that the builder refuses to write.
fn raw_path(path: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    [&header.as_bytes()[..], &[0; 1024]].concat()
}

fn raw_kind(kind: u8) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_path("x").unwrap();
    header.set_entry_type(EntryType::new(kind));
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    [&header.as_bytes()[..], &[0; 1024]].concat()
}

#[tokio::test]
async fn a_restart_finds_everything_also_in_another_layout() {
    let Some(&layout) = layouts().first() else { return };
    let mut fixture = Fixture::new(layout);
    let image = fixture.import(&everything(), "kept").await.unwrap();
    let before = fixture.store.ensure_rootfs(&image.id, "c").await.unwrap();
    let seen = describe(&before.lowers[0]);
    fs::create_dir(fixture.path("images/tmp/half")).unwrap();

    fixture.reopen(layout);
    assert!(!fixture.path("images/tmp/half").exists(), "what was half made is gone");
    assert_eq!(fixture.store.resolve("kept").await.unwrap().unwrap(), image);
    assert_eq!(fixture.store.ensure_rootfs(&image.id, "c").await.unwrap(), before, "what is mounted is found, not mounted again");
    assert_eq!(fixture.store.remove("kept").await.unwrap_err().kind, ErrorKind::Busy, "and so is what uses it");

    fixture.store.release_all().unwrap();
    fixture.reopen(Layout::Unpacked);
    let unpacked = fixture.store.ensure_rootfs(&image.id, "c").await.unwrap();
    assert_eq!(describe(&unpacked.lowers[0]), seen);
}

#[tokio::test]
async fn a_lost_index_is_made_again_and_a_lost_layer_forgotten() {
    let Some(&layout) = layouts().first() else { return };
    let mut fixture = Fixture::new(layout);
    let image = fixture.import(&everything(), "kept").await.unwrap();
    let seen = fixture.layer(&image).await;
    fixture.store.release_all().unwrap();
    let layer = fixture.path("images/layers").join(Hex::of(&everything()).as_str());
    let _ = fs::remove_file(layer.join("index.erofs"));
    let _ = fs::remove_dir_all(layer.join("root"));
    fixture.reopen(layout);
    assert_eq!(fixture.layer(&image).await, seen);
    fixture.store.release_all().unwrap();
    fs::remove_dir_all(&layer).unwrap();
    fixture.reopen(layout);
    assert_eq!(fixture.store.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_layer_that_a_power_cut_got_is_found_at_the_next_boot() {
    let Some(&layout) = layouts().first() else { return };
    let mut fixture = Fixture::new(layout);
    for (content, name) in [("whole", "whole"), ("torn", "torn")] {
        fixture.import(&Tar::new().file("f", content.as_bytes()).bytes(), name).await.unwrap();
    }
    fixture.env.stop(Duration::from_secs(10)).await; // waits for the syncs
    let torn = fixture.path("images/layers").join(Hex::of(&Tar::new().file("f", b"torn").bytes()).as_str());
    for layer in fs::read_dir(fixture.path("images/layers")).unwrap() {
        let _ = fs::remove_file(layer.unwrap().path().join("synced"));
    }
    File::options().write(true).open(torn.join("layer.tar")).unwrap().set_len(512).unwrap();
    fs::write(fixture.path("images/layers/boot"), "another").unwrap();
    fixture.reopen(layout);
    let names: Vec<String> = fixture.store.list().await.unwrap().into_iter().flat_map(|image| image.names).collect();
    assert_eq!(names, ["docker.io/library/whole:latest"]);
}

#[tokio::test]
async fn the_built_in_image_is_this_binary() {
    for layout in layouts() {
        let fixture = Fixture::new(layout);
        assert_eq!(fixture.store.list().await.unwrap(), [], "made on first use");
        let image = fixture.store.resolve("corten.local/hello").await.unwrap().unwrap();
        assert_eq!(image.config.entrypoint, ["/corten", "hello"]);
        assert_eq!(fixture.store.pull("corten.local/hello:latest").await.unwrap(), image);
        let rootfs = fixture.store.ensure_rootfs(&image.id, "c").await.unwrap();
        assert!(fs::read(rootfs.lowers[0].join("corten")).unwrap() == fs::read("/proc/self/exe").unwrap());
        assert_eq!(fs::metadata(&rootfs.upper).unwrap().mode() & 0o7777, 0o755);
    }
}

/// As `docker save` writes it: names of layer files of its choice, a link for a layer used twice.
fn docker_archive() -> Vec<u8> {
    docker_archive_with(|text| text)
}

/// `edit` changes configuration and manifest.
fn docker_archive_with(edit: impl Fn(String) -> String) -> Vec<u8> {
    let layers = [Tar::new().file("a", b"1").bytes(), Tar::new().file("b", b"2").file(".wh.a", b"").bytes()];
    let [one, two] = [0, 1].map(|index| Hex::of(&layers[index]).digest());
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","created":"2024-01-02T03:04:05Z","config":{{"Cmd":["/b"]}},"rootfs":{{"type":"layers","diff_ids":["{one}","{two}","{one}"]}}}}"#,
        crate::config::architecture()
    );
    let manifest =
        r#"[{"Config":"c.json","RepoTags":["demo:1","registry.example.com/demo:2"],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}]"#;
    Tar::new()
        .file("c.json", edit(config).as_bytes())
        .file("1/layer.tar", &layers[0])
        .file("2/layer.tar", &gzip(&layers[1]))
        .link("3/layer.tar", EntryType::Symlink, "../1/layer.tar")
        .file("manifest.json", edit(manifest.into()).as_bytes())
        .bytes()
}

#[tokio::test]
async fn docker_archives_load() {
    for layout in layouts() {
        let fixture = Fixture::new(layout);
        for archive in [docker_archive(), gzip(&docker_archive())] {
            let loaded = fixture.store.load(&fixture.write("saved.tar", &archive)).await.unwrap();
            let [image] = &loaded[..] else { panic!("one image: {loaded:?}") };
            assert_eq!(image.names, ["docker.io/library/demo:1", "registry.example.com/demo:2"]);
            assert_eq!((image.created, image.config.cmd.clone()), (1_704_164_645, vec!["/b".to_owned()]));
            let rootfs = fixture.store.ensure_rootfs(&image.id, "c").await.unwrap();
            let seen: Vec<String> = rootfs.lowers.iter().map(|lower| describe(lower).into_keys().collect::<Vec<_>>().join(" ")).collect();
            assert_eq!(seen, [" a", " a b", " a"], "topmost first");
            fixture.store.remove_rootfs("c").await.unwrap();
        }
        fixture.store.remove("demo:1").await.unwrap();
        fixture.store.remove("registry.example.com/demo:2").await.unwrap();
        assert_eq!(fixture.store.list().await.unwrap(), []);
        let left = fs::read_dir(fixture.path("images/layers")).unwrap().count();
        assert_eq!(left, 1, "layers go with their last image; the note of the boot stays");
    }
}

/// An OCI layout with one image for us and one for a machine that does not exist; path to bytes.
fn oci_layout() -> Vec<(String, Vec<u8>)> {
    let layer = gzip(&Tar::new().file("a", b"1").bytes());
    let diff_id = Hex::of(&Tar::new().file("a", b"1").bytes()).digest();
    let arch = crate::config::architecture();
    let config = format!(r#"{{"architecture":"{arch}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#).into_bytes();
    let blob = |bytes: &[u8]| (format!("blobs/sha256/{}", Hex::of(bytes).as_str()), bytes.to_vec());
    let manifest =
        format!(r#"{{"config":{{"digest":"{}"}},"layers":[{{"digest":"{}"}}]}}"#, Hex::of(&config).digest(), Hex::of(&layer).digest())
            .into_bytes();
    let inner = format!(
        r#"{{"manifests":[{{"digest":"{0}","platform":{{"os":"linux","architecture":"vax"}}}},{{"digest":"{0}","platform":{{"os":"linux","architecture":"{arch}"}}}}]}}"#,
        Hex::of(&manifest).digest()
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{}","annotations":{{"org.opencontainers.image.ref.name":"example.com/oci:3"}}}}]}}"#,
        Hex::of(inner.as_bytes()).digest()
    );
    vec![
        blob(&layer),
        blob(&config),
        blob(&manifest),
        blob(inner.as_bytes()),
        ("index.json".into(), index.into_bytes()),
        ("oci-layout".into(), b"{}".to_vec()),
    ]
}

#[tokio::test]
async fn oci_layouts_load_from_a_folder_and_an_archive() {
    let Some(&layout) = layouts().first() else { return };
    let fixture = Fixture::new(layout);
    let mut tar = Tar::new();
    let folder = fixture.path("oci");
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    for (path, bytes) in oci_layout() {
        fs::write(folder.join(&path), &bytes).unwrap();
        tar.file(&path, &bytes);
    }
    for source in [folder, fixture.write("oci.tar", &tar.bytes())] {
        let loaded = fixture.store.load(&source).await.unwrap();
        assert_eq!(loaded[0].names, ["example.com/oci:3"]);
        assert_eq!(fixture.layer(&loaded[0]).await["a"], "\"1\" x1 644");
    }
}

#[tokio::test]
async fn bundles_that_lie_are_refused() {
    let Some(&layout) = layouts().first() else { return };
    let fixture = Fixture::new(layout);
    let text = |from: &str, to: &str| docker_archive_with(|text| text.replace(from, to));
    let digest = Hex::of(&Tar::new().file("a", b"1").bytes()).digest();
    let plain = Tar::new().file("manifest.json", br#"[{"Config":"../c.json","Layers":[]}]"#).bytes();
    let table = [
        ("another layer's digest", text(&digest, &format!("sha256:{}", "0".repeat(64))), "the archive is damaged"),
        ("another machine", text(r#""os":"linux""#, r#""os":"vmsos""#), "the image is for vmsos/"),
        ("a missing layer", text("3/layer.tar\"]", "9/layer.tar\"]"), "9/layer.tar is missing"),
        ("no image at all", Tar::new().file("etc/passwd", b"").bytes(), "corten image import"),
        ("a path that leaves", plain, "../c.json leaves the archive"),
    ];
    for (case, archive, want) in table {
        let error = fixture.store.load(&fixture.write("lies.tar", &archive)).await.expect_err(case);
        assert!(error.message.contains(want), "{case}: {error}");
    }
    assert_eq!(fixture.store.list().await.unwrap(), []);
}

#[tokio::test]
async fn what_a_container_leaves_is_removed_however_deep() {
    let Some(&layout) = layouts().first() else { return };
    let fixture = Fixture::new(layout);
    let image = fixture.import(&Tar::new().file("a", b"1").bytes(), "x").await.unwrap();
    let rootfs = fixture.store.ensure_rootfs(&image.id, "c").await.unwrap();
    let precious = fixture.path("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("data"), "x").unwrap();
    std::os::unix::fs::symlink(&precious, rootfs.upper.join("link")).unwrap();
    let mut folder = sys::beneath::open_top(&rootfs.upper).unwrap();
    for _ in 0..1200 {
        rustix::fs::mkdirat(&folder, "d", rustix::fs::Mode::RWXU).unwrap();
        folder = rustix::fs::openat(&folder, "d", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    }
    drop(folder);
    fixture.store.remove_rootfs("c").await.unwrap();
    assert!(!rootfs.upper.exists() && precious.join("data").exists());
    assert_eq!(fs::read_dir(fixture.path("images/tmp")).unwrap().count(), 0);
}

/// A small archive with one of everything, headers dense enough that a change hits one.
fn dense() -> Vec<u8> {
    let mut tar = Tar::new();
    tar.add("d", EntryType::Directory, |_| (), b"").file("d/f", b"x").link("d/l", EntryType::Link, "d/f").link(
        "d/s",
        EntryType::Symlink,
        "../d",
    );
    tar.file("d/s/through", b"y").file("d/.wh.gone", b"").file("d/.wh..wh..opq", b"").file(&"long/".repeat(40), b"");
    tar.pax(&[("SCHILY.xattr.user.note", b"hi"), ("mtime", b"12.5"), ("path", b"renamed")]).file("x", b"z");
    let sparse = sparse_archives().into_iter().flat_map(|(_, archive)| archive[..archive.len() - 1024].to_vec());
    let mut bytes = tar.bytes();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(sparse);
    bytes
}

/// Corrects the checksum of the header that holds `at`, so that the change is believed.
fn believe(archive: &mut [u8], at: usize) {
    let start = at / 512 * 512;
    let Some(block) = archive.get_mut(start..start + 512) else { return };
    let sum: u32 = block.iter().enumerate().map(|(index, byte)| if (148..156).contains(&index) { 32 } else { u32::from(*byte) }).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 2000, ..Default::default() })]

    #[test]
    fn no_archive_makes_the_reader_or_the_index_panic(changes in proptest::collection::vec((0..20_000usize, 0..=255u8, proptest::bool::weighted(0.8)), 1..6)) {
        use crate::layers::Positioned;
        use crate::tarball::Entries;
        use crate::tree::Tree;

        let mut archive = dense();
        for (at, byte, believed) in changes {
            let at = at % archive.len();
            archive[at] = byte;
            if believed {
                believe(&mut archive, at);
            }
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&archive).unwrap();
        if let Ok(tree) = Tree::read(&mut Entries::new(Positioned::whole(&file, archive.len() as u64))) {
            let _ = crate::erofs::index(&tree, &file, archive.len() as u64);
        }
    }
}
