//! One run of a guest: QEMU without hardware help, its lines, its end.
//!
//! The guest's job talks on the second serial line, which is QEMU's standard output; the kernel talks on the first, into a file.
//! Whatever happens, QEMU ends: at the guest's power-off, at the limit, when [`Guest`] is dropped, and with this process.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::program;

/// What a guest is started with.
pub(crate) struct Boot<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// `key=value` words that the guest's init reads.
    pub(crate) words: Vec<String>,
    /// Values of `-blockdev`, each with the name `disk<n>` for the device that shows it.
    pub(crate) disks: Vec<String>,
    /// Where the kernel's messages go.
    pub(crate) log: PathBuf,
    pub(crate) limit: Duration,
}

pub(crate) struct Guest {
    qemu: Child,
    lines: Receiver<String>,
    deadline: Instant,
    limit: Duration,
    log: PathBuf,
}

impl Guest {
    #[expect(clippy::disallowed_methods, reason = "a limit for a program outside")]
    pub(crate) fn start(boot: Boot<'_>) -> Result<Self> {
        let mut qemu =
            program("setpriv", &["--pdeathsig", "KILL", QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"]);
        qemu.arg("-kernel").arg(boot.kernel).arg("-initrd").arg(boot.initramfs);
        // `panic=-1` with `-no-reboot`: a kernel that panics ends QEMU.
        qemu.args(["-append", &format!("console=ttyS0 quiet panic=-1 {}", boot.words.join(" "))]);
        qemu.arg("-serial").arg(format!("file:{}", boot.log.display())).args(["-serial", "stdio"]);
        for (at, disk) in boot.disks.iter().enumerate() {
            qemu.args(["-blockdev", disk, "-device", &format!("virtio-blk-pci,drive=disk{at},discard=off,write-zeroes=off")]);
        }
        let complaints = File::create(boot.log.with_extension("qemu"))?;
        let mut qemu = qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(complaints).spawn().context("setpriv")?;
        let output = BufReader::new(qemu.stdout.take().context("QEMU's output")?);
        let (lines_tx, lines) = sync_channel(1024);
        // Ends with QEMU's output, or when nobody listens any more.
        std::thread::spawn(move || {
            let lines = output.split(b'\n').map_while(Result::ok);
            lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()).try_for_each(|line| lines_tx.send(line))
        });
        Ok(Self { qemu, lines, deadline: Instant::now() + boot.limit, limit: boot.limit, log: boot.log })
    }

    /// The next line of the job; None at the end.
    pub(crate) fn line(&self) -> Result<Option<String>> {
        match self.lines.recv_timeout(self.left()) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("the guest took longer than {} s{}", self.limit.as_secs(), self.last_words()),
        }
    }

    /// Hands every line to `seen` until the guest is off; the exit status of its job.
    pub(crate) fn finish(self, mut seen: impl FnMut(&str)) -> Result<i32> {
        let mut status = None;
        while let Some(line) = self.line()? {
            match line.strip_prefix("@end ") {
                Some(number) => status = Some(number.parse().with_context(|| line.clone())?),
                None => seen(&line),
            }
        }
        status.with_context(|| format!("the guest ended before its job did{}", self.last_words()))
    }

    /// Reads lines until one starts with `prefix`, and gives what follows it.
    pub(crate) fn wait_for(&self, prefix: &str, mut seen: impl FnMut(&str)) -> Result<String> {
        while let Some(line) = self.line()? {
            if let Some(rest) = line.strip_prefix(prefix) {
                return Ok(rest.to_owned());
            }
            seen(&line);
        }
        bail!("the guest ended without {prefix:?}{}", self.last_words())
    }

    /// Hands lines to `seen` for so long; the guest must go on.
    #[expect(clippy::disallowed_methods, reason = "a limit for a program outside")]
    pub(crate) fn run_for(&self, duration: Duration, seen: &mut dyn FnMut(&str)) -> Result<()> {
        let end = Instant::now() + duration;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => seen(&line),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => bail!("the guest ended by itself{}", self.last_words()),
            }
        }
    }

    /// No word to the guest: as if its power were cut.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.qemu.kill()?;
        self.qemu.wait()?;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "a limit for a program outside")]
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn last_words(&self) -> String {
        let read = |path: &Path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let (kernel, qemu) = (read(&self.log), read(&self.log.with_extension("qemu")));
        let lines: Vec<&str> = kernel.lines().chain(qemu.lines()).filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(15)..].join("\n  ");
        if last.is_empty() { String::new() } else { format!("; its kernel and QEMU said last:\n  {last}") }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill(); // most often it has ended
        let _ = self.qemu.wait();
    }
}

/// Debian package qemu-system-x86.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
