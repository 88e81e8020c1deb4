package catalog

import (
	"strings"
	"testing"
)

const shopManifests = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: till
  namespace: shop
  labels: {app: till-app, team: coin, app.kubernetes.io/name: cashier, app.kubernetes.io/part-of: sales, app.kubernetes.io/version: "3"}
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{"a": "b"}'
    example.com/token: hush
spec:
  template:
    metadata:
      labels: {app: till-app, tier: gold}
      annotations: {resource.opentelemetry.io/deployment.environment.name: prod}
    spec:
      containers:
        - name: server
          env:
            - {name: DB, valueFrom: {secretKeyRef: {name: db, key: url}}}
            - {name: OTEL_SERVICE_NAME, value: till-svc}
---
apiVersion: v1
kind: Service
metadata:
  name: till
  annotations:
    a8r.io/owner: "@coin"
    a8r.io/chat: "#coin"
    a8r.io/runbook: https://wiki.example.com/till
    a8r.io/incidents: https://shop.pagerduty.com/services/P1
    a8r.io/repository: git@git.example.com:shop/till.git
    a8r.io/dependencies: "stock, ledger None"
    a8r.io/support: https://help.example.com
    a8r.io/documentation: https://docs.example.com
    a8r.io/description: Takes the money
---
apiVersion: v1
kind: ConfigMap
metadata: {name: till, labels: {team: coin}}
data: {a: b}
---
apiVersion: v1
kind: Service
metadata: {name: silent, labels: {app: silent}}
---
apiVersion: v1
kind: Service
metadata: {name: nobodys, annotations: {a8r.io/owner: No owner}, labels: {owner: none, team: fallback}}
---
{{- if .Values.enabled }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "till.name" . }}
{{- end }}
---
apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}", labels: {team: coin}}
---
apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Namespace
    metadata: {name: shop, labels: {team: shopkeepers}}
  - apiVersion: v1
    kind: Service
    metadata: {name: rates, labels: {dt.owner: money, team: coin}}
    spec: {type: ExternalName, externalName: api.rates.example.com}
  - apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: ledger, labels: {owner: dba, app.kubernetes.io/component: database}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: sweep}
spec: {jobTemplate: {spec: {template: {metadata: {labels: {owner: coin}}}}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, annotations: {dt.owner-1: one, dt.owner-2: two, a8r.io/dependencies: "stock.shop, rates"}}
spec:
  template:
    metadata: {labels: {app.kubernetes.io/component: watcher}}
    spec:
      containers:
        - env:
            - {name: OTEL_SERVICE_NAME, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app.kubernetes.io/component']"}}}
            - {name: OTEL_RESOURCE_ATTRIBUTES, value: "service.name=$(OTEL_SERVICE_NAME),service.namespace=sales,deployment.environment=test"}
`

func TestKubernetes(t *testing.T) {
	records, problems := Kubernetes("k.yaml", []byte(shopManifests), nil)
	same(t, records, problems, `
service "till-svc" line 1
 namespace="shop"
 environment="prod"
 aliases=["till","cashier","till-app"]
 owner="coin"
 tier="gold"
 parent="sales"
 link app.kubernetes.io/version: 3
service "till" line 22
 owner="coin"
 oncall="https://shop.pagerduty.com/services/P1"
 chat="#coin"
 runbook="https://wiki.example.com/till"
 repository="https://git.example.com/shop/till"
 depends=["stock","ledger"]
 link a8r.io/support: https://help.example.com
 link a8r.io/documentation: https://docs.example.com
 link a8r.io/description: Takes the money
service "nobodys" line 46
 owner="fallback"
namespace "shop" line 64
 owner="shopkeepers"
third-party "rates" line 67
 aliases=["api.rates.example.com"]
 owner="money"
 link team: coin
datastore "ledger" line 71
 owner="dba"
service "sweep" line 75
 owner="coin"
service "watcher" line 80
 namespace="sales"
 environment="test"
 aliases=["agent"]
 owner="one"
 owners=["two"]
 depends=["stock","rates"]
`, `k.yaml:49: not YAML: did not find expected node content (a template? render it first)
k.yaml:57: Service has a template for a name: "{{ .Release.Name }}": not read`)
}

func TestKubernetesLabels(t *testing.T) {
	const file = "kind: Pod\nmetadata: {name: a, labels: {squad: x, team: y, owner: z}}\n"
	for _, c := range []struct {
		labels []string
		owner  string
	}{{nil, "z"}, {[]string{"squad"}, "x"}, {[]string{"missing", "team"}, "y"}, {[]string{"missing"}, ""}} {
		records, _ := Kubernetes("f", []byte(file), c.labels)
		owner := ""
		for _, r := range records {
			owner = r.Owner
		}
		if owner != c.owner {
			t.Errorf("labels %q: owner %q, want %q", c.labels, owner, c.owner)
		}
	}
}

func TestKubernetesIsBounded(t *testing.T) {
	for _, c := range []struct{ name, file, problems string }{
		{
			"a name of 1 MB", "kind: Service\nmetadata: {labels: {team: x}, name: " + strings.Repeat("x", 1<<20) + "}",
			"f:1: Service has no name: not read\nf:2: a value of 1048576 bytes is not read: 65536 are the most",
		},
		{
			"a templated namespace", "kind: Service\nmetadata: {name: a, namespace: '{{ x }}', labels: {team: b}}\n",
			"f:1: Service has a template for a namespace: \"{{ x }}\": not read",
		},
		{"a namespace without name", "kind: Namespace\nmetadata: {labels: {team: b}}\n", "f:1: Namespace has no name: not read"},
		{"bomb", bomb("{kind: Pod}") + "kind: List\nitems: *l9\n", "f:6: aliases repeat more than 100000 values"},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, problems := Kubernetes("f", []byte(c.file), nil)
			same(t, records, problems, "", c.problems)
		})
	}
}

func FuzzKubernetes(f *testing.F) {
	f.Add([]byte(shopManifests))
	f.Add([]byte(bomb("{kind: Pod}")))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, problems := Kubernetes("f", data, nil)
		bounded(t, data, records, problems)
	})
}
