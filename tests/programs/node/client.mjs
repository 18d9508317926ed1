// The Node client: typed and dynamic, an informer that resumes, a raw watch, streams. Each part says what it covers.

import assert from "node:assert/strict";
import net from "node:net";
import { PassThrough, Writable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import * as k8s from "@kubernetes/client-node";

const namespace = "default";
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

async function refused(code, reason, call) {
    await assert.rejects(call, (error) => {
        assert.equal(error.code, code, String(error));
        assert.equal(JSON.parse(error.body).reason, reason);
        return true;
    });
}

/** Waits until `so` gives something, for a bound against hangs. */
async function until(what, so) {
    for (const end = Date.now() + 60_000; Date.now() < end; await pause(50)) {
        const got = await so();
        if (got) return got;
    }
    throw new Error(`${what}: not within a minute`);
}

async function typed() {
    const map = (name, data) => ({ metadata: { name, labels: { set: "node" } }, data });
    const made = await core.createNamespacedConfigMap({ namespace, body: map("typed", { a: "1" }), fieldManager: "node" });
    assert(made.metadata.creationTimestamp instanceof Date && made.metadata.managedFields[0].manager === "node");
    await refused(409, "AlreadyExists", () => core.createNamespacedConfigMap({ namespace, body: map("typed", {}) }));
    await refused(404, "NotFound", () => core.readNamespacedConfigMap({ name: "nowhere", namespace }));
    const patches = [
        [k8s.PatchStrategy.JsonPatch, [{ op: "add", path: "/data/json", value: "1" }]],
        [k8s.PatchStrategy.MergePatch, { data: { merge: "1" } }],
        [k8s.PatchStrategy.StrategicMergePatch, { data: { strategic: "1" } }],
    ];
    for (const [kind, body] of patches) {
        await core.patchNamespacedConfigMap({ name: "typed", namespace, body }, k8s.setHeaderOptions("Content-Type", kind));
    }
    const held = await core.readNamespacedConfigMap({ name: "typed", namespace });
    assert.deepEqual(held.data, { a: "1", json: "1", merge: "1", strategic: "1" });
    held.data = { b: "2" };
    await core.replaceNamespacedConfigMap({ name: "typed", namespace, body: held });
    await refused(409, "Conflict", () => core.replaceNamespacedConfigMap({ name: "typed", namespace, body: held }));
    const page = await core.listNamespacedConfigMap({ namespace, limit: 1 });
    assert(page.items.length === 1 && page.metadata._continue && page.metadata.remainingItemCount > 0);
    const gone = await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: "set=node" });
    assert(gone);
    const version = await config.makeApiClient(k8s.VersionApi).getCode();
    assert.equal(version.minor, "37");
}

async function dynamic() {
    const objects = k8s.KubernetesObjectApi.makeApiClient(config);
    const schema = { openAPIV3Schema: { type: "object", properties: { spec: { type: "object", properties: { text: { type: "string" } } } } } };
    const definition = {
        apiVersion: "apiextensions.k8s.io/v1", kind: "CustomResourceDefinition", metadata: { name: "notes.node.example.com" },
        spec: {
            group: "node.example.com", scope: "Namespaced", names: { plural: "notes", singular: "note", kind: "Note", listKind: "NoteList" },
            versions: [{ name: "v1", served: true, storage: true, schema }],
        },
    };
    await objects.create(definition);
    await until("the definition is established", async () => {
        const held = await objects.read(definition);
        return held.status?.conditions?.some((one) => one.type === "Established" && one.status === "True");
    });
    const note = { apiVersion: "node.example.com/v1", kind: "Note", metadata: { name: "one", namespace }, spec: { text: "a" } };
    const apply = (text, manager, force) =>
        objects.patch({ ...note, spec: { text } }, undefined, undefined, manager, force, k8s.PatchStrategy.ServerSideApply);
    await apply("a", "node");
    await assert.rejects(apply("b", "other"), (error) => error.code === 409 && error.body.includes('conflict with \\"node\\"'));
    await apply("b", "other", true);
    const custom = config.makeApiClient(k8s.CustomObjectsApi);
    const list = await custom.listNamespacedCustomObject({ group: "node.example.com", version: "v1", namespace, plural: "notes" });
    assert.deepEqual(list.items.map((one) => one.spec.text), ["b"]);
    await objects.delete(note);
    await objects.delete(definition);
}

async function informer() {
    const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: "set=informed" });
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const watcher = k8s.makeInformer(config, path, list, "set=informed");
    const seen = [];
    for (const event of ["add", "update", "delete"]) {
        watcher.on(event, (object) => seen.push(`${event} ${object.metadata.name}`));
    }
    const errors = [];
    watcher.on("error", (error) => {
        errors.push(error);
        setTimeout(() => watcher.start(), 100);
    });
    await watcher.start();
    const body = { metadata: { name: "informed", labels: { set: "informed" } } };
    await core.createNamespacedConfigMap({ namespace, body });
    await until("the add is seen", () => seen.includes("add informed"));
    await core.patchNamespacedConfigMap({ name: "informed", namespace, body: { data: { a: "b" } } },
        k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.MergePatch));
    await until("the update is seen", () => seen.includes("update informed"));
    await core.deleteNamespacedConfigMap({ name: "informed", namespace });
    await until("the delete is seen", () => seen.includes("delete informed"));
    await watcher.stop();
    assert.deepEqual(seen, ["add informed", "update informed", "delete informed"]);
}

/** The server ends each watch after a second; the next one begins at the last event's revision. */
async function resumed() {
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    let resourceVersion = (await core.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
    const [total, seen, watch] = [8, [], new k8s.Watch(config)];
    const writing = (async () => {
        for (let number = 0; number < total; number++) {
            await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: `resumed-${number}`, labels: { set: "resumed" } } } });
            await pause(300);
        }
    })();
    const once = () => new Promise((resolve, reject) => {
        const query = { resourceVersion, labelSelector: "set=resumed", timeoutSeconds: 1, allowWatchBookmarks: true };
        const take = (type, object) => {
            resourceVersion = object.metadata.resourceVersion;
            if (type !== "BOOKMARK") seen.push(`${type} ${object.metadata.name}`);
        };
        watch.watch(path, query, take, (error) => (error ? reject(error) : resolve())).catch(reject);
    });
    let rounds = 0;
    await until("all is seen", async () => {
        rounds++;
        await once();
        return seen.length >= total;
    });
    await writing;
    assert.deepEqual(seen, Array.from({ length: total }, (_, number) => `ADDED resumed-${number}`));
    assert(rounds > 1, "the server ended a watch in between");
    await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: "set=resumed" });
}

async function streams() {
    const pods = await core.listNamespacedPod({ namespace, labelSelector: "app=hello", fieldSelector: "status.phase=Running" });
    const pod = pods.items[0].metadata.name;
    assert((await core.readNamespacedPodLog({ name: pod, namespace })).includes(`hello from ${pod}`));
    const run = (command) => new Promise((resolve, reject) => {
        const said = { out: "", err: "" };
        const into = (name) => new Writable({ write(piece, _, next) { said[name] += piece; next(); } });
        new k8s.Exec(config).exec(namespace, pod, "hello", command, into("out"), into("err"), null, false,
            (status) => resolve({ ...said, status })).catch(reject);
    });
    const good = await run(["/corten", "version"]);
    assert(good.status.status === "Success" && good.out.startsWith("corten "), JSON.stringify(good));
    const bad = await run(["/corten", "nonsense"]);
    assert(bad.status.details.causes[0].message === "2" && bad.err, JSON.stringify(bad));
    const forward = new k8s.PortForward(config);
    const server = net.createServer((socket) => forward.portForward(namespace, pod, [8080], socket, null, socket));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const page = await (await fetch(`http://127.0.0.1:${server.address().port}/`, { headers: { connection: "close" } })).text();
    server.close();
    assert(page.includes(`pod: ${pod}`), page);
    const lines = new PassThrough();
    const following = await new k8s.Log(config).log(namespace, pod, "hello", lines, { follow: true, tailLines: 1 });
    const [first] = await new Promise((resolve) => lines.once("data", (piece) => resolve([String(piece)])));
    following.abort();
    assert(first.includes("hello from"), first);
}

async function workloads() {
    const labels = { app: "node" };
    const template = { metadata: { labels }, spec: { containers: [{ name: "page", image: "corten.local/hello" }] } };
    const body = { metadata: { name: "node" }, spec: { replicas: 1, selector: { matchLabels: labels }, template } };
    await apps.createNamespacedDeployment({ namespace, body });
    await until("the Deployment is ready", async () => {
        const held = await apps.readNamespacedDeployment({ name: "node", namespace });
        return held.status.readyReplicas === 1;
    });
    const review = await config.makeApiClient(k8s.AuthorizationV1Api).createSelfSubjectAccessReview({
        body: { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes: { verb: "create", resource: "pods" } } },
    });
    assert.equal(review.status.allowed, true);
    await apps.deleteNamespacedDeployment({ name: "node", namespace });
}

const parts = [
    ["typed clients: create, patch in every form, replace, conflict, pages, delete", typed],
    ["the dynamic client: a custom kind, server-side apply with a conflict", dynamic],
    ["an informer sees add, update and delete", informer],
    ["a watch goes on at the last event's revision", resumed],
    ["exec, port-forward, logs", streams],
    ["a Deployment until it is ready, an access review", workloads],
];
let failed = 0;
for (const [name, part] of parts) {
    try {
        await part();
        console.log("ok   ", name);
    } catch (error) {
        failed++;
        console.log("FAIL ", name, "\n   ", error);
    }
}
process.exit(failed > 0 ? 1 : 0);
