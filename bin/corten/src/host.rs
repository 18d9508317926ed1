//! The machine as the command line needs it: folders, keys, the keeper, the node's images.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use auth::Pki;
use auth::pki::{Identity, Leaf};
use cli::check::{Finding, Level};
use cli::{Admin, ChildState, Failure, Host, ImageRow, Kind, State, StoreArgs};
use client::https::{Https, HttpsConfig};
use client::kubeconfig::Entry;
use client::{Client, Transport};
use env::Env;
use keeper::{Control, ControlError};
use stdx::Instance;
use sys::beneath;

use crate::role::{self, CONTROL_USER, program};
use crate::{admin, control, engine, node, owner};

/// Processes get so long to end by themselves.
const STOP_GRACE: Duration = Duration::from_secs(5);

pub(crate) struct Machine {
    env: Env,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { env: Env::real() }
    }

    fn pki(&self, instance: &Instance) -> Result<Pki, Failure> {
        Pki::ensure(&pki_dir(instance), &self.env).map_err(|error| Failure::new(Kind::Other, chain(&error)))
    }
}

fn pki_dir(instance: &Instance) -> PathBuf {
    instance.control_dir().join("pki")
}

#[async_trait]
impl Host for Machine {
    fn state(&self, instance: &Instance) -> Result<Option<State>, Failure> {
        let status = match Control::connect(&instance.run_dir()).and_then(|mut control| control.status()) {
            Ok(status) => status,
            Err(ControlError::NotRunning(_)) => return Ok(None),
            Err(error) => return Err(Failure::new(Kind::Other, error)),
        };
        let keeper = ChildState { name: "keeper".into(), pid: Some(status.pid), restarts: 0, last_exit: None };
        let child =
            |one: keeper::ChildStatus| ChildState { name: one.name, pid: one.pid, restarts: one.restarts, last_exit: one.last_exit };
        Ok(Some(State {
            processes: std::iter::once(keeper).chain(status.children.into_iter().map(child)).collect(),
            containers: status.containers,
        }))
    }

    fn findings(&self, instance: &Instance) -> Vec<Finding> {
        if !rustix::process::geteuid().is_root() {
            return Vec::new();
        }
        vec![state_folder(instance), firewall(instance)]
    }

    fn prepare(&self, instance: &Instance) -> Result<(), Failure> {
        folder(&instance.root, 0o755)?;
        owner::claim(instance)?;
        folder(&instance.log_dir(), 0o755)?;
        folder(&instance.node_dir(), 0o700)?;
        folder(&instance.control_dir(), 0o700)?;
        install_program(instance)?;
        let pki = self.pki(instance)?;
        let leaf = |leaf: &Leaf| pki.leaf(leaf).map_err(|error| Failure::new(Kind::Other, chain(&error)));
        leaf(&Leaf::admin())?;
        leaf(&Leaf::api_server(&control::server_names(instance)))?;
        leaf(&Leaf::api_server_to_agent())?;
        let name = node::name();
        let server = leaf(&Leaf::node_server(&name, &[name.clone(), instance.node_ip().to_string(), "127.0.0.1".into()]))?;
        node::Keys {
            ca: pki.ca().to_owned(),
            client: leaf(&Leaf::node_client(&name))?,
            proxy: leaf(&Leaf::component("system:kube-proxy"))?,
            server,
        }
        .write(instance)?;
        give(&instance.control_dir())
    }

    async fn choose_store(&self, instance: &Instance, args: &StoreArgs) -> Result<(), Failure> {
        engine::choose(instance, args).await
    }

    fn start(&self, instance: &Instance) -> Result<(), Failure> {
        let mut argv = role::command_line("keeper", instance);
        argv.push("--detach".into());
        keeper::spawn_detached(&argv, &role::environment()).map_err(|error| {
            let log = cli::commands::logs::tail(&instance.log_dir().join("keeper.log"), 10);
            Failure::new(Kind::Machine, error).log(log).fix("run `corten check`")
        })
    }

    fn foreground(&self, instance: &Instance) -> i32 {
        let argv = role::command_line("keeper", instance);
        #[expect(clippy::disallowed_methods, reason = "this process becomes the keeper: an exec of ourselves, no child")]
        let error = std::process::Command::new(program(instance)).args(&argv[1..]).exec();
        cli::out::talk(format!("error: {}: {error}", program(instance).display()));
        1
    }

    fn stop(&self, instance: &Instance) -> Result<(), Failure> {
        owner::verify(instance)?;
        match Control::connect(&instance.run_dir()).and_then(|mut control| control.shutdown(STOP_GRACE)) {
            Ok(()) | Err(ControlError::NotRunning(_)) => {}
            Err(error) => return Err(Failure::new(Kind::Other, error)),
        }
        sweep(instance).map(|_| ())
    }

    fn reset(&self, instance: &Instance) -> Result<Vec<String>, Failure> {
        owner::verify(instance)?;
        if let Some(left) = engine::left_behind(instance)? {
            cli::out::talk(left);
        }
        let mut removed = Vec::new();
        if let Some(state) = self.state(instance)? {
            removed
                .extend(state.processes.iter().filter(|process| process.pid.is_some()).map(|process| format!("process {}", process.name)));
            removed.push(format!("{} containers", state.containers));
        }
        match Control::connect(&instance.run_dir()).and_then(|mut control| control.shutdown(STOP_GRACE)) {
            Ok(()) | Err(ControlError::NotRunning(_)) => {}
            Err(error) => return Err(Failure::new(Kind::Other, error)),
        }
        removed.extend(sweep(instance)?);
        removed.extend(remove_folder(&instance.root)?);
        // Shared by instances: they go with the last one.
        for shared in [instance.run_dir(), instance.root.clone()] {
            if let Some(parent) = shared.parent().filter(|parent| parent.ends_with("corten")) {
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(removed)
    }

    fn admin(&self, instance: &Instance) -> Result<Admin, Failure> {
        let missing =
            || Failure::new(Kind::NotRunning, format!("there is no cluster {:?} here", instance.name)).fix("make it with `corten up`");
        if !pki_dir(instance).join("ca.crt").exists() {
            return Err(missing());
        }
        owner::verify(instance)?;
        let pki = self.pki(instance)?;
        let identity = pki.leaf(&Leaf::admin()).map_err(|error| Failure::new(Kind::Other, chain(&error)))?;
        let address = ([127, 0, 0, 1], instance.api_port()).into();
        let entry = Entry {
            name: instance.name.clone(),
            server: format!("https://{address}"),
            ca: pki.ca().to_owned(),
            client_certificate: identity.certificate.clone(),
            client_key: identity.key.clone(),
        };
        Ok(Admin { client: Client::new(https(address, &pki, &identity, &self.env)), entry })
    }

    async fn images(&self, instance: &Instance) -> Result<Vec<ImageRow>, Failure> {
        admin::ask(instance, "GET", "/images", &serde_json::Value::Null).await
    }

    async fn image_import(&self, instance: &Instance, archive: &Path, name: &str) -> Result<ImageRow, Failure> {
        admin::ask(instance, "POST", "/images/import", &serde_json::json!({"archive": archive, "name": name})).await
    }

    async fn image_load(&self, instance: &Instance, archive: &Path) -> Result<Vec<ImageRow>, Failure> {
        admin::ask(instance, "POST", "/images/load", &serde_json::json!({"archive": archive})).await
    }

    async fn image_remove(&self, instance: &Instance, name: &str) -> Result<(), Failure> {
        admin::ask(instance, "POST", "/images/remove", &serde_json::json!({"name": name})).await
    }
}

/// Nobody else's state is where ours is to be.
fn state_folder(instance: &Instance) -> Finding {
    const NAME: &str = "state";
    match owner::verify(instance) {
        Ok(()) => Finding::ok(NAME, instance.root.display().to_string()),
        Err(failure) => Finding::bad(NAME, Level::Failure, failure.what, failure.fix.unwrap_or_default()),
    }
}

/// What other people's packet filters do to pods.
fn firewall(instance: &Instance) -> Finding {
    const NAME: &str = "firewall";
    if let Ok(Some(fix)) = podnet::foreign::legacy_fix(instance) {
        let detail = "the older iptables' FORWARD policy is drop: pods are not reached from other machines, nor they from pods";
        return Finding::bad(NAME, Level::Warning, detail, fix);
    }
    match podnet::foreign::dropping_chains(instance) {
        Ok(chains) if chains.is_empty() => Finding::ok(NAME, "nothing in the way"),
        Ok(chains) => Finding::ok(NAME, format!("{} would drop pod traffic; `up` adds accepts and `down` removes them", chains.join(", "))),
        Err(error) => Finding::bad(NAME, Level::Warning, chain(&error), "see that nf_tables works: modprobe nf_tables"),
    }
}

fn https(address: std::net::SocketAddr, pki: &Pki, identity: &Identity, env: &Env) -> Arc<dyn Transport> {
    let tls = Arc::new(pki.client_config(Some(identity)));
    let server_name = "localhost".try_into().expect("a constant name");
    Https::new(
        HttpsConfig { address, server_name, tls, token: None, user_agent: concat!("corten/", env!("CARGO_PKG_VERSION")).into() },
        env,
    )
}

/// What a cluster leaves in the kernel when its keeper is gone, and what the keeper does not own; says what was there.
fn sweep(instance: &Instance) -> Result<Vec<String>, Failure> {
    let mut removed = crate::sweep::sweep(instance);
    // A keeper removes it at its end; one that was killed has not.
    removed.extend(remove_folder(&instance.run_dir())?);
    let swept = podnet::teardown(instance).map_err(|error| Failure::new(Kind::Other, chain(&error)))?;
    removed.extend(swept.removed);
    Ok(removed)
}

/// Its path, if it was there. Containers have written into it: nothing outside goes, however deep and linked it is. A folder that
/// somebody has mounted there is emptied and stays.
fn remove_folder(path: &Path) -> Result<Option<String>, Failure> {
    let failed = |error| Failure::io(path, error);
    let place = match fs::canonicalize(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        place => place.map_err(failed)?,
    };
    let top = beneath::open_top(&place).map_err(failed)?;
    for name in beneath::names(top.as_fd()).map_err(failed)? {
        beneath::remove(top.as_fd(), &name).map_err(failed)?;
    }
    match fs::remove_dir(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::ResourceBusy => Err(failed(error)),
        _ => Ok(Some(path.display().to_string())),
    }
}

fn install_program(instance: &Instance) -> Result<(), Failure> {
    let (ours, installed) = (Path::new("/proc/self/exe"), program(instance));
    folder(&instance.root.join("bin"), 0o755)?;
    if same_file(ours, &installed) {
        return Ok(());
    }
    let fresh = installed.with_extension(std::process::id().to_string());
    fs::copy(ours, &fresh).map_err(|error| Failure::io(&fresh, error))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).map_err(|error| Failure::io(&fresh, error))?;
    // Times tell copies of the same build apart from others without reading them.
    let modified = fs::metadata(ours).and_then(|meta| meta.modified()).map_err(|error| Failure::io(ours, error))?;
    let file = fs::File::options().write(true).open(&fresh).map_err(|error| Failure::io(&fresh, error))?;
    file.set_modified(modified).map_err(|error| Failure::io(&fresh, error))?;
    fs::rename(&fresh, &installed).map_err(|error| Failure::io(&installed, error))
}

fn same_file(a: &Path, b: &Path) -> bool {
    let facts = |path: &Path| fs::metadata(path).ok().and_then(|meta| Some((meta.len(), meta.modified().ok()?)));
    facts(a).is_some() && facts(a) == facts(b)
}

pub(crate) fn folder(path: &Path, mode: u32) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode))).map_err(|error| Failure::io(path, error))
}

/// Everything below belongs to `control`.
pub(crate) fn give(path: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::io(path, error);
    std::os::unix::fs::lchown(path, Some(CONTROL_USER.0), Some(CONTROL_USER.1)).map_err(failed)?;
    if fs::symlink_metadata(path).map_err(failed)?.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            give(&entry.map_err(failed)?.path())?;
        }
    }
    Ok(())
}

/// Writes a file that only root reads.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::io(path, error))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| Failure::io(path, error))?;
    chown(path, Some(0), Some(0)).map_err(|error| Failure::io(path, error))
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(|cause| format!(": {cause}"));
    error.to_string() + &causes.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_all_that_containers_left_in_it_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("a/link")).unwrap();
        // Deeper than a path can name.
        let mut folder = beneath::open_top(&root.join("a")).unwrap();
        let name = "d".repeat(200);
        for _ in 0..30 {
            rustix::fs::mkdirat(&folder, &*name, rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
            folder = beneath::open_dir(folder.as_fd(), &name).unwrap();
        }
        assert_eq!(remove_folder(&root).unwrap(), Some(root.display().to_string()));
        assert!(!root.exists() && outside.join("kept").exists());
        assert_eq!(remove_folder(&root).unwrap(), None);
    }
}
