//! Who somebody is and what he may: certificates that are asked for and approved, tokens, and what `auth can-i` says of both.

use std::path::Path;

use super::session::{Row, Session};

const ROLES: &[Row] = &[
    (&["create", "namespace", "office"], &["created"]),
    (&["create", "serviceaccount", "clerk", "-n", "office"], &["created"]),
    (&["create", "configmap", "files", "-n", "office", "--from-literal=a=b"], &["created"]),
    (&["create", "role", "reader", "-n", "office", "--verb=get,list", "--resource=configmaps"], &["created"]),
    (&["create", "rolebinding", "readers", "-n", "office", "--role=reader", "--serviceaccount=office:clerk", "--user=alice"], &["created"]),
];

const REVIEWS: &[Row] = &[
    (&["auth", "can-i", "--list"], &["Resources", "*.*", "[*]"]),
    (
        &["auth", "can-i", "--list", "-n", "office", "--as=alice"],
        &["configmaps", "[get list]", "selfsubjectaccessreviews.authorization.k8s.io", "[/version]"],
    ),
    (&["auth", "can-i", "get", "configmaps", "-n", "office", "--as=system:serviceaccount:office:clerk"], &["yes"]),
    (&["auth", "can-i", "get", "/healthz", "--as=alice"], &["yes"]),
    (&["auth", "can-i", "create", "deployments.apps/scale", "-A"], &["yes"]),
];

pub(crate) fn run(session: &mut Session<'_>) {
    session.rows(ROLES);
    session.rows(REVIEWS);
    session.ends_with(1, &["auth", "can-i", "delete", "configmaps", "-n", "office", "--as=alice"], &["no"]);
    session.ends_with(1, &["auth", "can-i", "get", "secrets/x", "--subresource=y", "-n", "office", "--as=alice"], &["no"]);
    who(session);
    certificate(session);
    token(session);
    session.shows(&["delete", "namespace", "office", "--timeout=60s"], &["deleted"]);
}

/// The oldest asks for versions that are not served any more, and says so.
fn who(session: &mut Session<'_>) {
    if session.program.ends_with("1.27") {
        session.ends_with(1, &["auth", "whoami"], &["the selfsubjectreviews API is not enabled in the cluster"]);
    } else {
        session.shows(&["auth", "whoami"], &["kubernetes-admin", "system:masters"]);
    }
}

/// A request that is approved is a certificate that the server takes; one that is denied stays without.
fn certificate(session: &mut Session<'_>) {
    let folder = session.machine.folder().to_owned();
    let key = folder.join("alice.key").display().to_string();
    let request = request(session, &key);
    for name in ["alice", "mallory"] {
        session.ends_with_fed(0, &signing_request(name, &request), &["apply", "-f", "-"], &[&format!("{name} created")]);
    }
    session.shows(&["get", "csr", "alice"], &["kubernetes.io/kube-apiserver-client", "60m", "Pending"]);
    session.shows(&["certificate", "approve", "alice"], &["alice approved"]);
    session.shows(&["wait", "--for=jsonpath={.status.conditions[0].type}=Approved", "csr/alice", "--timeout=30s"], &["condition met"]);
    let issued = session.until_value(&["get", "csr", "alice", "-o", "jsonpath={.status.certificate}"]);
    session.shows(&["get", "csr", "alice"], &["Approved,Issued"]);
    session.shows(&["certificate", "deny", "mallory"], &["mallory denied"]);
    session.shows(&["get", "csr", "mallory", "-o", "jsonpath={.status.conditions[*].type}|{.status.certificate}|"], &["Denied||"]);
    let certificate = folder.join("alice.crt");
    let decoded = session.machine.run_fed("base64", &["-d"], &issued).expect_ok("the certificate is base64");
    std::fs::write(&certificate, decoded).expect("our own folder");
    let credentials = [format!("--client-certificate={}", certificate.display()), format!("--client-key={key}")];
    let alice = kubeconfig(session, "alice", &credentials.each_ref().map(String::as_str));
    may_read_and_no_more(session, &alice, "User \"alice\" cannot delete resource");
    session.shows(&["delete", "csr", "alice", "mallory"], &["\"alice\" deleted"]);
}

/// PEM of a PKCS#10 request in base64, as the API wants it.
fn request(session: &mut Session<'_>, key: &str) -> String {
    let new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=alice/O=staff"];
    let pem = session.machine.run("openssl", &[&new[..], &["-keyout", key]].concat()).expect_ok("a request");
    session.machine.run_fed("base64", &["-w0"], &pem).expect_ok("base64").trim().to_owned()
}

fn signing_request(name: &str, request: &str) -> String {
    format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
         spec: {{request: {request}, signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], expirationSeconds: 3600}}\n"
    )
}

/// A bound token is a way in until its account goes.
fn token(session: &mut Session<'_>) {
    let token = session.value(&["create", "token", "clerk", "-n", "office", "--duration=20m"]);
    let clerk = kubeconfig(session, "clerk", &[&format!("--token={token}")]);
    may_read_and_no_more(session, &clerk, "User \"system:serviceaccount:office:clerk\" cannot delete resource");
    session.shows(&["delete", "serviceaccount", "clerk", "-n", "office"], &["deleted"]);
    session.ends_with(1, &[&clerk, "get", "configmaps", "-n", "office"], &["Unauthorized"]);
    session.ends_with(1, &["create", "token", "clerk", "-n", "office"], &["serviceaccounts \"clerk\" not found"]);
}

fn may_read_and_no_more(session: &mut Session<'_>, config: &str, refusal: &str) {
    session.shows(&[config, "get", "configmaps", "-n", "office"], &["files", "kube-root-ca.crt"]);
    session.ends_with(1, &[config, "delete", "configmap", "files", "-n", "office"], &["(Forbidden)", refusal]);
    session.shows(&[config, "auth", "can-i", "--list", "-n", "office"], &["configmaps", "[get list]"]);
}

/// `--kubeconfig=…` of another user of the same cluster, made with kubectl's own commands. Given twice, the last one counts.
fn kubeconfig(session: &mut Session<'_>, user: &str, credentials: &[&str]) -> String {
    let server = session.value(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]);
    let config = format!("--kubeconfig={}", session.machine.folder().join(user).display());
    let authority = authority(&session.machine.pki());
    let cluster = ["config", &config, "set-cluster", "c", &format!("--server={server}"), &authority, "--embed-certs=true"];
    session.shows(&cluster, &["Cluster \"c\" set."]);
    session.shows(&[&["config", &config, "set-credentials", user], credentials].concat(), &["set."]);
    session.shows(&["config", &config, "set-context", "x", "--cluster=c", &format!("--user={user}")], &["Context \"x\" created."]);
    session.shows(&["config", &config, "use-context", "x"], &["Switched to context \"x\"."]);
    config
}

fn authority(pki: &Path) -> String {
    format!("--certificate-authority={}", pki.join("ca.crt").display())
}
