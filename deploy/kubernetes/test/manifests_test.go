// Package manifests_test builds the manifests with kustomize, decodes every object strictly into the types of the
// Kubernetes API, and checks what those types cannot say. It is a module of its own: Braid needs none of this.
package manifests_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// pod is a workload's pods.
type pod struct {
	name     string // Kind/name
	service  string // that names the pods of a StatefulSet
	replicas int32
	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
}

// built is what an overlay consists of.
type built struct {
	objects  map[string]int // Kind, and how many of it
	pods     []pod
	services []corev1.Service
	budgets  []policyv1.PodDisruptionBudget
	named    map[string]bool // Kind/name of what pods may refer to
}

// build is `kustomize build`; a field that the API does not have is an error.
func build(t *testing.T, path string) built {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme,
		json.SerializerOptions{Yaml: true, Strict: true})
	b := built{objects: make(map[string]int), named: make(map[string]bool)}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object, kind, err := decoder.Decode(text, nil, nil)
		if err != nil {
			t.Fatalf("%s %s: %v", r.GetKind(), r.GetName(), err)
		}
		if kind.Kind != "Namespace" && r.GetNamespace() != "braid" {
			t.Errorf("%s %s is in the namespace %q", kind.Kind, r.GetName(), r.GetNamespace())
		}
		b.add(object, kind.Kind, r.GetName())
	}
	return b
}

func (b *built) add(object runtime.Object, kind, name string) {
	b.objects[kind]++
	b.named[kind+"/"+name] = true
	switch o := object.(type) {
	case *appsv1.Deployment:
		b.pods = append(b.pods, pod{kind + "/" + name, "", *o.Spec.Replicas, o.Spec.Selector, o.Spec.Template})
	case *appsv1.StatefulSet:
		b.pods = append(b.pods, pod{kind + "/" + name, o.Spec.ServiceName, *o.Spec.Replicas, o.Spec.Selector, o.Spec.Template})
		for _, claim := range o.Spec.VolumeClaimTemplates {
			b.named["Claim/"+name+"/"+claim.Name] = true
		}
	case *corev1.Service:
		b.services = append(b.services, *o)
	case *policyv1.PodDisruptionBudget:
		b.budgets = append(b.budgets, *o)
	}
}

// outside is what the base expects to be there: made by FoundationDB's operator, and by whoever knows the credentials.
var outside = map[string][]string{
	"../base":        {"ConfigMap/braid-fdb-config", "Secret/braid-s3"},
	"../development": nil,
}

func TestManifests(t *testing.T) {
	for _, path := range slices.Sorted(maps.Keys(outside)) {
		t.Run(strings.TrimPrefix(path, "../"), func(t *testing.T) {
			b := build(t, path)
			for _, name := range outside[path] {
				b.named[name] = true
			}
			if b.objects["StatefulSet"] < 3 || b.objects["Deployment"] != 3 {
				t.Fatalf("objects: %v", b.objects)
			}
			for _, p := range b.pods {
				checkPod(t, &b, p)
				for _, c := range p.template.Spec.Containers {
					checkContainer(t, &b, p, c)
				}
			}
			checkServices(t, &b)
		})
	}
}

func checkPod(t *testing.T, b *built, p pod) {
	t.Helper()
	set, err := metav1.LabelSelectorAsSelector(p.selector)
	if err != nil || !set.Matches(labels.Set(p.template.Labels)) {
		t.Errorf("%s does not select its own pods: %v", p.name, err)
	}
	s := p.template.Spec
	if c := s.SecurityContext; c == nil || c.RunAsNonRoot == nil || !*c.RunAsNonRoot || c.FSGroup == nil ||
		c.SeccompProfile == nil || c.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("%s may run as root, or without seccomp", p.name)
	}
	if s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken {
		t.Errorf("%s has a token for the API, which nothing in it needs", p.name)
	}
	if s.TerminationGracePeriodSeconds == nil || *s.TerminationGracePeriodSeconds < 30 {
		t.Errorf("%s has no time to drain", p.name)
	}
	budgets := 0
	for _, budget := range b.budgets {
		if matches(t, budget.Spec.Selector, p.template.Labels) {
			budgets++
		}
	}
	if budgets != 1 { // an eviction is refused where two budgets match
		t.Errorf("%s has %d disruption budgets, want 1", p.name, budgets)
	}
	for _, v := range s.Volumes {
		switch {
		case v.ConfigMap != nil:
			b.refers(t, p, "ConfigMap/"+v.ConfigMap.Name)
		case v.PersistentVolumeClaim != nil:
			b.refers(t, p, "PersistentVolumeClaim/"+v.PersistentVolumeClaim.ClaimName)
		}
	}
	if p.service != "" {
		b.refers(t, p, "Service/"+p.service)
	}
}

func checkContainer(t *testing.T, b *built, p pod, c corev1.Container) {
	t.Helper()
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.Capabilities == nil ||
		!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("%s: container %s may write to its image, or has capabilities", p.name, c.Name)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("%s: container %s has no requests or no limit on memory", p.name, c.Name)
	}
	if !c.Resources.Limits.Cpu().IsZero() {
		t.Errorf("%s: container %s is throttled: its heartbeats would be late", p.name, c.Name)
	}
	ports := make(map[string]bool)
	for _, port := range c.Ports {
		ports[port.Name] = true
	}
	for what, probe := range map[string]*corev1.Probe{
		"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe,
	} {
		if probe == nil || probe.HTTPGet == nil || !ports[probe.HTTPGet.Port.StrVal] {
			t.Errorf("%s: container %s has no %s probe on a port of its own", p.name, c.Name, what)
		}
	}
	if strings.HasPrefix(c.Image, "braid") &&
		(c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/healthz") {
		t.Errorf("%s: container %s is asked for %s and %s", p.name, c.Name, c.ReadinessProbe.HTTPGet.Path,
			c.LivenessProbe.HTTPGet.Path)
	}
	if _, tag, ok := strings.Cut(c.Image, ":"); !ok || tag == "latest" {
		t.Errorf("%s: image %s is not pinned", p.name, c.Image)
	}
	mounts := make(map[string]bool)
	for _, v := range p.template.Spec.Volumes {
		mounts[v.Name] = true
	}
	_, name, _ := strings.Cut(p.name, "/")
	for _, m := range c.VolumeMounts {
		if !mounts[m.Name] && !b.named["Claim/"+name+"/"+m.Name] {
			t.Errorf("%s: container %s mounts %s, which is no volume", p.name, c.Name, m.Name)
		}
	}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			b.refers(t, p, "ConfigMap/"+from.ConfigMapRef.Name)
		}
		if from.SecretRef != nil {
			b.refers(t, p, "Secret/"+from.SecretRef.Name)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			b.refers(t, p, "Secret/"+e.ValueFrom.SecretKeyRef.Name)
		}
	}
}

// refers checks that what a pod refers to is there.
func (b *built) refers(t *testing.T, p pod, name string) {
	t.Helper()
	if !b.named[name] {
		t.Errorf("%s refers to %s, which is not there", p.name, name)
	}
}

// checkServices: each leads to the pods of one workload, on a port that these have.
func checkServices(t *testing.T, b *built) {
	t.Helper()
	for _, s := range b.services {
		found := 0
		for _, p := range b.pods {
			if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.template.Labels)) {
				continue
			}
			found++
			for _, port := range s.Spec.Ports {
				if !slices.ContainsFunc(p.template.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool {
					return c.Name == port.TargetPort.StrVal
				}) {
					t.Errorf("service %s leads to port %s, which %s has not", s.Name, port.TargetPort.StrVal, p.name)
				}
			}
		}
		if found != 1 {
			t.Errorf("service %s leads to %d workloads, want 1", s.Name, found)
		}
	}
}

func matches(t *testing.T, s *metav1.LabelSelector, l map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(l))
}
