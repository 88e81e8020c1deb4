package catalog

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ownerLabels name the owner where nothing else is configured.
var ownerLabels = []string{"dt.owner", "owner", "team"}

// Kubernetes reads manifests: workloads, services and namespaces that say anything of an owner. The labels are those, or
// annotations, that name the owner, in this order, after the annotation a8r.io/owner; none stand for the usual ones.
//
// A namespace says who owns what has no owner of its own there.
func Kubernetes(file string, data []byte, labels []string) ([]Record, []Problem) {
	return readYAML(newKubernetes(labels), file, data)
}

func newKubernetes(labels []string) *kubernetesReader {
	if len(labels) == 0 {
		labels = ownerLabels
	}
	return &kubernetesReader{catalogFile: catalogFile{format: "kubernetes"}, labels: labels}
}

type kubernetesReader struct {
	catalogFile
	labels []string
}

func (f *kubernetesReader) document(root *yaml.Node) {
	for _, object := range objects(root) {
		kind := text(object, "kind")
		if !manifests[kind] {
			continue
		}
		r := manifest(object, f.labels)
		if !says(r) {
			continue
		}
		if reason := unnamed(at(object, "metadata")); reason != "" {
			f.wrong(object, "%s %s: not read", kind, reason)
			continue
		}
		r.Source = Source{Format: f.format, File: f.name, Line: object.Line}
		f.done = append(f.done, r)
	}
}

// isManifest says whether any object of a document is read.
func isManifest(root *yaml.Node) bool {
	for _, object := range objects(root) {
		if manifests[text(object, "kind")] && at(object, "apiVersion") != nil {
			return true
		}
	}
	return false
}

// manifests are the kinds that stand for something that is called, or for the place of such things.
var manifests = map[string]bool{
	"Deployment": true, "StatefulSet": true, "DaemonSet": true, "ReplicaSet": true, "Job": true, "CronJob": true, "Pod": true,
	"Rollout": true, "DeploymentConfig": true, "Service": true, "Namespace": true,
}

// objects are the document, or the items of it where it is a list.
func objects(root *yaml.Node) []*yaml.Node {
	if strings.HasSuffix(text(root, "kind"), "List") {
		return items(root, "items")
	}
	return []*yaml.Node{root}
}

// says tells whether a record is of any use: most manifests have nothing to say of owners.
func says(r Record) bool {
	return r.Owner != "" || r.OnCall != "" || r.Chat != "" || r.Runbook != "" || r.Dashboard != "" || r.Repository != "" ||
		r.Tier != "" || len(r.DependsOn) > 0
}

// known are labels and annotations that have a place of their own, or that tools write for themselves.
var known = []string{
	"a8r.io/owner", "a8r.io/chat", "a8r.io/runbook", "a8r.io/repository", "a8r.io/performance", "a8r.io/dependencies",
	"app.kubernetes.io/name", "app.kubernetes.io/part-of", "app", "app.kubernetes.io/managed-by", "helm.sh/chart",
	"kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision", "pod-template-hash",
	"resource.opentelemetry.io/service.name", "resource.opentelemetry.io/service.namespace",
	"resource.opentelemetry.io/deployment.environment.name", "resource.opentelemetry.io/deployment.environment",
}

func manifest(object *yaml.Node, ownerLabels []string) Record {
	kind, template := text(object, "kind"), at(object, "spec", "template")
	if kind == "CronJob" {
		template = at(object, "spec", "jobTemplate", "spec", "template")
	}
	// What the object says of itself goes before what it says of its pods.
	places := []*yaml.Node{
		at(object, "metadata", "annotations"), at(object, "metadata", "labels"),
		at(template, "metadata", "annotations"), at(template, "metadata", "labels"),
	}
	var used []string
	value := func(keys ...string) string {
		for _, key := range keys {
			for _, place := range places {
				if v := text(place, key); v != "" && !strings.Contains(v, "{{") {
					used = append(used, key)
					return v
				}
			}
		}
		return ""
	}
	r := Record{Kind: Service, Name: text(object, "metadata", "name"), Namespace: text(object, "metadata", "namespace")}
	for _, label := range append([]string{"a8r.io/owner"}, ownerLabels...) {
		if r.Owner == "" {
			r.owned(value, label)
		}
	}
	r.Chat = value("a8r.io/chat")
	r.Runbook = value("a8r.io/runbook")
	r.Repository = webAddress(value("a8r.io/repository"))
	r.Dashboard = value("a8r.io/performance")
	r.Parent = value("app.kubernetes.io/part-of")
	key, level := tier(places...)
	r.Tier, used = level, append(used, key)
	for name := range strings.FieldsFuncSeq(value("a8r.io/dependencies"), func(c rune) bool { return c == ',' || c == ' ' || c == '\n' }) {
		name, _, _ = strings.Cut(name, ".") // of name.namespace
		if !Nobody(name) && validName(name) == "" && len(r.DependsOn) < listMax {
			r.DependsOn = append(r.DependsOn, name)
		}
	}
	if incidents := value("a8r.io/incidents"); incidents != "" {
		r.place("a8r.io/incidents", "", incidents)
	}
	switch {
	case kind == "Namespace":
		r.Kind, r.Namespace = Namespace, ""
	case kind == "Service" && text(object, "spec", "type") == "ExternalName":
		r.Kind = ThirdParty
		r.alsoCalled(text(object, "spec", "externalName"))
	default:
		r.Kind = kindOf(value("app.kubernetes.io/component"), Service)
		r.traced(template, object, value)
	}
	all, seen := &yaml.Node{Kind: yaml.MappingNode}, make(map[string]bool)
	for _, place := range places {
		for key, value := range fieldsOf(place) {
			if !seen[key.Value] {
				seen[key.Value] = true
				spellPairs(value)
				all.Content = append(all.Content, key, value)
			}
		}
	}
	r.Links = rest(r.Links, all, "", slices.Concat(known, used)...)
	return r
}

// ownersMax is how many owners of one label are looked for.
const ownersMax = 9

// owned takes the owners of a label, several of which are numbered: dt.owner-1, dt.owner-2.
func (r *Record) owned(value func(...string) string, label string) {
	for i := range ownersMax + 1 {
		key := label
		if i > 0 {
			key = fmt.Sprintf("%s-%d", label, i)
		}
		owner := value(key)
		if strings.HasPrefix(owner, "@") { // a handle
			owner, _ = mention(owner)
		}
		if !Nobody(owner) && len(owner) <= nameBytesMax {
			r.addOwner(owner)
		}
	}
}

// traced gives the names that the pods' spans carry, where the manifest says them, by the rules of OpenTelemetry; the
// other names are aliases.
func (r *Record) traced(template, object *yaml.Node, value func(...string) string) {
	pod := at(template, "spec")
	if pod == nil {
		pod = at(object, "spec")
	}
	var named *yaml.Node // the variable that names the service
	own, spans := r.Name, make(map[string]string)
	for _, container := range items(pod, "containers") {
		for _, env := range items(container, "env") {
			switch text(env, "name") {
			case "OTEL_SERVICE_NAME":
				if named == nil {
					named = env
				}
			case "OTEL_RESOURCE_ATTRIBUTES":
				for pair := range strings.SplitSeq(text(env, "value"), ",") {
					if key, v, _ := strings.Cut(pair, "="); spans[key] == "" {
						spans[key] = v
					}
				}
			}
		}
	}
	if name := text(named, "value"); name != "" {
		spans["service.name"] = name
	} else if m := fieldPath.FindStringSubmatch(text(named, "valueFrom", "fieldRef", "fieldPath")); m != nil {
		spans["service.name"] = value(m[1])
	}
	says := func(keys ...string) string {
		for _, key := range keys {
			for _, v := range []string{value("resource.opentelemetry.io/" + key), spans[key]} {
				if validName(v) == "" && !strings.Contains(v, "$(") {
					return v
				}
			}
		}
		return ""
	}
	if name := says("service.name"); name != "" {
		r.Name = name
	}
	if namespace := says("service.namespace"); namespace != "" {
		r.Namespace = namespace
	}
	r.Environment = says("deployment.environment.name", "deployment.environment")
	r.alsoCalled(own, value("app.kubernetes.io/name"), value("app"))
}

// fieldPath is a reference of an environment variable to a label or an annotation of its pod.
var fieldPath = regexp.MustCompile(`^metadata\.(?:labels|annotations)\['([^']+)'\]$`)
