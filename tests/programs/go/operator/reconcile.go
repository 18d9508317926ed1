package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

const (
	finalizer = "programs.example.com/farewell"
	image     = "corten.local/hello"
)

type reconciler struct {
	client.Client
	recorder events.EventRecorder
}

func (r *reconciler) setUp(manager ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(manager).
		For(&Site{}).Owns(&appsv1.Deployment{}).Owns(&corev1.ConfigMap{}).Named("site").Complete(r)
}

// Reconcile keeps a ConfigMap and a Deployment for each site, and says farewell when the site goes.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	site := &Site{}
	if err := r.Get(ctx, request.NamespacedName, site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.farewell(ctx, site)
	}
	if controllerutil.AddFinalizer(site, finalizer) {
		if err := r.Update(ctx, site); err != nil {
			return ctrl.Result{}, err
		}
	}
	if err := r.page(ctx, site); err != nil {
		return ctrl.Result{}, err
	}
	deployment, err := r.deployment(ctx, site)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.status(ctx, site, deployment)
}

func (r *reconciler) page(ctx context.Context, site *Site) error {
	page := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.Name}}
	done, err := controllerutil.CreateOrUpdate(ctx, r.Client, page, func() error {
		page.Data = map[string]string{"greeting": site.Spec.Greeting}
		return controllerutil.SetControllerReference(site, page, r.Scheme())
	})
	if err == nil && done == controllerutil.OperationResultCreated {
		r.recorder.Eventf(site, page, corev1.EventTypeNormal, "PageCreated", "Create", "page %s created", page.Name)
	}
	return err
}

func (r *reconciler) deployment(ctx context.Context, site *Site) (*appsv1.Deployment, error) {
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.Name}}
	labels := map[string]string{"site": site.Name}
	_, err := controllerutil.CreateOrPatch(ctx, r.Client, deployment, func() error {
		deployment.Spec.Replicas = site.Spec.Replicas
		deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
		deployment.Spec.Template.Labels = labels
		if len(deployment.Spec.Template.Spec.Containers) == 0 {
			deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "page", Image: image}}
		}
		return controllerutil.SetControllerReference(site, deployment, r.Scheme())
	})
	return deployment, err
}

// status is written through its subresource, by a patch that a concurrent write would refuse.
func (r *reconciler) status(ctx context.Context, site *Site, deployment *appsv1.Deployment) error {
	before := site.DeepCopyObject().(*Site)
	site.Status.Ready = deployment.Status.ReadyReplicas
	site.Status.ObservedGeneration = site.Generation
	condition := metav1.Condition{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Waiting", ObservedGeneration: site.Generation}
	if site.Spec.Replicas != nil && site.Status.Ready == *site.Spec.Replicas {
		condition.Status, condition.Reason = metav1.ConditionTrue, "AllReady"
	}
	condition.Message = fmt.Sprintf("%d pods are ready", site.Status.Ready)
	meta.SetStatusCondition(&site.Status.Conditions, condition)
	return r.Status().Patch(ctx, site, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

func (r *reconciler) farewell(ctx context.Context, site *Site) error {
	if !controllerutil.ContainsFinalizer(site, finalizer) {
		return nil
	}
	note := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.Name + "-farewell"}}
	if err := r.Create(ctx, note); client.IgnoreAlreadyExists(err) != nil {
		return err
	}
	controllerutil.RemoveFinalizer(site, finalizer)
	return r.Update(ctx, site)
}
