//! Texts of the files that every container gets: hosts, resolv.conf, host name.

use kinds::core::{Pod, PodSpec};

const HOSTNAME_MAX: usize = 63;
const NAMESERVERS_MAX: usize = 3;

/// `/etc/hosts` of a pod with a network of its own.
pub(crate) fn hosts(spec: &PodSpec, ips: &[String], hostname: &str, domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        let line = if domain.is_empty() { format!("{ip}\t{hostname}\n") } else { format!("{ip}\t{hostname}.{domain}\t{hostname}\n") };
        text.push_str(&line);
    }
    text + &aliases(spec)
}

/// `/etc/hosts` of a pod on the host's network.
pub(crate) fn host_network_hosts(spec: &PodSpec, host: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{host}{}", aliases(spec))
}

fn aliases(spec: &PodSpec) -> String {
    if spec.host_aliases.is_empty() {
        return String::new();
    }
    let lines = spec.host_aliases.iter().map(|alias| format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
    format!("\n# Entries added by HostAliases.\n{}", lines.collect::<String>())
}

/// The pod's host name and, with a subdomain, its domain.
pub(crate) fn hostname(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = &pod.spec;
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (name.to_owned(), String::new());
    }
    let own = if spec.hostname.is_empty() { &pod.metadata.name } else { &spec.hostname };
    let short = own[..own.len().min(HOSTNAME_MAX)].trim_end_matches(['-', '.']).to_owned();
    let domain = match spec.subdomain.as_str() {
        "" => String::new(),
        subdomain => format!("{subdomain}.{}.svc.{cluster_domain}", pod.metadata.namespace),
    };
    (short, domain)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Dns {
    /// Reads a resolv.conf; what it does not know it leaves out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut dns = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => dns.nameservers.extend(words.next()),
                // The last of them counts.
                Some("search" | "domain") => dns.searches = words.filter(|word| word != ".").collect(),
                Some("options") => dns.options = words.collect(),
                _ => {}
            }
        }
        dns
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        self.nameservers.iter().for_each(|server| text.push_str(&format!("nameserver {server}\n")));
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// What the pod's `dnsPolicy` and `dnsConfig` make of the host's settings.
pub(crate) fn dns(pod: &Pod, host: &Dns, dns_ip: &str, cluster_domain: &str) -> Dns {
    let spec = &pod.spec;
    let mut dns = match (spec.dns_policy.as_str(), spec.host_network) {
        ("None", _) => Dns::default(),
        ("Default", _) | ("ClusterFirst" | "", true) => host.clone(),
        _ => cluster_dns(&pod.metadata.namespace, host, dns_ip, cluster_domain),
    };
    if let Some(config) = &spec.dns_config {
        add_new(&mut dns.nameservers, &config.nameservers);
        add_new(&mut dns.searches, &config.searches);
        for option in &config.options {
            dns.options.retain(|held| held.split(':').next() != Some(&option.name));
            dns.options.push(option.value.as_ref().map_or_else(|| option.name.clone(), |value| format!("{}:{value}", option.name)));
        }
    }
    dns.nameservers.truncate(NAMESERVERS_MAX);
    dns
}

fn cluster_dns(namespace: &str, host: &Dns, dns_ip: &str, domain: &str) -> Dns {
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
    add_new(&mut searches, &host.searches);
    Dns { nameservers: vec![dns_ip.to_owned()], searches, options: vec!["ndots:5".into()] }
}

fn add_new(list: &mut Vec<String>, more: &[String]) {
    for one in more {
        if !list.contains(one) {
            list.push(one.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn pod(spec: schema::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "d"}, "spec": spec})).unwrap()
    }

    #[test]
    fn dns_policies() {
        let host = Dns::parse("# x\nnameserver 9.9.9.9\nsearch corp.example\noptions timeout:1 rotate\n");
        let config =
            json!({"nameservers": ["1.1.1.1"], "searches": ["x.y"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        for (spec, want) in [
            (json!({}), "search d.svc.c svc.c c corp.example\nnameserver 10.0.0.10\noptions ndots:5\n"),
            (json!({"dnsPolicy": "Default"}), "search corp.example\nnameserver 9.9.9.9\noptions timeout:1 rotate\n"),
            (
                json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}),
                "search corp.example\nnameserver 9.9.9.9\noptions timeout:1 rotate\n",
            ),
            (
                json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}),
                "search d.svc.c svc.c c corp.example\nnameserver 10.0.0.10\noptions ndots:5\n",
            ),
            (json!({"dnsPolicy": "None", "dnsConfig": config}), "search x.y\nnameserver 1.1.1.1\noptions ndots:2 edns0\n"),
            (
                json!({"dnsConfig": config}),
                "search d.svc.c svc.c c corp.example x.y\nnameserver 10.0.0.10\nnameserver 1.1.1.1\noptions ndots:2 edns0\n",
            ),
        ] {
            assert_eq!(dns(&pod(spec.clone()), &host, "10.0.0.10", "c").text(), want, "{spec}");
        }
    }

    #[test]
    fn hosts_and_names() {
        let pod = pod(json!({"hostname": "h", "subdomain": "s", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
        let (name, domain) = hostname(&pod, "c");
        let text = hosts(&pod.spec, &["10.1.0.2".into()], &name, &domain);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("10.1.0.2\th.s.d.svc.c\th\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
        assert!(
            host_network_hosts(&pod.spec, "127.0.0.1 x\n").starts_with("# Kubernetes-managed hosts file (host network).\n127.0.0.1 x\n")
        );
    }

    #[test]
    fn a_long_pod_name_is_cut_to_a_host_name() {
        let mut pod = pod(json!({}));
        pod.metadata.name = format!("{}-{}", "a".repeat(62), "tail");
        assert_eq!(hostname(&pod, "c").0, "a".repeat(62));
    }
}
