// The Java client: typed and dynamic, shared informers, watches that resume, streams. Each part says what it covers.

import com.google.gson.JsonParser;
import com.google.gson.reflect.TypeToken;
import io.kubernetes.client.Exec;
import io.kubernetes.client.PodLogs;
import io.kubernetes.client.PortForward;
import io.kubernetes.client.custom.IntOrString;
import io.kubernetes.client.custom.Quantity;
import io.kubernetes.client.custom.V1Patch;
import io.kubernetes.client.informer.ResourceEventHandler;
import io.kubernetes.client.informer.SharedInformerFactory;
import io.kubernetes.client.openapi.ApiClient;
import io.kubernetes.client.openapi.ApiException;
import io.kubernetes.client.openapi.Configuration;
import io.kubernetes.client.openapi.apis.CoreV1Api;
import io.kubernetes.client.openapi.apis.VersionApi;
import io.kubernetes.client.openapi.models.*;
import io.kubernetes.client.util.CallGeneratorParams;
import io.kubernetes.client.util.ClientBuilder;
import io.kubernetes.client.util.PatchUtils;
import io.kubernetes.client.util.Watch;
import io.kubernetes.client.util.generic.GenericKubernetesApi;
import io.kubernetes.client.util.generic.dynamic.DynamicKubernetesApi;
import io.kubernetes.client.util.generic.dynamic.DynamicKubernetesObject;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public class Client {
    static final String NAMESPACE = "default";
    static CoreV1Api core;

    interface Part {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        ApiClient client = ClientBuilder.standard().build();
        client.setReadTimeout(0); // watches end when the server says so
        Configuration.setDefaultApiClient(client);
        core = new CoreV1Api();
        boolean failed = false;
        failed |= !told("typed clients: create, patch, replace, conflict, pages, delete, quantities, the version", Client::typed);
        failed |= !told("the dynamic and the generic client: a custom kind, server-side apply with a conflict", Client::dynamic);
        failed |= !told("shared informers see add, update and delete", Client::informers);
        failed |= !told("a watch goes on at the last event's revision", Client::resumed);
        failed |= !told("exec with its exit code, port-forward, logs", Client::streams);
        System.exit(failed ? 1 : 0);
    }

    static boolean told(String covers, Part part) {
        try {
            part.run();
            System.out.println("ok    " + covers);
            return true;
        } catch (Throwable error) {
            String body = error instanceof ApiException api ? " " + api.getCode() + " " + api.getResponseBody() : "";
            System.out.println("FAIL  " + covers + ": " + error + body);
            error.printStackTrace();
            return false;
        }
    }

    static V1ConfigMap map(String name, String set) {
        return new V1ConfigMap().metadata(new V1ObjectMeta().name(name).labels(Map.of("set", set))).data(Map.of("a", "1"));
    }

    static void typed() throws Exception {
        V1ConfigMap made = core.createNamespacedConfigMap(NAMESPACE, map("typed", "java")).fieldManager("java").execute();
        check(made.getMetadata().getCreationTimestamp() != null, made);
        refused(409, "AlreadyExists", () -> core.createNamespacedConfigMap(NAMESPACE, map("typed", "java")).execute());
        refused(404, "NotFound", () -> core.readNamespacedConfigMap("nowhere", NAMESPACE).execute());
        for (String[] patch : new String[][] {
            {V1Patch.PATCH_FORMAT_JSON_PATCH, "[{\"op\":\"add\",\"path\":\"/data/json\",\"value\":\"1\"}]"},
            {V1Patch.PATCH_FORMAT_JSON_MERGE_PATCH, "{\"data\":{\"merge\":\"1\"}}"},
            {V1Patch.PATCH_FORMAT_STRATEGIC_MERGE_PATCH, "{\"data\":{\"strategic\":\"1\"}}"},
        }) {
            PatchUtils.patch(V1ConfigMap.class,
                () -> core.patchNamespacedConfigMap("typed", NAMESPACE, new V1Patch(patch[1])).buildCall(null), patch[0]);
        }
        V1ConfigMap held = core.readNamespacedConfigMap("typed", NAMESPACE).execute();
        check(held.getData().equals(Map.of("a", "1", "json", "1", "merge", "1", "strategic", "1")), held);
        core.replaceNamespacedConfigMap("typed", NAMESPACE, held.data(Map.of("b", "2"))).execute();
        refused(409, "Conflict", () -> core.replaceNamespacedConfigMap("typed", NAMESPACE, held).execute());
        V1ConfigMapList page = core.listNamespacedConfigMap(NAMESPACE).limit(1).execute();
        check(page.getItems().size() == 1 && page.getMetadata().getContinue() != null && page.getMetadata().getRemainingItemCount() > 0, page);
        core.deleteNamespacedConfigMap("typed", NAMESPACE).execute();
        check(new VersionApi().getCode().execute().getMinor().equals("37"), "the version");

        V1Container container = new V1Container().name("page").image("corten.local/hello")
            .resources(new V1ResourceRequirements().putRequestsItem("memory", new Quantity("16Mi")));
        container.livenessProbe(new V1Probe().httpGet(new V1HTTPGetAction().path("/healthz").port(new IntOrString(8080))));
        V1Pod pod = new V1Pod().metadata(new V1ObjectMeta().name("java")).spec(new V1PodSpec().addContainersItem(container));
        V1Pod planned = core.createNamespacedPod(NAMESPACE, pod).dryRun("All").execute();
        V1Container filled = planned.getSpec().getContainers().get(0);
        check(filled.getResources().getRequests().get("memory").getNumber().intValue() == 16 << 20, planned);
        check(filled.getLivenessProbe().getHttpGet().getPort().getIntValue() == 8080, planned);
    }

    static void dynamic() throws Exception {
        var definitions = new GenericKubernetesApi<>(V1CustomResourceDefinition.class, V1CustomResourceDefinitionList.class,
            "apiextensions.k8s.io", "v1", "customresourcedefinitions", Configuration.getDefaultApiClient());
        V1JSONSchemaProps text = new V1JSONSchemaProps().type("object").putPropertiesItem("text", new V1JSONSchemaProps().type("string"));
        V1JSONSchemaProps schema = new V1JSONSchemaProps().type("object").putPropertiesItem("spec", text);
        definitions.create(new V1CustomResourceDefinition()
            .apiVersion("apiextensions.k8s.io/v1").kind("CustomResourceDefinition")
            .metadata(new V1ObjectMeta().name("beans.java.example.com"))
            .spec(new V1CustomResourceDefinitionSpec().group("java.example.com").scope("Namespaced")
                .names(new V1CustomResourceDefinitionNames().plural("beans").singular("bean").kind("Bean").listKind("BeanList"))
                .addVersionsItem(new V1CustomResourceDefinitionVersion().name("v1").served(true).storage(true)
                    .schema(new V1CustomResourceValidation().openAPIV3Schema(schema))))).throwsApiException();
        until("the definition is established", () -> {
            var status = definitions.get("beans.java.example.com").throwsApiException().getObject().getStatus();
            return status != null && status.getConditions() != null && status.getConditions().stream()
                .anyMatch(one -> one.getType().equals("Established") && one.getStatus().equals("True"));
        });
        DynamicKubernetesApi beans = new DynamicKubernetesApi("java.example.com", "v1", "beans", Configuration.getDefaultApiClient());
        check(apply(beans, "a", "java", false).isSuccess(), "the first apply");
        var conflict = apply(beans, "b", "other", false);
        check(conflict.getHttpStatusCode() == 409 && conflict.getStatus().getMessage().contains("conflict with \"java\""), conflict.getStatus());
        check(apply(beans, "b", "other", true).isSuccess(), "the forced apply");
        var list = beans.list(NAMESPACE).throwsApiException().getObject().getItems();
        check(list.size() == 1 && list.get(0).getRaw().getAsJsonObject("spec").get("text").getAsString().equals("b"), list);
        beans.delete(NAMESPACE, "one").throwsApiException();
        definitions.delete("beans.java.example.com").throwsApiException();
    }

    static io.kubernetes.client.util.generic.KubernetesApiResponse<DynamicKubernetesObject> apply(
        DynamicKubernetesApi beans, String text, String manager, boolean force) {
        String object = "{\"apiVersion\":\"java.example.com/v1\",\"kind\":\"Bean\",\"metadata\":{\"name\":\"one\"},\"spec\":{\"text\":\"" + text + "\"}}";
        var options = new io.kubernetes.client.util.generic.options.PatchOptions();
        options.setFieldManager(manager);
        options.setForce(force);
        return beans.patch(NAMESPACE, "one", V1Patch.PATCH_FORMAT_APPLY_YAML, new V1Patch(object), options);
    }

    static void informers() throws Exception {
        SharedInformerFactory factory = new SharedInformerFactory(Configuration.getDefaultApiClient());
        var informer = factory.sharedIndexInformerFor(
            (CallGeneratorParams params) -> core.listNamespacedConfigMap(NAMESPACE).labelSelector("set=informed")
                .resourceVersion(params.resourceVersion).timeoutSeconds(params.timeoutSeconds).watch(params.watch).buildCall(null),
            V1ConfigMap.class, V1ConfigMapList.class);
        LinkedBlockingQueue<String> seen = new LinkedBlockingQueue<>();
        informer.addEventHandler(new ResourceEventHandler<V1ConfigMap>() {
            public void onAdd(V1ConfigMap object) { seen.add("add"); }
            public void onUpdate(V1ConfigMap before, V1ConfigMap after) { seen.add("update"); }
            public void onDelete(V1ConfigMap object, boolean unknown) { seen.add("delete"); }
        });
        factory.startAllRegisteredInformers();
        until("the informer has synchronized", informer::hasSynced);
        V1ConfigMap made = core.createNamespacedConfigMap(NAMESPACE, map("informed", "informed")).execute();
        check("add".equals(seen.poll(60, TimeUnit.SECONDS)), "the add");
        core.replaceNamespacedConfigMap("informed", NAMESPACE, made.data(Map.of("a", "2"))).execute();
        check("update".equals(seen.poll(60, TimeUnit.SECONDS)), "the update");
        check(informer.getIndexer().getByKey(NAMESPACE + "/informed").getData().get("a").equals("2"), "the indexer");
        core.deleteNamespacedConfigMap("informed", NAMESPACE).execute();
        check("delete".equals(seen.poll(60, TimeUnit.SECONDS)), "the delete");
        factory.stopAllRegisteredInformers();
    }

    /** The server ends each watch after a second; the next one begins at the last event's revision. */
    static void resumed() throws Exception {
        String revision = core.listNamespacedConfigMap(NAMESPACE).execute().getMetadata().getResourceVersion();
        List<String> seen = new ArrayList<>();
        List<String> wanted = new ArrayList<>();
        for (int number = 0; number < 8; number++) {
            wanted.add("ADDED resumed-" + number);
        }
        Thread writer = new Thread(() -> {
            for (int number = 0; number < 8; number++) {
                try {
                    core.createNamespacedConfigMap(NAMESPACE, map("resumed-" + number, "resumed")).execute();
                    Thread.sleep(300);
                } catch (Exception error) {
                    throw new IllegalStateException(error);
                }
            }
        });
        writer.start();
        int rounds = 0;
        for (long end = System.nanoTime() + Duration.ofMinutes(1).toNanos(); seen.size() < 8 && System.nanoTime() < end; rounds++) {
            var call = core.listNamespacedConfigMap(NAMESPACE).labelSelector("set=resumed").resourceVersion(revision)
                .timeoutSeconds(1).watch(true).buildCall(null);
            try (Watch<V1ConfigMap> watch = Watch.createWatch(Configuration.getDefaultApiClient(), call,
                new TypeToken<Watch.Response<V1ConfigMap>>() {}.getType())) {
                for (Watch.Response<V1ConfigMap> event : watch) {
                    revision = event.object.getMetadata().getResourceVersion();
                    seen.add(event.type + " " + event.object.getMetadata().getName());
                }
            }
        }
        writer.join();
        check(seen.equals(wanted) && rounds > 1, seen + " in " + rounds);
        core.deleteCollectionNamespacedConfigMap(NAMESPACE).labelSelector("set=resumed").execute();
    }

    static void streams() throws Exception {
        String pod = core.listNamespacedPod(NAMESPACE).labelSelector("app=hello").fieldSelector("status.phase=Running").execute()
            .getItems().get(0).getMetadata().getName();
        Process good = new Exec().exec(NAMESPACE, pod, new String[] {"/corten", "version"}, "hello", false, false);
        String said = new String(good.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        check(good.waitFor() == 0 && said.startsWith("corten "), said);
        Process bad = new Exec().exec(NAMESPACE, pod, new String[] {"/corten", "nonsense"}, "hello", false, false);
        String complained = new String(bad.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
        check(bad.waitFor() == 2 && !complained.isEmpty(), complained + " " + bad.exitValue());

        var forward = new PortForward().forward(NAMESPACE, pod, List.of(8080));
        InputStream answer = forward.getInputStream(8080); // the end of the connection takes it away
        forward.getOutboundStream(8080).write("GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n".getBytes(StandardCharsets.UTF_8));
        forward.getOutboundStream(8080).flush();
        String page = untilContains(answer, "pod: " + pod);
        check(page.contains("200 OK"), page);

        V1Pod held = core.readNamespacedPod(pod, NAMESPACE).execute();
        try (InputStream log = new PodLogs().streamNamespacedPodLog(held)) {
            untilContains(log, "hello from " + pod);
        }
    }

    static String untilContains(InputStream stream, String wanted) throws Exception {
        StringBuilder text = new StringBuilder();
        byte[] piece = new byte[4096];
        int size;
        while (text.indexOf(wanted) < 0 && (size = stream.read(piece)) > 0) {
            text.append(new String(piece, 0, size, StandardCharsets.UTF_8));
        }
        check(text.indexOf(wanted) >= 0, text);
        return text.toString();
    }

    static void refused(int code, String reason, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (ApiException error) {
            String told = JsonParser.parseString(error.getResponseBody()).getAsJsonObject().get("reason").getAsString();
            check(error.getCode() == code && told.equals(reason), error.getResponseBody());
            return;
        }
        throw new AssertionError("not refused with " + code + " " + reason);
    }

    static void until(String what, Callable<Boolean> so) throws Exception {
        for (long end = System.nanoTime() + Duration.ofMinutes(1).toNanos(); System.nanoTime() < end; Thread.sleep(50)) {
            if (so.call()) {
                return;
            }
        }
        throw new AssertionError(what + ": not within a minute");
    }

    static void check(boolean so, Object otherwise) {
        if (!so) {
            throw new AssertionError(String.valueOf(otherwise));
        }
    }
}
