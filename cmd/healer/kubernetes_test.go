package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"healer/config"
)

// The parts of Kubernetes' objects that the manifests use: a field that is none of these is
// an error, so that none is misspelt.
type (
	meta struct {
		Name        string            `yaml:"name"`
		Labels      map[string]string `yaml:"labels"`
		Annotations map[string]string `yaml:"annotations"`
	}
	selector struct {
		MatchLabels map[string]string `yaml:"matchLabels"`
	}
	manifest[S any] struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Metadata   meta   `yaml:"metadata"`
		Spec       S      `yaml:"spec"`
	}
	configMap struct {
		APIVersion string            `yaml:"apiVersion"`
		Kind       string            `yaml:"kind"`
		Metadata   meta              `yaml:"metadata"`
		Data       map[string]string `yaml:"data"`
	}
	secret struct {
		APIVersion string            `yaml:"apiVersion"`
		Kind       string            `yaml:"kind"`
		Metadata   meta              `yaml:"metadata"`
		StringData map[string]string `yaml:"stringData"`
	}
	service struct {
		ClusterIP                string            `yaml:"clusterIP"`
		PublishNotReadyAddresses bool              `yaml:"publishNotReadyAddresses"`
		Selector                 map[string]string `yaml:"selector"`
		Ports                    []struct {
			Name       string `yaml:"name"`
			Port       int    `yaml:"port"`
			TargetPort string `yaml:"targetPort"`
			Protocol   string `yaml:"protocol"`
		} `yaml:"ports"`
	}
	statefulSet struct {
		ServiceName         string   `yaml:"serviceName"`
		Replicas            int      `yaml:"replicas"`
		PodManagementPolicy string   `yaml:"podManagementPolicy"`
		MinReadySeconds     int      `yaml:"minReadySeconds"`
		Selector            selector `yaml:"selector"`
		UpdateStrategy      struct {
			Type string `yaml:"type"`
		} `yaml:"updateStrategy"`
		Template struct {
			Metadata meta `yaml:"metadata"`
			Spec     pod  `yaml:"spec"`
		} `yaml:"template"`
		VolumeClaimTemplates []struct {
			Metadata meta `yaml:"metadata"`
			Spec     struct {
				AccessModes []string `yaml:"accessModes"`
				Resources   struct {
					Requests map[string]string `yaml:"requests"`
				} `yaml:"resources"`
			} `yaml:"spec"`
		} `yaml:"volumeClaimTemplates"`
	}
	pod struct {
		AutomountServiceAccountToken  *bool `yaml:"automountServiceAccountToken"`
		EnableServiceLinks            *bool `yaml:"enableServiceLinks"`
		TerminationGracePeriodSeconds int   `yaml:"terminationGracePeriodSeconds"`
		Affinity                      struct {
			PodAntiAffinity struct {
				Required []struct {
					LabelSelector selector `yaml:"labelSelector"`
					TopologyKey   string   `yaml:"topologyKey"`
				} `yaml:"requiredDuringSchedulingIgnoredDuringExecution"`
			} `yaml:"podAntiAffinity"`
		} `yaml:"affinity"`
		TopologySpreadConstraints []struct {
			MaxSkew           int      `yaml:"maxSkew"`
			TopologyKey       string   `yaml:"topologyKey"`
			WhenUnsatisfiable string   `yaml:"whenUnsatisfiable"`
			LabelSelector     selector `yaml:"labelSelector"`
		} `yaml:"topologySpreadConstraints"`
		SecurityContext struct {
			RunAsNonRoot        bool   `yaml:"runAsNonRoot"`
			RunAsUser           int    `yaml:"runAsUser"`
			RunAsGroup          int    `yaml:"runAsGroup"`
			FSGroup             int    `yaml:"fsGroup"`
			FSGroupChangePolicy string `yaml:"fsGroupChangePolicy"`
			SeccompProfile      struct {
				Type string `yaml:"type"`
			} `yaml:"seccompProfile"`
		} `yaml:"securityContext"`
		Containers []container `yaml:"containers"`
		Volumes    []struct {
			Name      string `yaml:"name"`
			ConfigMap struct {
				Name string `yaml:"name"`
			} `yaml:"configMap"`
			Secret struct {
				SecretName  string `yaml:"secretName"`
				DefaultMode int    `yaml:"defaultMode"`
			} `yaml:"secret"`
			EmptyDir struct {
				SizeLimit string `yaml:"sizeLimit"`
			} `yaml:"emptyDir"`
		} `yaml:"volumes"`
	}
	container struct {
		Name  string   `yaml:"name"`
		Image string   `yaml:"image"`
		Args  []string `yaml:"args"`
		Env   []struct {
			Name      string `yaml:"name"`
			ValueFrom struct {
				FieldRef struct {
					FieldPath string `yaml:"fieldPath"`
				} `yaml:"fieldRef"`
			} `yaml:"valueFrom"`
		} `yaml:"env"`
		Ports []struct {
			Name          string `yaml:"name"`
			ContainerPort int    `yaml:"containerPort"`
			Protocol      string `yaml:"protocol"`
		} `yaml:"ports"`
		StartupProbe   probe `yaml:"startupProbe"`
		LivenessProbe  probe `yaml:"livenessProbe"`
		ReadinessProbe probe `yaml:"readinessProbe"`
		Resources      struct {
			Requests map[string]string `yaml:"requests"`
			Limits   map[string]string `yaml:"limits"`
		} `yaml:"resources"`
		SecurityContext struct {
			AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities             struct {
				Drop []string `yaml:"drop"`
			} `yaml:"capabilities"`
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name      string `yaml:"name"`
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		} `yaml:"volumeMounts"`
	}
	probe struct {
		HTTPGet struct {
			Path string `yaml:"path"`
			Port string `yaml:"port"`
		} `yaml:"httpGet"`
		PeriodSeconds    int `yaml:"periodSeconds"`
		TimeoutSeconds   int `yaml:"timeoutSeconds"`
		FailureThreshold int `yaml:"failureThreshold"`
	}
	disruptionBudget struct {
		MaxUnavailable int      `yaml:"maxUnavailable"`
		Selector       selector `yaml:"selector"`
	}
	networkPolicy struct {
		PodSelector selector `yaml:"podSelector"`
		PolicyTypes []string `yaml:"policyTypes"`
		Ingress     []struct {
			From []struct {
				PodSelector selector `yaml:"podSelector"`
			} `yaml:"from"`
			Ports []struct {
				Port     string `yaml:"port"`
				Protocol string `yaml:"protocol"`
			} `yaml:"ports"`
		} `yaml:"ingress"`
	}
	kustomization struct {
		APIVersion string   `yaml:"apiVersion"`
		Kind       string   `yaml:"kind"`
		Namespace  string   `yaml:"namespace"`
		Resources  []string `yaml:"resources"`
		Images     []struct {
			Name   string `yaml:"name"`
			NewTag string `yaml:"newTag"`
		} `yaml:"images"`
	}
)

// deployed is what the manifests say.
type deployed struct {
	config   configMap
	secret   secret
	services []manifest[service]
	agents   manifest[statefulSet]
	budget   manifest[disruptionBudget]
	network  manifest[networkPolicy]
}

// read decodes the documents of a manifest, each into its own.
func read(t *testing.T, file string, into ...any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../deploy/kubernetes", file))
	if err != nil {
		t.Fatal(err)
	}
	docs := bytes.Split(raw, []byte("\n---\n"))
	if len(docs) != len(into) {
		t.Fatalf("%s has %d documents, not %d", file, len(docs), len(into))
	}
	for i, doc := range docs {
		if err := yaml.UnmarshalWithOptions(doc, into[i], yaml.Strict()); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
}

func manifests(t *testing.T) deployed {
	t.Helper()
	d := deployed{services: make([]manifest[service], 2)}
	var k kustomization
	files := map[string][]any{
		"config.yaml": {&d.config}, "secret.yaml": {&d.secret}, "service.yaml": {&d.services[0], &d.services[1]},
		"statefulset.yaml": {&d.agents}, "disruption.yaml": {&d.budget}, "network.yaml": {&d.network},
	}
	for file, into := range files {
		read(t, file, into...)
	}
	read(t, "kustomization.yaml", &k)
	if len(k.Resources) != len(files) || len(k.Images) != 1 || k.Images[0].Name != d.agents.Spec.Template.Spec.Containers[0].Image {
		t.Errorf("kustomization.yaml has %+v", k)
	}
	for _, file := range k.Resources {
		if files[file] == nil {
			t.Errorf("kustomization.yaml has %s", file)
		}
	}
	for got, want := range map[string]string{
		d.config.APIVersion + d.config.Kind: "v1ConfigMap", d.secret.APIVersion + d.secret.Kind: "v1Secret",
		d.agents.APIVersion + d.agents.Kind: "apps/v1StatefulSet", d.budget.APIVersion + d.budget.Kind: "policy/v1PodDisruptionBudget",
		d.network.APIVersion + d.network.Kind: "networking.k8s.io/v1NetworkPolicy",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	return d
}

// TestKubernetesFile: the cluster's file is one that an agent takes, its nodes are the
// pods, and their addresses the pods' names and ports; every file that it names is mounted.
func TestKubernetesFile(t *testing.T) {
	d := manifests(t)
	agent := d.agents.Spec.Template.Spec.Containers[0]
	path := filepath.Join(t.TempDir(), "healer.yaml")
	if err := os.WriteFile(path, []byte(d.config.Data["healer.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path, checkDSN)
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]int{}
	for _, p := range agent.Ports {
		ports[p.Name] = p.ContainerPort
	}
	if len(c.Nodes) != d.agents.Spec.Replicas {
		t.Errorf("%d pods for %d nodes", d.agents.Spec.Replicas, len(c.Nodes))
	}
	for i, n := range c.Nodes {
		host := fmt.Sprintf("%s-%d.%s", d.agents.Metadata.Name, i, d.agents.Spec.ServiceName)
		for name, addr := range map[string]string{"gossip": n.Gossip, "api": n.API, "nats": n.NATS.Client, "nats-route": n.NATS.Cluster} {
			if want := fmt.Sprintf("%s:%d", host, ports[name]); addr != want {
				t.Errorf("%s of %s is %s, the pod's is %s", name, n.Name, addr, want)
			}
		}
		if n.Name != fmt.Sprintf("%s-%d", d.agents.Metadata.Name, i) || agent.Env[0].Name != "HEALER_NODE" || agent.Env[0].ValueFrom.FieldRef.FieldPath != "metadata.name" {
			t.Errorf("node %s is not the pod's name in HEALER_NODE", n.Name)
		}
	}
	for _, file := range regexp.MustCompile(`(?:passfile=|token_file: |keys: )(/[\w/.-]+)`).FindAllStringSubmatch(d.config.Data["healer.yaml"], -1) {
		mounted(t, d, file[1])
	}
	mounted(t, d, "/etc/healer/healer.yaml")
	// A placeholder that an agent took for a key would be the key of everybody.
	if key := d.secret.StringData["gossip.keys"]; key != "CHANGE_ME" {
		t.Errorf("the manifest has a key: %s", key)
	}
}

// mounted: the file is one of the ConfigMap or of the Secret that is mounted there.
func mounted(t *testing.T, d deployed, file string) {
	t.Helper()
	spec := d.agents.Spec.Template.Spec
	for _, m := range spec.Containers[0].VolumeMounts {
		if m.MountPath != path.Dir(file) {
			continue
		}
		for _, v := range spec.Volumes {
			_, inConfig := d.config.Data[path.Base(file)]
			_, inSecret := d.secret.StringData[path.Base(file)]
			if v.Name == m.Name && m.ReadOnly && (v.ConfigMap.Name == d.config.Metadata.Name && inConfig ||
				v.Secret.SecretName == d.secret.Metadata.Name && inSecret && v.Secret.DefaultMode == 0o440) {
				return
			}
		}
	}
	t.Errorf("%s is not mounted", file)
}

// TestKubernetesPods: what runs is a command of the program, as nobody, with nothing to
// write but its volumes, and asked what the API answers; no host has two of them.
func TestKubernetesPods(t *testing.T) {
	d := manifests(t)
	set, spec := d.agents.Spec, d.agents.Spec.Template.Spec
	agent := spec.Containers[0]
	if said := accepts(t, agent.Args); said != "" {
		t.Errorf("args %q: %s", agent.Args, said)
	}
	openapi, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]probe{"startup": agent.StartupProbe, "liveness": agent.LivenessProbe, "readiness": agent.ReadinessProbe} {
		if p.HTTPGet.Port != "api" || !strings.Contains(string(openapi), "\n  "+p.HTTPGet.Path+":\n") || (name == "readiness") != (p.HTTPGet.Path == "/readyz") {
			t.Errorf("the %s probe asks %+v", name, p.HTTPGet)
		}
	}
	own := agent.SecurityContext
	if !spec.SecurityContext.RunAsNonRoot || spec.SecurityContext.RunAsUser == 0 || spec.SecurityContext.FSGroup == 0 || spec.SecurityContext.SeccompProfile.Type != "RuntimeDefault" ||
		!own.ReadOnlyRootFilesystem || own.AllowPrivilegeEscalation == nil || *own.AllowPrivilegeEscalation || !slices.Equal(own.Capabilities.Drop, []string{"ALL"}) ||
		spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		t.Errorf("it may do more than it needs: %+v, %+v", spec.SecurityContext, own)
	}
	writable := map[string]bool{}
	for _, m := range agent.VolumeMounts {
		if !m.ReadOnly {
			writable[m.MountPath] = true
		}
	}
	dir := ""
	for _, a := range agent.Args {
		if at, is := strings.CutPrefix(a, "--data-dir="); is {
			dir = at
		}
	}
	if !writable[path.Dir(dir)] || !writable["/tmp"] || len(writable) != 2 || set.VolumeClaimTemplates[0].Metadata.Name != "data" {
		t.Errorf("it keeps its data in %s and writes to %v", dir, writable)
	}
	apart := spec.Affinity.PodAntiAffinity.Required
	if len(apart) != 1 || apart[0].TopologyKey != "kubernetes.io/hostname" {
		t.Errorf("two may be on one host: %+v", apart)
	}
	labels := set.Template.Metadata.Labels
	for what, s := range map[string]map[string]string{
		"the set": set.Selector.MatchLabels, "anti-affinity": apart[0].LabelSelector.MatchLabels, "the budget": d.budget.Spec.Selector.MatchLabels,
		"the spread": spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels, "the policy": d.network.Spec.PodSelector.MatchLabels,
		"agents among themselves": d.network.Spec.Ingress[0].From[0].PodSelector.MatchLabels,
		"the names":               d.services[0].Spec.Selector, "the door": d.services[1].Spec.Selector,
	} {
		if len(s) != 1 || labels["app.kubernetes.io/name"] != s["app.kubernetes.io/name"] {
			t.Errorf("%s is about %v, the pods are %v", what, s, labels)
		}
	}
	if d.budget.Spec.MaxUnavailable != 1 {
		t.Errorf("%d agents may be away at once: there would be no majority", d.budget.Spec.MaxUnavailable)
	}
	checkServices(t, d)
}

// checkServices: every port leads to one of the pods'.
func checkServices(t *testing.T, d deployed) {
	t.Helper()
	names := d.services[0]
	if names.Metadata.Name != d.agents.Spec.ServiceName || names.Spec.ClusterIP != "None" || !names.Spec.PublishNotReadyAddresses {
		t.Errorf("the pods have no names before they are ready: %+v", names)
	}
	for _, s := range d.services {
		for _, p := range s.Spec.Ports {
			if !slices.ContainsFunc(d.agents.Spec.Template.Spec.Containers[0].Ports, func(c struct {
				Name          string `yaml:"name"`
				ContainerPort int    `yaml:"containerPort"`
				Protocol      string `yaml:"protocol"`
			},
			) bool {
				return c.Name == p.TargetPort && c.ContainerPort == p.Port && c.Protocol == p.Protocol
			}) {
				t.Errorf("service %s: port %+v is none of the pods'", s.Metadata.Name, p)
			}
		}
	}
}
