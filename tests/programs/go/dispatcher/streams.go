package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

func streams(bench *bench) error {
	pods, err := bench.api.CoreV1().Pods(bench.namespace).List(bench.context, metav1.ListOptions{LabelSelector: "app=hello"})
	if err := first(err, expect(len(pods.Items) > 0, "no pod")); err != nil {
		return err
	}
	pod := ""
	for _, one := range pods.Items {
		if one.Status.Phase == corev1.PodRunning && one.DeletionTimestamp == nil {
			pod = one.Name
		}
	}
	log, err := bench.api.CoreV1().Pods(bench.namespace).GetLogs(pod, &corev1.PodLogOptions{}).DoRaw(bench.context)
	if err := first(err, expect(strings.Contains(string(log), "hello from "+pod), "logged %q", log)); err != nil {
		return err
	}
	return first(execs(bench, pod), forwards(bench, pod))
}

func execs(bench *bench, pod string) error {
	for _, command := range [][]string{{"/corten", "version"}, {"/corten", "nonsense"}} {
		options := &corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}
		post := bench.api.CoreV1().RESTClient().Post().Resource("pods").Namespace(bench.namespace).Name(pod).SubResource("exec")
		url := post.VersionedParams(options, scheme.ParameterCodec).URL()
		overSPDY, err := remotecommand.NewSPDYExecutor(bench.plain, http.MethodPost, url)
		if err != nil {
			return err
		}
		overWebSocket, err := remotecommand.NewWebSocketExecutor(bench.plain, http.MethodGet, url.String())
		if err != nil {
			return err
		}
		for name, executor := range map[string]remotecommand.Executor{"SPDY": overSPDY, "WebSocket": overWebSocket} {
			var said, complained bytes.Buffer
			err := executor.StreamWithContext(bench.context, remotecommand.StreamOptions{Stdout: &said, Stderr: &complained})
			if err := judge(command, err, said.String(), complained.String()); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func judge(command []string, err error, said, complained string) error {
	if command[1] == "version" {
		return first(err, expect(strings.HasPrefix(said, "corten "), "said %q, %q", said, complained))
	}
	var code exec.CodeExitError
	return expect(errors.As(err, &code) && code.Code == 2 && complained != "", "ended with %v, %q", err, complained)
}

func forwards(bench *bench, pod string) error {
	url := bench.api.CoreV1().RESTClient().Post().Resource("pods").Namespace(bench.namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(bench.plain)
	if err != nil {
		return err
	}
	overSPDY := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialer(url, bench.plain)
	if err != nil {
		return err
	}
	for name, dialer := range map[string]httpstream.Dialer{"SPDY": overSPDY, "WebSocket": overWebSocket} {
		if err := forward(bench.context, dialer, pod); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func forward(ctx context.Context, dialer httpstream.Dialer, pod string) error {
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return fmt.Errorf("ended early: %v", err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	for range 3 {
		if err := ask(ctx, fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local), pod); err != nil {
			return err
		}
	}
	close(stop)
	return <-ended
}

func ask(ctx context.Context, url, pod string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	return first(err, expect(strings.Contains(string(page), "pod: "+pod), "the page is %q", page))
}
