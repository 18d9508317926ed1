//! `cargo xtask images [NAME…]`: test images out of Debian packages, as docker archives under the names that charts use.
//!
//! Packages come from `apt-get download` once and stay in `target/images/packages`, so that later runs need no network. A
//! package that is neither there nor to be had is named, with where to put it. `corten image load` takes the archives.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::process::{output, program};

/// For a download over a slow line.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Images to build: busybox, nginx; all without a name
    names: Vec<String>,
    /// Where the archives go
    #[arg(long, default_value = "target/images")]
    folder: PathBuf,
}

struct Image {
    name: &'static str,
    references: &'static [&'static str],
    packages: &'static [&'static str],
    /// What the packages' own scripts would have made.
    finish: fn(&Path) -> Result<()>,
    entrypoint: &'static [&'static str],
    command: &'static [&'static str],
}

const ALL: &[Image] = &[
    Image {
        name: "busybox",
        references: &["docker.io/library/busybox:latest", "docker.io/library/busybox:1.35"],
        packages: &["busybox-static"],
        finish: finish_busybox,
        entrypoint: &[],
        command: &["sh"],
    },
    Image {
        name: "nginx",
        references: &["docker.io/library/nginx:latest", "docker.io/library/nginx:1.22"],
        packages: &["nginx-light", "nginx-common", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"],
        finish: finish_nginx,
        entrypoint: &[],
        command: &["nginx", "-g", "daemon off;"],
    },
];

const NGINX_CONF: &str = "worker_processes 1;\nerror_log /dev/stderr;\npid /run/nginx.pid;\nevents {}\nhttp {\n    include /etc/nginx/mime.types;\n    access_log /dev/stdout;\n    server {\n        listen 80;\n        root /usr/share/nginx/html;\n    }\n}\n";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n";

#[expect(clippy::print_stdout, reason = "a command's result")]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for image in chosen(&arguments.names)? {
        let archive = build(image, &arguments.folder).with_context(|| format!("image {}", image.name))?;
        println!("{}  {}", archive.display(), image.references.join(" "));
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Image>> {
    if let Some(unknown) = names.iter().find(|name| !ALL.iter().any(|image| image.name == **name)) {
        bail!("no image {unknown:?}: there are {}", ALL.iter().map(|image| image.name).collect::<Vec<_>>().join(", "));
    }
    Ok(ALL.iter().filter(|image| names.is_empty() || names.iter().any(|name| name == image.name)).collect())
}

fn build(image: &Image, folder: &Path) -> Result<PathBuf> {
    let packages = folder.join("packages");
    std::fs::create_dir_all(&packages).with_context(|| packages.display().to_string())?;
    let work = tempfile::tempdir_in(folder)?;
    let rootfs = work.path().join("rootfs");
    for folder in ["etc", "tmp", "run", "root", "proc", "sys", "dev", "var"] {
        std::fs::create_dir_all(rootfs.join(folder))?;
    }
    for name in image.packages {
        let package = package(name, &packages)?;
        output(program("dpkg-deb", &["-x", text(&package)?, text(&rootfs)?]), PATIENCE)?;
    }
    std::fs::write(rootfs.join("etc/passwd"), PASSWD)?;
    std::fs::write(rootfs.join("etc/group"), GROUP)?;
    (image.finish)(&rootfs)?;
    for page in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian"] {
        let _ = std::fs::remove_dir_all(rootfs.join(page)); // not every package has them
    }
    let archive = folder.join(format!("{}.tar", image.name));
    write_archive(image, &rootfs, work.path(), &archive)?;
    Ok(archive)
}

/// The package's file: an earlier run's, else downloaded.
pub(crate) fn package(name: &str, packages: &Path) -> Result<PathBuf> {
    if let Some(found) = find(name, packages)? {
        return Ok(found);
    }
    let downloaded = {
        let mut apt = program("apt-get", &["download", "--quiet", name]);
        apt.current_dir(packages);
        output(apt, PATIENCE)
    };
    match find(name, packages)? {
        Some(found) => Ok(found),
        None => {
            let why = downloaded.err().map_or_else(|| "apt-get brought nothing".to_owned(), |error| format!("{error:#}"));
            bail!(
                "package {name} is not in {} and cannot be downloaded; connect the network once, or copy {name}_*.deb there ({why})",
                packages.display()
            )
        }
    }
}

fn find(name: &str, packages: &Path) -> Result<Option<PathBuf>> {
    let (prefix, entries) = (format!("{name}_"), std::fs::read_dir(packages)?);
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file.starts_with(&prefix) && file.ends_with(".deb")
        })
        .collect();
    files.sort();
    Ok(files.pop())
}

/// A link per applet, as the upstream image has them.
fn finish_busybox(rootfs: &Path) -> Result<()> {
    let busybox = rootfs.join("bin/busybox");
    let applets = output(program(text(&busybox)?, &["--list"]), PATIENCE)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).with_context(|| applet.to_owned())?;
    }
    Ok(())
}

fn finish_nginx(rootfs: &Path) -> Result<()> {
    std::fs::write(rootfs.join("etc/nginx/nginx.conf"), NGINX_CONF)?;
    std::fs::create_dir_all(rootfs.join("var/log/nginx"))?;
    std::fs::create_dir_all(rootfs.join("var/lib/nginx"))?;
    let page = rootfs.join("usr/share/nginx/html");
    ensure!(page.exists(), "nginx-common has no {}", page.display());
    Ok(())
}

/// Layer, configuration and manifest, as `docker save` lays them out.
fn write_archive(image: &Image, rootfs: &Path, work: &Path, archive: &Path) -> Result<()> {
    let layer = work.join("layer.tar");
    let mut tar = tar::Builder::new(File::create(&layer)?);
    tar.follow_symlinks(false);
    // Owner root, fixed times: the same packages give the same image.
    tar.mode(tar::HeaderMode::Deterministic);
    tar.append_dir_all("", rootfs)?;
    tar.into_inner()?.sync_all()?;

    let environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
    let config = json!({
        "architecture": architecture(), "os": "linux", "created": "2021-01-01T00:00:00Z",
        "config": {"Env": environment, "Entrypoint": image.entrypoint, "Cmd": image.command},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer)?)]},
        "history": [{"created": "2021-01-01T00:00:00Z", "created_by": "cargo xtask images"}],
    });
    let config_path = work.join("config.json");
    std::fs::write(&config_path, serde_json::to_vec(&config)?)?;
    let config_name = format!("{}.json", sha256(&config_path)?);
    let manifest = serde_json::to_vec(&json!([{"Config": config_name, "RepoTags": image.references, "Layers": ["layer.tar"]}]))?;

    let part = archive.with_extension("part");
    let mut tar = tar::Builder::new(File::create(&part)?);
    tar.mode(tar::HeaderMode::Deterministic);
    tar.append_path_with_name(&layer, "layer.tar")?;
    tar.append_path_with_name(&config_path, &config_name)?;
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(manifest.len() as u64);
    tar.append_data(&mut header, "manifest.json", &manifest[..])?;
    tar.into_inner()?.sync_all()?;
    std::fs::rename(&part, archive).with_context(|| archive.display().to_string())
}

/// Debian's package is for this machine; Go's names are the registry's.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

fn sha256(path: &Path) -> Result<String> {
    let said = output(program("sha256sum", &[text(path)?]), PATIENCE)?;
    said.split_whitespace().next().map(str::to_owned).context("sha256sum says nothing")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))
}
