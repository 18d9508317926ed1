//! Manifests: files and folders to documents, in an order in which they can be made.

use std::fs;
use std::path::{Path, PathBuf};

use schema::{DocExt, Value};

use crate::{Failure, Kind};

/// A document and where it came from.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub doc: Value,
    pub source: PathBuf,
}

/// What others need comes first; everything else in the order read.
const FIRST: &[&str] =
    &["Namespace", "ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "ConfigMap", "Secret", "Service"];

/// Reads files, and folders (not deeper) with `.yaml`, `.yml` and `.json`. A `List` is its items.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    for path in paths {
        for file in files(path)? {
            manifests.extend(documents(&file)?);
        }
    }
    manifests.sort_by_key(|manifest| FIRST.iter().position(|kind| *kind == manifest.doc.str_at("kind")).unwrap_or(FIRST.len()));
    Ok(manifests)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let missing = |error: std::io::Error| Failure::new(Kind::Usage, format!("{}: {error}", path.display()));
    if !fs::metadata(path).map_err(missing)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(missing)?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let is_manifest = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml" || ending == "json");
    let mut files: Vec<PathBuf> = entries.filter(is_manifest).collect();
    files.sort();
    if files.is_empty() {
        return Err(Failure::new(Kind::Usage, format!("{}: no .yaml, .yml or .json file in this folder", path.display())));
    }
    Ok(files)
}

fn documents(file: &Path) -> Result<Vec<Manifest>, Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::new(Kind::Usage, format!("{}: {error}", file.display())))?;
    let docs = schema::decode::yaml_documents(&text).map_err(|error| Failure::new(Kind::Usage, format!("{}: {error}", file.display())))?;
    let mut manifests = Vec::new();
    for doc in docs {
        let items = if doc.str_at("kind") == "List" { doc.items_at("items").to_vec() } else { vec![doc] };
        for doc in items {
            if doc.str_at("kind").is_empty() || doc.str_at("apiVersion").is_empty() {
                return Err(Failure::new(Kind::Usage, format!("{}: a document without apiVersion and kind", file.display())));
            }
            manifests.push(Manifest { doc, source: file.to_owned() });
        }
    }
    Ok(manifests)
}
