// dispatcher: client-go as Kubernetes' own components use it: typed clients, informers, metadata and scale clients that speak protobuf;
// streams over SPDY and over WebSockets. With the word offers-cbor: a dynamic client that would like CBOR.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	protobuf = "application/vnd.kubernetes.protobuf"
	// For hangs, no measure.
	patience = 60 * time.Second
)

// bench is what each part is given.
type bench struct {
	context   context.Context
	config    *rest.Config // protobuf
	plain     *rest.Config // JSON
	api       kubernetes.Interface
	namespace string
}

var parts = []struct {
	name string
	run  func(*bench) error
}{
	{"typed clients: create, get, list in pages, update, patch, apply, delete", typed},
	{"errors are told as such", refusals},
	{"every kind lists and watches as protobuf", everyKind},
	{"watches go on at the revision of the last event", watchResumes},
	{"informers see what happens, typed, dynamic and of metadata alone", informers},
	{"server-side apply with typed configurations", applies},
	{"metadata and scale clients", metadataAndScale},
	{"bound tokens", tokens},
	{"exec over SPDY and over WebSockets, port-forward over both, logs", streams},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "offers-cbor" {
		os.Setenv("KUBE_FEATURE_ClientsAllowCBOR", "true")
		os.Setenv("KUBE_FEATURE_ClientsPreferCBOR", "true")
		parts = parts[:1]
		parts[0].name, parts[0].run = "the dynamic client offers CBOR, is refused once, and goes on in JSON", offersCBOR
	}
	bench, err := newBench()
	if err != nil {
		fmt.Fprintln(os.Stderr, "dispatcher:", err)
		os.Exit(1)
	}
	failed := 0
	for _, part := range parts {
		if err := part.run(bench); err != nil {
			failed++
			fmt.Printf("FAIL  %s: %v\n", part.name, err)
			continue
		}
		fmt.Println("ok   ", part.name)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func newBench() (*bench, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 500, 500
	plain := rest.CopyConfig(config)
	config.ContentType = protobuf
	config.AcceptContentTypes = protobuf + ",application/json"
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &bench{context.Background(), config, plain, api, "default"}, nil
}

// expect is an error unless so.
func expect(so bool, format string, values ...any) error {
	if so {
		return nil
	}
	return fmt.Errorf(format, values...)
}

// first is the first error, if any.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

var errTooLong = errors.New("not within a minute")
