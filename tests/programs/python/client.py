"""The Python client: typed and dynamic, watches that resume, streams, tokens, errors. Each part says what it covers."""

import base64
import sys
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import NotFoundError
from kubernetes.stream import portforward, stream

NAMESPACE = "default"
GROUP, VERSION, PLURAL = "python.example.com", "v1", "scrolls"


def crd():
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"text": {"type": "string"}, "lines": {"type": "integer", "default": 1}}},
            "status": {"type": "object", "properties": {"read": {"type": "boolean"}}},
        },
    }
    version = {"name": VERSION, "served": True, "storage": True, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": PLURAL, "singular": "scroll", "kind": "Scroll", "listKind": "ScrollList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def typed():
    """typed clients: create, read, list in pages, patch in every form, replace, conflict, delete"""
    core = client.CoreV1Api()
    for number in range(5):
        meta = client.V1ObjectMeta(name=f"typed-{number}", labels={"set": "python"})
        core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=meta, data={"n": str(number)}), field_manager="python")
    first = core.list_namespaced_config_map(NAMESPACE, label_selector="set=python", limit=2)
    assert len(first.items) == 2 and first.metadata.remaining_item_count is None, first.metadata
    names, token = [item.metadata.name for item in first.items], first.metadata._continue
    while token:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="set=python", limit=2, _continue=token)
        names, token = names + [item.metadata.name for item in page.items], page.metadata._continue
    assert names == [f"typed-{number}" for number in range(5)], names

    core.patch_namespaced_config_map("typed-0", NAMESPACE, {"data": {"strategic": "1"}})
    core.patch_namespaced_config_map("typed-0", NAMESPACE, [{"op": "add", "path": "/data/json", "value": "1"}])
    held = core.read_namespaced_config_map("typed-0", NAMESPACE)
    assert held.data == {"n": "0", "strategic": "1", "json": "1"}, held.data
    managers = {entry.manager for entry in held.metadata.managed_fields}
    assert held.metadata.creation_timestamp.tzinfo is not None and managers == {"python", "OpenAPI-Generator"}, held.metadata
    held.data = {"replaced": "yes"}
    core.replace_namespaced_config_map("typed-0", NAMESPACE, held)
    refused(409, "Conflict", lambda: core.replace_namespaced_config_map("typed-0", NAMESPACE, held))
    refused(404, "NotFound", lambda: core.read_namespaced_config_map("nowhere", NAMESPACE))
    refused(422, "Invalid", lambda: core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="No"))))
    gone = core.delete_namespaced_config_map("typed-0", NAMESPACE, body=client.V1DeleteOptions(preconditions={"uid": held.metadata.uid}))
    assert gone["status"] == "Success" and gone["details"]["name"] == "typed-0", gone
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="set=python")
    assert core.list_namespaced_config_map(NAMESPACE, label_selector="set=python").items == []
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="typed"), string_data={"key": "väl"})
    made = core.create_namespaced_secret(NAMESPACE, secret)
    assert base64.b64decode(made.data["key"]).decode() == "väl" and made.string_data is None, made
    core.delete_namespaced_secret("typed", NAMESPACE)


def workloads():
    """utils.create_from_dict, a Deployment until it is ready, its scale, its logs; the version, discovery and quantities"""
    api = client.ApiClient()
    container = {"name": "page", "image": "corten.local/hello", "resources": {"requests": {"cpu": "5m"}}}
    utils.create_from_dict(api, {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "python", "namespace": NAMESPACE},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "python"}},
            "template": {"metadata": {"labels": {"app": "python"}}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}},
        },
    })
    apps, core = client.AppsV1Api(), client.CoreV1Api()
    for event in watch.Watch().stream(apps.list_namespaced_deployment, NAMESPACE, field_selector="metadata.name=python", timeout_seconds=60):
        if event["object"].status.ready_replicas == 1:
            break
    else:
        raise AssertionError("the Deployment is not ready within a minute")
    scale = apps.read_namespaced_deployment_scale("python", NAMESPACE)
    scale.spec.replicas = 0
    assert not apps.replace_namespaced_deployment_scale("python", NAMESPACE, scale).spec.replicas
    template = apps.read_namespaced_deployment("python", NAMESPACE).spec.template.spec
    assert utils.parse_quantity(template.containers[0].resources.requests["cpu"]) * 1000 == 5
    apps.delete_namespaced_deployment("python", NAMESPACE, propagation_policy="Foreground")
    assert client.VersionApi().get_code().minor == "37"
    assert any(group.name == "apps" for group in client.ApisApi().get_api_versions().groups)


def dynamic_client():
    """the dynamic client: a custom kind, server-side apply with a conflict, status, watch"""
    api = dynamic.DynamicClient(client.ApiClient())
    definitions = api.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=crd())
    for event in definitions.watch(name=f"{PLURAL}.{GROUP}", timeout=30):
        conditions = event["object"].to_dict().get("status", {}).get("conditions")  # null at first
        if any(one["type"] == "Established" and one["status"] == "True" for one in conditions or []):
            break
    api.resources.invalidate_cache()
    scrolls = api.resources.get(api_version=f"{GROUP}/{VERSION}", kind="Scroll")
    wanted = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Scroll", "metadata": {"name": "one"}, "spec": {"text": "a"}}
    made = scrolls.server_side_apply(body=wanted, name="one", namespace=NAMESPACE, field_manager="python")
    assert made.spec.lines == 1 and made.metadata.generation == 1, made
    wanted["spec"]["text"] = "b"
    refused(409, "Conflict", lambda: scrolls.server_side_apply(body=wanted, name="one", namespace=NAMESPACE, field_manager="other"))
    scrolls.server_side_apply(body=wanted, name="one", namespace=NAMESPACE, field_manager="other", force_conflicts=True)
    scrolls.status.patch(
        body={"status": {"read": True}}, name="one", namespace=NAMESPACE, content_type="application/merge-patch+json")
    held = scrolls.get(name="one", namespace=NAMESPACE)
    assert held.spec.text == "b" and held.status.read is True and held.metadata.generation == 2, held
    seen = [event["type"] for event in scrolls.watch(namespace=NAMESPACE, timeout=1)]
    assert seen == ["ADDED"], seen
    custom = client.CustomObjectsApi()
    assert len(custom.list_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL)["items"]) == 1
    refused(415, None, lambda: custom.patch_namespaced_custom_object(
        GROUP, VERSION, NAMESPACE, PLURAL, "one", {}, _content_type="application/strategic-merge-patch+json"))
    scrolls.delete(name="one", namespace=NAMESPACE)
    definitions.delete(name=f"{PLURAL}.{GROUP}")
    try:
        scrolls.get(name="one", namespace=NAMESPACE)
        raise AssertionError("it is still there")
    except NotFoundError:
        pass


def watch_resumes():
    """a watch goes on where it was: after the server's timeout, and after a broken connection, without a gap or a repeat"""
    core = client.CoreV1Api()
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    total, seen = 12, []

    def write():
        for number in range(total):
            meta = client.V1ObjectMeta(name=f"resumed-{number}", labels={"set": "resumed"})
            core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=meta))
            time.sleep(0.25)

    writer = threading.Thread(target=write)
    writer.start()
    deadline = time.monotonic() + 60
    while len(seen) < total:
        assert time.monotonic() < deadline, seen
        watcher = watch.Watch()
        options = {"resource_version": start, "label_selector": "set=resumed", "timeout_seconds": 1, "allow_watch_bookmarks": True}
        for event in watcher.stream(core.list_namespaced_config_map, NAMESPACE, **options):
            if event["type"] == "BOOKMARK":
                start = event["object"].metadata.resource_version
                continue
            assert event["type"] == "ADDED", event
            seen.append(event["object"].metadata.name)
            start = event["object"].metadata.resource_version
            if len(seen) % 5 == 0:
                watcher.stop()
                break
    writer.join()
    assert seen == [f"resumed-{number}" for number in range(total)], seen
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="set=resumed")


def streams():
    """exec with output, errors, input and an exit code; port-forward; logs, whole and followed"""
    core = client.CoreV1Api()
    pods = core.list_namespaced_pod(NAMESPACE, label_selector="app=hello", field_selector="status.phase=Running").items
    pod = pods[0].metadata.name
    assert f"hello from {pod}" in core.read_namespaced_pod_log(pod, NAMESPACE)
    for line in watch.Watch().stream(core.read_namespaced_pod_log, pod, NAMESPACE):
        assert f"hello from {pod}" in line
        break
    call = {"stdout": True, "stderr": True, "stdin": False, "tty": False}
    said = stream(core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=["/corten", "version"], **call)
    assert said.startswith("corten "), said
    failing = stream(core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=["/corten", "nonsense"], _preload_content=False, **call)
    failing.run_forever(timeout=30)
    assert failing.returncode == 2 and failing.read_stderr(), (failing.returncode, failing.read_stderr())
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, pod, NAMESPACE, ports="8080")
    socket, page = forwarded.socket(8080), b""
    socket.settimeout(10)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n")
    while piece := socket.recv(4096):
        page += piece
    socket.close()
    assert f"pod: {pod}".encode() in page and forwarded.error(8080) is None, (page, forwarded.error(8080))


def tokens():
    """a bound token is who it says, reviews agree, and it may not what nobody granted"""
    core = client.CoreV1Api()
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("default", NAMESPACE, request).status.token
    review = client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token))
    user = client.AuthenticationV1Api().create_token_review(review).status.user
    assert user.username == f"system:serviceaccount:{NAMESPACE}:default", user
    own = client.Configuration.get_default_copy()
    own.cert_file = own.key_file = None
    own.api_key = {"authorization": f"Bearer {token}"}
    other = client.CoreV1Api(client.ApiClient(own))
    refused(403, "Forbidden", lambda: other.list_namespaced_secret(NAMESPACE))
    spec = client.V1SubjectAccessReviewSpec(
        user=user.username, groups=user.groups, resource_attributes=client.V1ResourceAttributes(verb="list", resource="secrets"))
    answer = client.AuthorizationV1Api().create_subject_access_review(client.V1SubjectAccessReview(spec=spec))
    assert answer.status.allowed is False, answer


def refused(code, reason, call):
    try:
        call()
    except (ApiException, dynamic.exceptions.DynamicApiError) as error:
        assert error.status == code and (reason is None or reason in str(error.body) or reason in str(error)), error
        return
    raise AssertionError(f"not refused with {code} {reason}")


def main():
    config.load_kube_config()
    failed = 0
    for part in [typed, workloads, dynamic_client, watch_resumes, streams, tokens]:
        try:
            part()
            print("ok   ", part.__doc__, flush=True)
        except Exception as error:  # each part is told, not only the first that fails
            failed += 1
            print("FAIL ", part.__doc__, "\n   ", type(error).__name__, error, flush=True)
            import traceback
            traceback.print_exc()
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
