package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
)

func typed(bench *bench) error {
	maps := bench.api.CoreV1().ConfigMaps(bench.namespace)
	for number := range 25 {
		meta := metav1.ObjectMeta{Name: fmt.Sprintf("typed-%d", number), Labels: map[string]string{"set": "typed"}}
		made, err := maps.Create(bench.context, &corev1.ConfigMap{
			ObjectMeta: meta, Data: map[string]string{"n": fmt.Sprint(number)}, BinaryData: map[string][]byte{"bytes": {0, 255, byte(number)}},
		}, metav1.CreateOptions{FieldManager: "dispatcher"})
		if err != nil {
			return err
		}
		if made.UID == "" || made.ResourceVersion == "" || made.BinaryData["bytes"][1] != 255 || len(made.ManagedFields) != 1 {
			return fmt.Errorf("made %+v", made)
		}
	}
	pages, seen := 0, 0
	lister := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		pages++
		return maps.List(bench.context, options)
	}))
	lister.PageSize = 10
	err := lister.EachListItem(bench.context, metav1.ListOptions{LabelSelector: "set=typed"}, func(runtime.Object) error {
		seen++
		return nil
	})
	if err := first(err, expect(pages >= 3 && seen == 25, "%d items in %d pages", seen, pages)); err != nil {
		return err
	}
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		held, err := maps.Get(bench.context, "typed-0", metav1.GetOptions{})
		if err != nil {
			return err
		}
		held.Data["n"] = "changed"
		_, err = maps.Update(bench.context, held, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	for kind, patch := range map[types.PatchType]string{
		types.JSONPatchType:           `[{"op":"test","path":"/data/n","value":"changed"},{"op":"add","path":"/data/a","value":"1"}]`,
		types.MergePatchType:          `{"data":{"b":"1"}}`,
		types.StrategicMergePatchType: `{"data":{"c":"1"}}`,
	} {
		if _, err := maps.Patch(bench.context, "typed-0", kind, []byte(patch), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	held, err := maps.Get(bench.context, "typed-0", metav1.GetOptions{})
	if err := first(err, expect(len(held.Data) == 4, "patched to %v", held.Data)); err != nil {
		return err
	}
	zero, background := int64(0), metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{GracePeriodSeconds: &zero, PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &held.UID}}
	if err := maps.Delete(bench.context, "typed-0", options); err != nil {
		return err
	}
	if err := maps.DeleteCollection(bench.context, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "set=typed"}); err != nil {
		return err
	}
	left, err := maps.List(bench.context, metav1.ListOptions{LabelSelector: "set=typed"})
	return first(err, expect(len(left.Items) == 0, "%d are left", len(left.Items)))
}

func refusals(bench *bench) error {
	maps := bench.api.CoreV1().ConfigMaps(bench.namespace)
	_, missing := maps.Get(bench.context, "nowhere", metav1.GetOptions{})
	made, err := maps.Create(bench.context, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "refused"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	defer maps.Delete(bench.context, "refused", metav1.DeleteOptions{})
	_, twice := maps.Create(bench.context, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "refused"}}, metav1.CreateOptions{})
	made.ResourceVersion = "1"
	_, stale := maps.Update(bench.context, made, metav1.UpdateOptions{})
	_, invalid := maps.Create(bench.context, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "No Name"}}, metav1.CreateOptions{})
	ghost := metav1.ObjectMeta{Name: "a"}
	_, homeless := bench.api.CoreV1().ConfigMaps("nowhere").Create(bench.context, &corev1.ConfigMap{ObjectMeta: ghost}, metav1.CreateOptions{})
	other := rest.CopyConfig(bench.config)
	other.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	_, forbidden := kubernetes.NewForConfigOrDie(other).CoreV1().Secrets("").List(bench.context, metav1.ListOptions{})
	_, expired := maps.List(bench.context, metav1.ListOptions{ResourceVersion: "1", ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	causes := []metav1.StatusCause(nil)
	if status, is := invalid.(apierrors.APIStatus); is && status.Status().Details != nil {
		causes = status.Status().Details.Causes
	}
	return first(
		expect(apierrors.IsNotFound(missing), "missing: %v", missing),
		expect(apierrors.IsAlreadyExists(twice), "twice: %v", twice),
		expect(apierrors.IsConflict(stale), "stale: %v", stale),
		expect(apierrors.IsInvalid(invalid) && len(causes) == 1 && causes[0].Field == "metadata.name", "invalid: %v %v", invalid, causes),
		expect(apierrors.IsNotFound(homeless), "homeless: %v", homeless),
		expect(apierrors.IsForbidden(forbidden), "forbidden: %v", forbidden),
		expect(expired == nil || apierrors.IsResourceExpired(expired), "expired: %v", expired),
	)
}

// everyKind reads all that discovery names, with typed protobuf where client-go has the type.
func everyKind(bench *bench) error {
	_, lists, err := bench.api.Discovery().ServerGroupsAndResources()
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(bench.config)
	if err != nil {
		return err
	}
	read := 0
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return err
		}
		for _, resource := range list.APIResources {
			if strings.Contains(resource.Name, "/") || !listable(resource.Verbs) {
				continue
			}
			if err := readKind(bench, meta, version.WithResource(resource.Name)); err != nil {
				return fmt.Errorf("%s %s: %w", list.GroupVersion, resource.Name, err)
			}
			read++
		}
	}
	return expect(read > 50, "only %d kinds", read)
}

func listable(verbs []string) bool {
	return slices.Contains(verbs, "list") && slices.Contains(verbs, "watch")
}

func readKind(bench *bench, meta metadata.Interface, resource schema.GroupVersionResource) error {
	path := "/apis/" + resource.Group + "/" + resource.Version + "/" + resource.Resource
	if resource.Group == "" {
		path = "/api/" + resource.Version + "/" + resource.Resource
	}
	var contentType string
	body, err := bench.api.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", protobuf).Do(bench.context).ContentType(&contentType).Raw()
	if err := first(err, expect(contentType == protobuf && strings.HasPrefix(string(body), "k8s\x00"), "answered as %q", contentType)); err != nil {
		return err
	}
	list, err := meta.Resource(resource).List(bench.context, metav1.ListOptions{})
	if err != nil {
		return err
	}
	second := int64(1)
	watch, err := meta.Resource(resource).Watch(bench.context, metav1.ListOptions{ResourceVersion: list.ResourceVersion, TimeoutSeconds: &second})
	if err != nil {
		return err
	}
	watch.Stop()
	return nil
}

func applies(bench *bench) error {
	pod := coreapply.PodSpec().WithContainers(coreapply.Container().WithName("main").WithImage("corten.local/hello"))
	template := coreapply.PodTemplateSpec().WithLabels(map[string]string{"app": "applied"}).WithSpec(pod)
	selector := metaapply.LabelSelector().WithMatchLabels(map[string]string{"app": "applied"})
	spec := appsapply.DeploymentSpec().WithReplicas(0).WithSelector(selector).WithTemplate(template)
	wanted := appsapply.Deployment("applied", bench.namespace).WithSpec(spec)
	deployments := bench.api.AppsV1().Deployments(bench.namespace)
	if _, err := deployments.Apply(bench.context, wanted, metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		return err
	}
	more := appsapply.Deployment("applied", bench.namespace).WithSpec(appsapply.DeploymentSpec().WithReplicas(1))
	_, conflict := deployments.Apply(bench.context, more, metav1.ApplyOptions{FieldManager: "two"})
	forced, err := deployments.Apply(bench.context, more, metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil {
		return err
	}
	mine, err := appsapply.ExtractDeployment(forced, "two")
	if err != nil {
		return err
	}
	status := appsapply.Deployment("applied", bench.namespace).WithStatus(appsapply.DeploymentStatus().WithConditions(
		appsapply.DeploymentCondition().WithType(appsv1.DeploymentConditionType("Checked")).WithStatus(corev1.ConditionTrue)))
	_, err = deployments.ApplyStatus(bench.context, status, metav1.ApplyOptions{FieldManager: "three"})
	return first(err,
		expect(apierrors.IsConflict(conflict), "no conflict: %v", conflict),
		expect(mine.Spec != nil && *mine.Spec.Replicas == 1 && mine.Spec.Template == nil, "two owns %+v", mine.Spec),
		deployments.Delete(bench.context, "applied", metav1.DeleteOptions{}))
}

func metadataAndScale(bench *bench) error {
	meta, err := metadata.NewForConfig(bench.config)
	if err != nil {
		return err
	}
	resource := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	partial, err := meta.Resource(resource).Namespace(bench.namespace).Get(bench.context, "hello", metav1.GetOptions{})
	if err := first(err, expect(partial.Labels["app"] == "hello" && partial.UID != "", "%+v", partial)); err != nil {
		return err
	}
	deployments := bench.api.AppsV1().Deployments(bench.namespace)
	var scale *autoscalingv1.Scale
	for _, replicas := range []int32{2, 3} {
		// The controller writes the same object meanwhile.
		if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			if scale, err = deployments.GetScale(bench.context, "hello", metav1.GetOptions{}); err != nil {
				return err
			}
			scale.Spec.Replicas = replicas
			scale, err = deployments.UpdateScale(bench.context, "hello", scale, metav1.UpdateOptions{})
			return err
		}); err != nil {
			return err
		}
	}
	return expect(scale.Spec.Replicas == 3 && strings.Contains(scale.Status.Selector, "app=hello"), "%+v", scale)
}

func offersCBOR(bench *bench) error {
	client, err := dynamic.NewForConfig(bench.plain)
	if err != nil {
		return err
	}
	maps := client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(bench.namespace)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"a": "b"},
	}}
	// A server without CBOR says 415 to the first body; the client takes the hint for all that follow.
	_, refused := maps.Create(bench.context, object, metav1.CreateOptions{})
	if !apierrors.IsUnsupportedMediaType(refused) {
		return fmt.Errorf("the first create: %v", refused)
	}
	if _, err := maps.Create(bench.context, object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	object.Object["data"] = map[string]any{"a": "c"}
	if _, err := maps.Update(bench.context, object, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	list, err := maps.List(bench.context, metav1.ListOptions{FieldSelector: "metadata.name=dynamic"})
	if err != nil || len(list.Items) != 1 {
		return fmt.Errorf("list: %v, %d items", err, len(list.Items))
	}
	value, _, _ := unstructured.NestedString(list.Items[0].Object, "data", "a")
	if value != "c" {
		return fmt.Errorf("a is %q", value)
	}
	return maps.Delete(bench.context, "dynamic", metav1.DeleteOptions{})
}

func tokens(bench *bench) error {
	seconds := int64(600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	token, err := bench.api.CoreV1().ServiceAccounts(bench.namespace).CreateToken(bench.context, "default", request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	config := rest.AnonymousClientConfig(bench.config)
	config.BearerToken = token.Status.Token
	who, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().Create(
		bench.context, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	name, left := who.Status.UserInfo.Username, time.Until(token.Status.ExpirationTimestamp.Time)
	return expect(name == "system:serviceaccount:default:default" && left > 9*time.Minute && left < 11*time.Minute, "%s for %s", name, left)
}
