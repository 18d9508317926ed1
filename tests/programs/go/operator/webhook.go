package main

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// webhook fills how many pods a site has, and refuses too many.
type webhook struct{}

func (webhook) setUp(manager ctrl.Manager) error {
	return ctrl.NewWebhookManagedBy(manager, &Site{}).WithDefaulter(webhook{}).WithValidator(webhook{}).Complete()
}

func (webhook) Default(_ context.Context, site *Site) error {
	if site.Spec.Replicas == nil {
		replicas := int32(2)
		site.Spec.Replicas = &replicas
	}
	return nil
}

func (webhook) ValidateCreate(_ context.Context, site *Site) (admission.Warnings, error) {
	if site.Spec.Replicas != nil && *site.Spec.Replicas > 5 {
		return nil, fmt.Errorf("a site has at most 5 replicas, not %d", *site.Spec.Replicas)
	}
	if site.Spec.Greeting == "" {
		return admission.Warnings{"an empty greeting greets nobody"}, nil
	}
	return nil, nil
}

func (hook webhook) ValidateUpdate(ctx context.Context, _, site *Site) (admission.Warnings, error) {
	return hook.ValidateCreate(ctx, site)
}

func (webhook) ValidateDelete(context.Context, *Site) (admission.Warnings, error) {
	return nil, nil
}

// register writes both configurations, for a server at this port of loopback.
func register(ctx context.Context, api client.Client, port int, authority []byte) error {
	at := func(path string) admissionv1.WebhookClientConfig {
		url := fmt.Sprintf("https://127.0.0.1:%d/%s-programs-example-com-v1-site", port, path)
		return admissionv1.WebhookClientConfig{URL: &url, CABundle: authority}
	}
	rules := []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
		Rule:       admissionv1.Rule{APIGroups: []string{groupVersion.Group}, APIVersions: []string{"v1"}, Resources: []string{"sites"}},
	}}
	none, versions := admissionv1.SideEffectClassNone, []string{"v1"}
	mutating := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "sites"}}
	_, err := controllerutil.CreateOrUpdate(ctx, api, mutating, func() error {
		mutating.Webhooks = []admissionv1.MutatingWebhook{{
			Name: "fill.programs.example.com", ClientConfig: at("mutate"), Rules: rules, SideEffects: &none, AdmissionReviewVersions: versions,
		}}
		return nil
	})
	if err != nil {
		return err
	}
	validating := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "sites"}}
	_, err = controllerutil.CreateOrUpdate(ctx, api, validating, func() error {
		validating.Webhooks = []admissionv1.ValidatingWebhook{{
			Name: "check.programs.example.com", ClientConfig: at("validate"), Rules: rules, SideEffects: &none, AdmissionReviewVersions: versions,
		}}
		return nil
	})
	return err
}
