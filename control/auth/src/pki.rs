//! The cluster's certificates and keys.
//!
//! Two certificate authorities (one for the cluster, one for the aggregation front proxy), a certificate for each server and
//! each component, and the key that signs service-account tokens. Everything is P-256, made on first use under one folder,
//! readable by its owner alone, and made again when a third of its life is left, when its names change, or when its
//! authority is a new one. A key that is there is never overwritten by anything but such a renewal.
//!
//! ```text
//! ca.crt ca.key                     issues every certificate below
//! front-proxy-ca.crt …key           issues front-proxy-client
//! <name>.crt <name>.key             one per Leaf
//! sa.key sa.pub                     signs tokens
//! ```

mod live;
mod request;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub use self::live::Live;
pub use self::request::{Request, organizations, request};
use crate::{MASTERS, NODE_PREFIX, NODES};

const DAY: u64 = 24 * 3600;
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * DAY);
const LEAF_LIFE: Duration = Duration::from_secs(365 * DAY);
/// Clocks of one cluster differ by less.
const SKEW: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{path}: {source}; the folder must be writable by the control process")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: not what it should be ({why}); move it away and a new one is made")]
    Broken { path: PathBuf, why: String },
    #[error("making a certificate for {name}: {why}")]
    Make { name: String, why: String },
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Identity {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes()).filter_map(Result::ok).collect()
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("an identity's key was checked when it was read or made")
    }
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// File name without extension.
    pub file: String,
    pub common_name: String,
    /// A group of the user that a client certificate is.
    pub organization: Option<String>,
    /// DNS names and IP addresses of a server; empty: no server.
    pub names: Vec<String>,
    pub client: bool,
    /// Issued by the front proxy's authority instead of the cluster's.
    pub by_front_proxy: bool,
}

impl Leaf {
    /// The API server: `names` beside the ones that every cluster has.
    pub fn api_server(names: &[String]) -> Self {
        let usual = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            "::1",
        ];
        let mut all: Vec<String> = usual.iter().map(|name| (*name).to_owned()).collect();
        all.extend(names.iter().filter(|name| !usual.contains(&name.as_str())).cloned());
        Self {
            file: "apiserver".into(),
            common_name: "kube-apiserver".into(),
            organization: None,
            names: all,
            client: false,
            by_front_proxy: false,
        }
    }

    /// The API server as the client of node agents.
    pub fn api_server_to_agent() -> Self {
        Self::client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", Some(MASTERS))
    }

    /// The person who set the cluster up.
    pub fn admin() -> Self {
        Self::client("admin", "kubernetes-admin", Some(MASTERS))
    }

    /// `system:kube-scheduler`, `system:kube-controller-manager` …
    pub fn component(user: &str) -> Self {
        Self::client(user.strip_prefix("system:").unwrap_or(user), user, None)
    }

    /// A node's agent as a client of the API.
    pub fn node_client(node: &str) -> Self {
        Self::client(&format!("node-{node}"), &format!("{NODE_PREFIX}{node}"), Some(NODES))
    }

    /// A node's agent as a server (10250): `names` are its host name and addresses.
    pub fn node_server(node: &str, names: &[String]) -> Self {
        let common_name = format!("{NODE_PREFIX}{node}");
        let (file, organization) = (format!("node-{node}-server"), Some(NODES.into()));
        Self { file, common_name, organization, names: names.to_vec(), client: false, by_front_proxy: false }
    }

    /// The API server as the client of other API servers, which believe it when it says who asks.
    pub fn front_proxy() -> Self {
        Self { by_front_proxy: true, ..Self::client("front-proxy-client", "front-proxy-client", None) }
    }

    pub fn client(file: &str, common_name: &str, organization: Option<&str>) -> Self {
        Self {
            file: file.into(),
            common_name: common_name.into(),
            organization: organization.map(str::to_owned),
            names: Vec::new(),
            client: true,
            by_front_proxy: false,
        }
    }
}

/// The folder with both authorities and the signing key in it.
pub struct Pki {
    dir: PathBuf,
    env: Env,
    ca: Authority,
    front_proxy: Authority,
    signing_key: String,
}

struct Authority {
    certificate: String,
    key: String,
}

impl Pki {
    /// Opens the folder; makes it, the authorities and the signing key where they are missing, and renews an authority in time.
    pub fn ensure(dir: &Path, env: &Env) -> Result<Self, PkiError> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| PkiError::Io { path: dir.to_owned(), source })?;
        Ok(Self {
            ca: authority(dir, env, "ca", "corten-ca")?,
            front_proxy: authority(dir, env, "front-proxy-ca", "corten-front-proxy-ca")?,
            signing_key: signing_key(dir)?,
            dir: dir.to_owned(),
            env: env.clone(),
        })
    }

    /// PEM of the cluster's certificate authority.
    pub fn ca(&self) -> &str {
        &self.ca.certificate
    }

    /// PEM of the front proxy's certificate authority.
    pub fn front_proxy_ca(&self) -> &str {
        &self.front_proxy.certificate
    }

    /// PEM (PKCS#8) of the key that signs service-account tokens.
    pub fn signing_key(&self) -> &str {
        &self.signing_key
    }

    /// The certificate for `leaf`: the one on disk while it is good, else a new one.
    pub fn leaf(&self, leaf: &Leaf) -> Result<Identity, PkiError> {
        let (crt, key) = self.paths(&leaf.file);
        if let Some(held) = read_pair(&crt, &key)?
            && self.is_good(&held, leaf)
        {
            return Ok(held);
        }
        let made = issue(self.issuer(leaf), leaf, &self.env)?;
        write_pair(&crt, &key, &made)?;
        Ok(made)
    }

    /// How long `identity` is still good for before [`Pki::leaf`] makes a new one.
    pub fn renewal(&self, identity: &Identity) -> Duration {
        renewal(identity, &self.env)
    }

    /// The certificate for `leaf`, exchanged for a new one in time for as long as the environment runs.
    pub fn keep_fresh(self: &Arc<Self>, leaf: Leaf) -> Result<Arc<Live>, PkiError> {
        /// A machine that sleeps does not count the time; and no more often than this after a failure (a full disk).
        const LOOK_EVERY: Duration = Duration::from_secs(12 * 3600);
        const AGAIN: Duration = Duration::from_secs(3600);
        let mut identity = self.leaf(&leaf)?;
        let make = |why| PkiError::Make { name: leaf.common_name.clone(), why };
        let live = Live::new(&identity).map_err(make)?;
        let (pki, shared, shutdown) = (Arc::clone(self), Arc::clone(&live), self.env.shutdown().clone());
        self.env.spawn("certificate-renewal", async move {
            let renewing = async {
                loop {
                    pki.env.sleep(pki.renewal(&identity).clamp(AGAIN, LOOK_EVERY)).await;
                    let fresh = pki.leaf(&leaf).map_err(|error| error.to_string());
                    match fresh.and_then(|fresh| shared.exchange(&fresh).map(|()| fresh)) {
                        Ok(fresh) => identity = fresh,
                        Err(error) => tracing::error!(certificate = leaf.common_name, %error, "not renewed, trying again"),
                    }
                }
            };
            shutdown.run_until_cancelled(renewing).await
        });
        Ok(live)
    }

    /// A kubeconfig of one context called `name` for `identity` at `server` (`https://127.0.0.1:6443`). JSON, which is YAML too.
    pub fn kubeconfig(&self, name: &str, server: &str, identity: &Identity) -> String {
        let entry = client::kubeconfig::Entry {
            name: name.to_owned(),
            server: server.to_owned(),
            ca: self.ca.certificate.clone(),
            client_certificate: identity.certificate.clone(),
            client_key: identity.key.clone(),
        };
        serde_json::to_string_pretty(&entry.to_value()).expect("a document serialises into memory")
    }

    /// TLS for a client that trusts this cluster's servers, with a certificate of its own where it has one.
    pub fn client_config(&self, identity: Option<&Identity>) -> ClientConfig {
        client_config(&self.ca.certificate, identity)
    }

    fn issuer(&self, leaf: &Leaf) -> &Authority {
        if leaf.by_front_proxy { &self.front_proxy } else { &self.ca }
    }

    fn paths(&self, file: &str) -> (PathBuf, PathBuf) {
        (self.dir.join(format!("{file}.crt")), self.dir.join(format!("{file}.key")))
    }

    /// Whether `held` is by our authority, says what `leaf` says, and has more than a third of its life left.
    fn is_good(&self, held: &Identity, leaf: &Leaf) -> bool {
        let Some(der) = held.chain().into_iter().next() else { return false };
        let Ok((_, cert)) = X509Certificate::from_der(&der) else { return false };
        let Ok(ca) = CertificateDer::from_pem_slice(self.issuer(leaf).certificate.as_bytes()) else { return false };
        let Ok((_, ca)) = X509Certificate::from_der(&ca) else { return false };
        cert.verify_signature(Some(ca.public_key())).is_ok()
            && has_life_left(&cert, &self.env)
            && attribute(cert.subject().iter_common_name()) == Some(leaf.common_name.as_str())
            && attribute(cert.subject().iter_organization()) == leaf.organization.as_deref()
            && same_names(&cert, &leaf.names)
    }
}

/// Until a third of the certificate's life is left; zero for one that cannot be read.
pub fn renewal(identity: &Identity, env: &Env) -> Duration {
    let Some(der) = identity.chain().into_iter().next() else { return Duration::ZERO };
    let Ok((_, cert)) = X509Certificate::from_der(&der) else { return Duration::ZERO };
    let (start, end) = (cert.validity().not_before.timestamp(), cert.validity().not_after.timestamp());
    let left = end - (end - start) / 3 - env.now().as_second();
    Duration::from_secs(left.max(0).unsigned_abs())
}

/// As [`client_config`], with a certificate that may be exchanged at any time.
pub fn live_client_config(ca: &str, live: &Arc<Live>) -> ClientConfig {
    let mut config = client_config(ca, None);
    config.client_auth_cert_resolver = Arc::clone(live) as _;
    // A resumed session would be the old certificate's.
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// TLS for a client that trusts the authority `ca` (PEM).
pub fn client_config(ca: &str, identity: Option<&Identity>) -> ClientConfig {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(ca.as_bytes()).filter_map(Result::ok));
    let builder = ClientConfig::builder().with_root_certificates(roots);
    match identity {
        Some(identity) => {
            builder.with_client_auth_cert(identity.chain(), identity.private_key()).expect("an identity's key fits its certificate")
        }
        None => builder.with_no_client_auth(),
    }
}

fn attribute<'a>(mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>) -> Option<&'a str> {
    values.next().and_then(|value| value.as_str().ok())
}

fn has_life_left(cert: &X509Certificate<'_>, env: &Env) -> bool {
    let (start, end) = (cert.validity().not_before.timestamp(), cert.validity().not_after.timestamp());
    let now = env.now().as_second();
    start <= now && end - now > (end - start) / 3
}

fn same_names(cert: &X509Certificate<'_>, wanted: &[String]) -> bool {
    let held = cert.subject_alternative_name().ok().flatten().map(|extension| &extension.value.general_names);
    let mut held: Vec<String> = held.into_iter().flatten().filter_map(name_text).collect();
    let mut wanted: Vec<String> =
        wanted.iter().map(|name| name.parse::<std::net::IpAddr>().map_or_else(|_| name.clone(), |ip| ip.to_string())).collect();
    held.sort();
    wanted.sort();
    held == wanted
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// The authority on disk while it is good, else a new one; certificates of an old one are renewed as they are next asked for.
fn authority(dir: &Path, env: &Env, file: &str, name: &str) -> Result<Authority, PkiError> {
    let (crt, key) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
    if let Some(held) = read_pair(&crt, &key)? {
        let der = held.chain().into_iter().next().ok_or_else(|| broken(&crt, "no certificate in it"))?;
        let (_, cert) = X509Certificate::from_der(&der).map_err(|error| broken(&crt, error))?;
        if has_life_left(&cert, env) {
            return Ok(Authority { certificate: held.certificate, key: held.key });
        }
    }
    let made = make_authority(name, env).map_err(|why| PkiError::Make { name: name.to_owned(), why: why.to_string() })?;
    write_pair(&crt, &key, &made)?;
    Ok(Authority { certificate: made.certificate, key: made.key })
}

fn make_authority(name: &str, env: &Env) -> Result<Identity, rcgen::Error> {
    // The suffix keeps the names of two generations apart: path building goes by name.
    let mut params = params(&format!("{name}@{}", env.now().as_second()), None, AUTHORITY_LIFE, env)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;
    Ok(Identity { certificate: issuer.pem(), key: issuer.key().serialize_pem() })
}

fn issue(authority: &Authority, leaf: &Leaf, env: &Env) -> Result<Identity, PkiError> {
    make_leaf(authority, leaf, env).map_err(|why| PkiError::Make { name: leaf.common_name.clone(), why: why.to_string() })
}

fn make_leaf(authority: &Authority, leaf: &Leaf, env: &Env) -> Result<Identity, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let mut params = params(&leaf.common_name, leaf.organization.as_deref(), LEAF_LIFE, env)?;
    leaf_params(&mut params, leaf)?;
    purposes(&mut params, leaf);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Who and where.
fn leaf_params(params: &mut CertificateParams, leaf: &Leaf) -> Result<(), rcgen::Error> {
    params.distinguished_name = distinguished_name(&leaf.common_name, leaf.organization.as_deref());
    for name in &leaf.names {
        params.subject_alt_names.push(match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    Ok(())
}

/// What for.
fn purposes(params: &mut CertificateParams, leaf: &Leaf) {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if !leaf.names.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if leaf.client {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    params.use_authority_key_identifier_extension = true;
}

fn params(common_name: &str, organization: Option<&str>, life: Duration, env: &Env) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = distinguished_name(common_name, organization);
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(env.now().as_second().max(0).unsigned_abs());
    params.not_before = now - SKEW;
    params.not_after = now + life;
    params.serial_number = Some(SerialNumber::from_slice(&serial()));
    Ok(params)
}

fn distinguished_name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// 16 random bytes, positive.
fn serial() -> [u8; 16] {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the crypto provider has randomness");
    bytes[0] = bytes[0] & 0x7f | 0x40;
    bytes
}

fn signing_key(dir: &Path) -> Result<String, PkiError> {
    let (key, public) = (dir.join("sa.key"), dir.join("sa.pub"));
    if let Some(pem) = read(&key)? {
        KeyPair::from_pem(&pem).map_err(|error| broken(&key, error))?;
        return Ok(pem);
    }
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|why| PkiError::Make { name: "the token key".into(), why: why.to_string() })?;
    write(&key, &pair.serialize_pem())?;
    write(&public, &pair.public_key_pem())?;
    Ok(pair.serialize_pem())
}

fn read_pair(crt: &Path, key: &Path) -> Result<Option<Identity>, PkiError> {
    match (read(crt)?, read(key)?) {
        (Some(certificate), Some(pem)) => {
            PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| broken(key, error))?;
            Ok(Some(Identity { certificate, key: pem }))
        }
        _ => Ok(None),
    }
}

/// The key first: a certificate without its key is made again, a key without its certificate too.
fn write_pair(crt: &Path, key: &Path, identity: &Identity) -> Result<(), PkiError> {
    if crt.exists() {
        fs::remove_file(crt).map_err(|source| PkiError::Io { path: crt.to_owned(), source })?;
    }
    write(key, &identity.key)?;
    write(crt, &identity.certificate)
}

fn broken(path: &Path, why: impl std::fmt::Display) -> PkiError {
    PkiError::Broken { path: path.to_owned(), why: why.to_string() }
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::Io { path: path.to_owned(), source }),
    }
}

/// Whole or not at all, and never readable by others in between.
fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    let new = path.with_extension("new");
    let fault = |source| PkiError::Io { path: path.to_owned(), source };
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(fault)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)?;
    fs::rename(&new, path).map_err(fault)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn certificates_stay_until_a_third_of_their_life_is_left() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::sim(1));
        let pki = Pki::ensure(dir.path(), &env).unwrap();
        let leaf = Leaf::api_server(&["10.96.0.1".into(), "box".into()]);
        let first = pki.leaf(&leaf).unwrap();
        let again = Pki::ensure(dir.path(), &env).unwrap();
        assert_eq!(again.ca(), pki.ca());
        assert_eq!(again.signing_key(), pki.signing_key());
        assert_eq!(again.leaf(&leaf).unwrap().certificate, first.certificate);
        let days = again.renewal(&first).as_secs() / DAY;
        assert!((240..245).contains(&days), "two thirds of a year, not {days} days");
        let renamed = again.leaf(&Leaf::api_server(&["10.96.0.2".into()])).unwrap();
        assert_ne!(renamed.certificate, first.certificate, "other names need another certificate");
        tokio::time::advance(Duration::from_secs(250 * DAY)).await;
        assert_ne!(again.leaf(&Leaf::api_server(&["10.96.0.2".into()])).unwrap().certificate, renamed.certificate);
    }

    #[test]
    fn every_file_is_its_owners_alone() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        let pki = Pki::ensure(&dir.path().join("pki"), &env).unwrap();
        pki.leaf(&Leaf::admin()).unwrap();
        for entry in fs::read_dir(dir.path().join("pki")).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        }
    }

    #[test]
    fn a_new_authority_renews_its_leaves() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        let old = Pki::ensure(dir.path(), &env).unwrap().leaf(&Leaf::admin()).unwrap();
        fs::remove_file(dir.path().join("ca.crt")).unwrap();
        let new = Pki::ensure(dir.path(), &env).unwrap().leaf(&Leaf::admin()).unwrap();
        assert_ne!(old.certificate, new.certificate);
    }

    #[test]
    fn the_front_proxys_certificate_is_its_authoritys_and_no_user_of_ours() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        let pki = Pki::ensure(dir.path(), &env).unwrap();
        let identity = pki.leaf(&Leaf::front_proxy()).unwrap();
        let known = |ca: &str| crate::certificate::ClientCertificates::new(ca, &env).unwrap().identify(&identity.chain()).is_some();
        assert!(known(pki.front_proxy_ca()) && !known(pki.ca()));
        assert_eq!(pki.leaf(&Leaf::front_proxy()).unwrap().certificate, identity.certificate, "kept while it is good");
    }

    #[test]
    fn a_broken_key_is_named_and_not_replaced() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        Pki::ensure(dir.path(), &env).unwrap();
        fs::write(dir.path().join("sa.key"), "junk").unwrap();
        let error = Pki::ensure(dir.path(), &env).err().expect("junk is no key").to_string();
        assert!(error.contains("sa.key"), "{error}");
    }
}
