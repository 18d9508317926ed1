//! The floors, the one home of `unsafe`, and what no source may hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// A floor, and the floors that it may use.
const FLOORS: &[(&str, &[&str])] = &[
    ("base", &["base"]),
    ("api", &["base", "api"]),
    ("control", &["base", "api", "control"]),
    ("node", &["base", "api", "node"]),
    ("ui", &["base", "api", "node", "ui"]),
    ("bin", &["base", "api", "control", "node", "ui", "bin"]),
];

struct House {
    root: PathBuf,
    packages: Vec<Package>,
}

impl House {
    fn read() -> Self {
        let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata answers in a workspace");
        Self { root: metadata.workspace_root.into(), packages: metadata.packages }
    }

    fn floor<'a>(&self, package: &'a Package) -> &'a str {
        let folder = package.manifest_path.as_std_path().parent().expect("a manifest lies in a folder");
        let relative = folder.strip_prefix(&self.root).expect("members lie below the root");
        let first = relative.components().next().map(|component| component.as_os_str().to_str().expect("our folders are ASCII"));
        FLOORS.iter().map(|(floor, _)| *floor).find(|floor| first == Some(*floor)).unwrap_or("tests")
    }

    /// Every Rust file below `folder`, with its text.
    fn sources(&self, folder: &Path) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let text = std::fs::read_to_string(&path).expect("sources are text");
                    found.insert(path.strip_prefix(&self.root).expect("below the root").to_owned(), text);
                }
            }
        }
        found
    }
}

#[test]
fn crates_use_only_the_floors_below_them() {
    let house = House::read();
    let floors: BTreeMap<&str, &str> = house.packages.iter().map(|package| (package.name.as_str(), house.floor(package))).collect();
    let mut broken = Vec::new();
    for package in &house.packages {
        let Some((_, allowed)) = FLOORS.iter().find(|(floor, _)| *floor == house.floor(package)) else { continue };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
            if let Some(theirs) = floors.get(dependency.name.as_str())
                && !allowed.contains(theirs)
            {
                broken.push(format!("{} ({}) uses {} ({theirs})", package.name, house.floor(package), dependency.name));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(floors.values().filter(|floor| **floor == "node").count() >= 5, "the metadata shows the whole house");
}

#[test]
fn unsafe_lives_in_base_sys_alone() {
    let house = House::read();
    let allowed = |path: &Path| path.starts_with("base/sys");
    let mut found = Vec::new();
    for (path, text) in house.sources(Path::new("")) {
        if allowed(&path) || path.starts_with("tests/architecture") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("unsafe impl")
                || code.contains("allow(unsafe_code)")
            {
                found.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let house = House::read();
    let mut silent = Vec::new();
    for (path, text) in house.sources(Path::new("base/sys")) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !(code.contains("unsafe {") || code.contains("unsafe impl")) {
                continue;
            }
            let above = &lines[number.saturating_sub(8)..=number];
            if !above.iter().any(|line| line.contains("SAFETY")) {
                silent.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(silent.is_empty(), "no SAFETY comment near:\n{}", silent.join("\n"));
}

#[test]
fn every_source_opens_with_what_it_promises() {
    let house = House::read();
    let floors = FLOORS.iter().map(|(floor, _)| *floor);
    let mut bare = Vec::new();
    for floor in floors {
        for (path, text) in house.sources(Path::new(floor)) {
            let is_test = path.components().any(|component| component.as_os_str() == "tests")
                || path.file_name().is_some_and(|name| name == "tests.rs");
            if !is_test && !text.starts_with("//!") {
                bare.push(path.display().to_string());
            }
        }
    }
    assert!(bare.is_empty(), "no //! at the top of:\n{}", bare.join("\n"));
}

#[test]
fn modules_are_named_files() {
    let house = House::read();
    let old: Vec<String> =
        house.sources(Path::new("")).keys().filter(|path| path.ends_with("mod.rs")).map(|path| path.display().to_string()).collect();
    assert!(old.is_empty(), "foo.rs beside foo/, never mod.rs: {}", old.join(", "));
}

#[test]
fn every_lint_exception_has_a_reason() {
    let house = House::read();
    let mut bare = Vec::new();
    for (path, text) in house.sources(Path::new("")) {
        for (number, line) in text.lines().enumerate() {
            let starts = line.trim_start().starts_with("#[allow(") || line.trim_start().starts_with("#![allow(");
            if starts && !line.contains("reason") {
                bare.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(bare.is_empty(), "#[expect(lint, reason = …)] rather than a bare #[allow]:\n{}", bare.join("\n"));
}

#[test]
fn the_readme_prints_the_list_of_what_nothing_acts_on() {
    let house = House::read();
    for name in ["README.md", "README.zh-CN.md"] {
        let readme = std::fs::read_to_string(house.root.join(name)).expect("a readme");
        let list = kinds::unacted_markdown();
        assert!(readme.contains(list.trim()), "{name} must hold this list:\n{list}");
    }
}
