// operator: a controller as controller-runtime builds them: a custom resource with owned objects, a finalizer, a status, events, leader
// election, and webhooks that fill and check.
package main

import (
	"flag"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	hooks "sigs.k8s.io/controller-runtime/pkg/webhook"
)

func main() {
	port := flag.Int("port", 9443, "where the webhooks listen")
	folder := flag.String("certificates", "", "where the webhooks' certificate is put")
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.UseDevMode(true)))
	if err := run(*port, *folder); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
	fmt.Println("ended")
}

func run(port int, folder string) error {
	authority, err := writeCertificate(folder)
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	addToScheme(scheme)
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       server.Options{BindAddress: "0"},
		WebhookServer:                 hooks.NewServer(hooks.Options{Host: "127.0.0.1", Port: port, CertDir: folder}),
		LeaderElection:                true,
		LeaderElectionID:              "sites.programs.example.com",
		LeaderElectionNamespace:       "default",
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return err
	}
	if err := (&reconciler{manager.GetClient(), manager.GetEventRecorder("sites")}).setUp(manager); err != nil {
		return err
	}
	if err := (webhook{}).setUp(manager); err != nil {
		return err
	}
	context := ctrl.SetupSignalHandler()
	direct, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	if err := register(context, direct, port, authority); err != nil {
		return err
	}
	go func() {
		<-manager.Elected()
		fmt.Println("elected")
	}()
	return manager.Start(context)
}
