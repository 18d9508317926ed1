//! Pods that cannot do what they are asked: each says why in its status, and goes when it is deleted.

use super::session::Session;

/// One container, and where the status must show which word.
struct Fault {
    name: &'static str,
    /// Fields of the pod's spec beside its container.
    pod: &'static str,
    /// Fields of the container beside its name.
    container: &'static str,
    shows: &'static [(&'static str, &'static str)],
}

const WAITING: &str = "state.waiting.reason";
const ENDED: &str = "state.terminated.reason";
const CODE: &str = "state.terminated.exitCode";

const FAULTS: &[Fault] = &[
    Fault {
        name: "crash",
        pod: "restartPolicy: Always",
        container: "image: busybox, command: [sh, -c, 'echo dying; exit 3']",
        shows: &[(WAITING, "CrashLoopBackOff"), ("lastState.terminated.exitCode", "3"), ("lastState.terminated.reason", "Error")],
    },
    Fault {
        name: "no-image",
        pod: "restartPolicy: Always",
        container: "image: 'registry.invalid/none:1'",
        shows: &[(WAITING, "ImagePullBackOff")],
    },
    Fault {
        name: "never-pulled",
        pod: "restartPolicy: Always",
        container: "image: 'registry.invalid/none:1', imagePullPolicy: Never",
        shows: &[(WAITING, "ErrImageNeverPull")],
    },
    Fault {
        name: "greedy",
        pod: "restartPolicy: Never",
        container: "image: busybox, command: [tail, /dev/zero], resources: {limits: {memory: 16Mi}}",
        shows: &[(ENDED, "OOMKilled"), (CODE, "137")],
    },
    Fault {
        name: "no-binary",
        pod: "restartPolicy: Never",
        container: "image: busybox, command: [/no/such]",
        shows: &[(ENDED, "StartError"), (CODE, "128")],
    },
    Fault {
        name: "no-program",
        pod: "restartPolicy: Never",
        container: "image: busybox, command: [/etc/passwd]",
        shows: &[(ENDED, "StartError"), (CODE, "128")],
    },
    Fault {
        name: "no-setting",
        pod: "restartPolicy: Always",
        container: "image: busybox, env: [{name: A, valueFrom: {configMapKeyRef: {name: missing, key: a}}}]",
        shows: &[(WAITING, "CreateContainerConfigError")],
    },
    Fault {
        name: "stubborn",
        pod: "terminationGracePeriodSeconds: 1",
        container: "image: busybox, command: [sh, -c, 'trap : TERM; while true; do sleep 1; done']",
        shows: &[("ready", "true")],
    },
];

/// Makes them first, so that they fail while other themes run.
pub(crate) fn begin(session: &mut Session<'_>) {
    let folder = session.machine.folder().join("faults");
    std::fs::create_dir_all(&folder).expect("our own folder");
    for Fault { name, pod, container, .. } in FAULTS {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{fault: 'yes'}}}}\nspec:\n  {pod}\n  containers: [{{name: main, {container}}}]\n"
        );
        std::fs::write(folder.join(format!("{name}.yaml")), text).expect("our own folder");
    }
    session.shows(&["create", "-f", &folder.to_string_lossy()], &["pod/crash created", "pod/stubborn created"]);
}

pub(crate) fn run(session: &mut Session<'_>) {
    for Fault { name, shows, .. } in FAULTS {
        for (field, word) in *shows {
            let condition = format!("--for=jsonpath={{.status.containerStatuses[0].{field}}}={word}");
            session.shows(&["wait", &condition, &format!("pod/{name}"), "--timeout=60s"], &["condition met"]);
        }
    }
    session.shows(&["logs", "crash", "--previous"], &["dying"]);
    session.ends_with(1, &["logs", "stubborn", "--previous"], &["previous terminated container \"main\" in pod \"stubborn\" not found"]);
    session.ends_with(1, &["logs", "no-image"], &["container \"main\" in pod \"no-image\" is waiting to start"]);
    // One that crashes or has no image goes back and forth between trying and waiting; the rows above have seen both wait.
    session.shows(&["get", "pods", "-l", "fault"], &["crash", "ImagePull", "OOMKilled", "StartError"]);
    session.shows(&["describe", "pod", "no-binary"], &["exec: \"/no/such\": stat /no/such: no such file or directory", "Failed"]);
    session.shows(
        &["get", "events", "--field-selector=involvedObject.name=no-image"],
        &["Error: ErrImagePull", "Error: ImagePullBackOff", "Back-off pulling image"],
    );
    session.shows(&["get", "events", "--field-selector=involvedObject.name=crash"], &["BackOff", "Back-off restarting failed container"]);
    session.shows(&["delete", "pod", "stubborn"], &["deleted"]);
    session.shows(&["delete", "pod", "crash", "--grace-period=0", "--force"], &["force deleted"]);
    session.shows(&["delete", "pods", "-l", "fault", "--now"], &["deleted"]);
    session.shows(&["get", "pods", "-l", "fault"], &["No resources found"]);
}
