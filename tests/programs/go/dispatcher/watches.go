package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	clientinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// watchResumes breaks a watch after each event, and sees every event once all the same.
func watchResumes(bench *bench) error {
	maps := bench.api.CoreV1().ConfigMaps(bench.namespace)
	list, err := maps.List(bench.context, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for number := range 5 {
		meta := metav1.ObjectMeta{Name: fmt.Sprintf("resumed-%d", number)}
		if _, err := maps.Create(bench.context, &corev1.ConfigMap{ObjectMeta: meta}, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	revision := list.ResourceVersion
	for number := range 5 {
		watcher, err := maps.Watch(bench.context, metav1.ListOptions{ResourceVersion: revision, AllowWatchBookmarks: true})
		if err != nil {
			return err
		}
		event := <-watcher.ResultChan()
		watcher.Stop()
		made, is := event.Object.(*corev1.ConfigMap)
		if !is || event.Type != watch.Added || made.Name != fmt.Sprintf("resumed-%d", number) {
			return fmt.Errorf("event %d is %s %+v", number, event.Type, event.Object)
		}
		revision = made.ResourceVersion
	}
	// The retrying watcher resumes by itself; the server ends its watch every second.
	second := int64(1)
	source := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		options.TimeoutSeconds = &second
		return maps.Watch(ctx, options)
	}}
	retrying, err := watchtools.NewRetryWatcherWithContext(bench.context, revision, source)
	if err != nil {
		return err
	}
	defer retrying.Stop()
	for number := range 5 {
		time.Sleep(300 * time.Millisecond) // several of the server's seconds pass
		if err := maps.Delete(bench.context, fmt.Sprintf("resumed-%d", number), metav1.DeleteOptions{}); err != nil {
			return err
		}
		event, err := next(retrying.ResultChan())
		if err != nil {
			return err
		}
		if gone, is := event.Object.(*corev1.ConfigMap); !is || event.Type != watch.Deleted || gone.Name != fmt.Sprintf("resumed-%d", number) {
			return fmt.Errorf("event %d is %s %+v", number, event.Type, event.Object)
		}
	}
	return nil
}

func next(events <-chan watch.Event) (watch.Event, error) {
	select {
	case event := <-events:
		return event, nil
	case <-time.After(patience):
		return watch.Event{}, errTooLong
	}
}

func informers(bench *bench) error {
	stop, cancel := context.WithCancel(bench.context)
	defer cancel()
	seen := make(chan string, 100)
	handler := func(kind string) cache.ResourceEventHandler {
		tell := func(what string, object any) {
			if meta, is := object.(metav1.Object); is && meta.GetName() == "informed" {
				seen <- kind + " " + what
			}
		}
		return cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { tell("add", object) },
			UpdateFunc: func(_, object any) { tell("update", object) },
			DeleteFunc: func(object any) { tell("delete", object) },
		}
	}
	dynamicClient, err := dynamic.NewForConfig(bench.plain)
	if err != nil {
		return err
	}
	metadataClient, err := metadata.NewForConfig(bench.config)
	if err != nil {
		return err
	}
	resource := corev1.SchemeGroupVersion.WithResource("configmaps")
	ofTypes := clientinformers.NewSharedInformerFactory(bench.api, 0)
	ofAny := dynamicinformer.NewDynamicSharedInformerFactory(dynamicClient, 0)
	ofMetadata := metadatainformer.NewSharedInformerFactory(metadataClient, 0)
	all := map[string]cache.SharedIndexInformer{
		"typed":    ofTypes.Core().V1().ConfigMaps().Informer(),
		"dynamic":  ofAny.ForResource(resource).Informer(),
		"metadata": ofMetadata.ForResource(resource).Informer(),
	}
	for kind, informer := range all {
		if _, err := informer.AddEventHandler(handler(kind)); err != nil {
			return err
		}
		go informer.RunWithContext(stop)
		if !cache.WaitForCacheSync(stop.Done(), informer.HasSynced) {
			return fmt.Errorf("%s does not synchronize", kind)
		}
	}
	maps := bench.api.CoreV1().ConfigMaps(bench.namespace)
	steps := []struct {
		what string
		do   func() error
	}{
		{"add", func() error {
			_, err := maps.Create(stop, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "informed"}}, metav1.CreateOptions{})
			return err
		}},
		{"update", func() error {
			held, err := maps.Get(stop, "informed", metav1.GetOptions{})
			if err != nil {
				return err
			}
			held.Labels = map[string]string{"a": "b"}
			_, err = maps.Update(stop, held, metav1.UpdateOptions{})
			return err
		}},
		{"delete", func() error { return maps.Delete(stop, "informed", metav1.DeleteOptions{}) }},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return err
		}
		for range all {
			select {
			case what := <-seen:
				if what != "typed "+step.what && what != "dynamic "+step.what && what != "metadata "+step.what {
					return fmt.Errorf("%q instead of %s", what, step.what)
				}
			case <-time.After(patience):
				return fmt.Errorf("%s: %w", step.what, errTooLong)
			}
		}
	}
	selected := fields.OneTermEqualSelector("metadata.name", "kube-root-ca.crt").String()
	list, err := maps.List(stop, metav1.ListOptions{FieldSelector: selected, ResourceVersion: "0"})
	return first(err, expect(len(list.Items) == 1, "%d selected", len(list.Items)))
}
