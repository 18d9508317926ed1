//! An image from what the machine itself has: busybox with a link per applet, and curl with its libraries, as busybox's
//! own TLS names no signature algorithms and so gets no connection to the API server.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const NAME: &str = "docker.io/library/busybox:latest";

/// The archive of its root file system, made in `folder`.
pub(crate) fn archive(folder: &Path) -> String {
    let root = folder.join("busybox");
    for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "var", "run"] {
        std::fs::create_dir_all(root.join(name)).expect("our own folder");
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("our own folder");
    copy(&program("busybox"), &root.join("bin/busybox"));
    for applet in output("busybox", &["--list"]).lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("each applet is listed once");
    }
    copy(&program("curl"), &root.join("bin/curl"));
    for library in libraries(&program("curl")) {
        copy(&library, &root.join(library.strip_prefix("/").expect("ldd prints whole paths")));
    }
    let archive = folder.join("busybox.tar").to_string_lossy().into_owned();
    output("tar", &["-C", &root.to_string_lossy(), "-cf", &archive, "."]);
    archive
}

/// `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x…)`, and the loader without an arrow.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = output("ldd", &[&program.to_string_lossy()]);
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn program(name: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").expect("a path");
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.exists()).expect("the test asked for it")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("a file in the root")).expect("our own folder");
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
