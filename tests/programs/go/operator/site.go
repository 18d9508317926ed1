package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var groupVersion = schema.GroupVersion{Group: "programs.example.com", Version: "v1"}

// Site is a page that is served by so many pods.
type Site struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              SiteSpec   `json:"spec,omitempty"`
	Status            SiteStatus `json:"status,omitempty"`
}

type SiteSpec struct {
	Greeting string `json:"greeting"`
	// Replicas is the mutating webhook's to fill.
	Replicas *int32 `json:"replicas,omitempty"`
}

type SiteStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Ready              int32              `json:"ready"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

type SiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Site `json:"items"`
}

func addToScheme(scheme *runtime.Scheme) {
	scheme.AddKnownTypes(groupVersion, &Site{}, &SiteList{})
	metav1.AddToGroupVersion(scheme, groupVersion)
}

func (site *Site) DeepCopyObject() runtime.Object {
	copied := *site
	copied.ObjectMeta = *site.ObjectMeta.DeepCopy()
	if site.Spec.Replicas != nil {
		replicas := *site.Spec.Replicas
		copied.Spec.Replicas = &replicas
	}
	copied.Status.Conditions = append([]metav1.Condition(nil), site.Status.Conditions...)
	return &copied
}

func (list *SiteList) DeepCopyObject() runtime.Object {
	copied := SiteList{TypeMeta: list.TypeMeta, ListMeta: *list.ListMeta.DeepCopy()}
	for index := range list.Items {
		copied.Items = append(copied.Items, *list.Items[index].DeepCopyObject().(*Site))
	}
	return &copied
}
