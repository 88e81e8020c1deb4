package catalog

import "testing"

func TestDatadog(t *testing.T) {
	for _, c := range []struct{ name, file, records, problems string }{
		{"v2", `# the shop
schema-version: v2
dd-service: basket
team: checkout
dd-team: checkout-emea
contacts:
  - {name: help, type: slack, contact: https://shop.slack.com/archives/C1}
  - {type: email, contact: basket@shop.example}
  - {type: email, name: boss, contact: boss@shop.example}
links:
  - {name: Overview, type: dashboard, url: https://dash.shop.example/1}
  - {name: What to do, type: runbook, url: https://wiki.shop.example/basket}
  - {name: "Restart, runbook", type: doc, url: https://wiki.shop.example/restart}
repos:
  - {name: Source, provider: github, url: https://github.com/shop/basket.git}
docs:
  - {name: Design, provider: wiki, url: https://wiki.shop.example/design}
tags: ["cost-center:7", retail, "api_token:hunter2"]
integrations:
  pagerduty: https://shop.pagerduty.com/services/PBASKET
  opsgenie: {service-url: https://shop.opsgenie.com/service/1, region: EU}
extensions:
  shop.example/deploy: {window: night, api-key: hunter2, extra: [{key: db_password, value: hunter2}, {key: zone, value: b}]}
`, `
Kind service
Name basket
Owner checkout
Owners [checkout-emea]
OnCall https://shop.pagerduty.com/services/PBASKET
Chat https://shop.slack.com/archives/C1
Email basket@shop.example
Runbook https://wiki.shop.example/basket
Dashboard https://dash.shop.example/1
Repository https://github.com/shop/basket
line 2
on-call opsgenie = https://shop.opsgenie.com/service/1
integrations.opsgenie.region = EU
email boss = boss@shop.example
doc Restart, runbook = https://wiki.shop.example/restart
cost-center = 7
tag = retail
doc Design = https://wiki.shop.example/design
extensions.shop.example/deploy.window = night
extensions.shop.example/deploy.extra.zone = b
`, ``},
		{"v2.2 and v2.1, as JSON too", `schema-version: v2.2
dd-service: ledger-db
team: ledger
application: books
tier: 1
lifecycle: production
type: db
languages: [go, java]
integrations: {pagerduty: {service-url: PLEDGER}}
---
{"schema-version": "v2.1", "dd-service": "ledger", "team": "ledger", "description": "Two\nlines"}
`, `
Kind datastore
Name ledger-db
Owner ledger
OnCall pagerduty:PLEDGER
Tier 1
Lifecycle production
Parent books
line 1
type = db
languages = go
languages = java

Kind service
Name ledger
Owner ledger
line 11
description = Two …
`, ``},
		{"v3", `[{"apiVersion": "v3", "kind": "queue",
  "metadata": {"name": "orders", "namespace": "emea", "displayName": "Orders queue", "owner": "team:orders",
    "additionalOwners": [{"name": "kafka", "type": "operator"}, {"name": "dba"}],
    "contacts": [{"type": "microsoft-teams", "contact": "https://teams.microsoft.com/l/1"}]},
  "spec": {"tier": "2", "lifecycle": "experimental", "dependsOn": ["service:emea/stock", "datastore:orders-db"],
    "componentOf": ["system:order-flow", "system:emea"]},
  "integrations": {"opsgenie": {"serviceURL": "https://shop.opsgenie.com/service/2"}},
  "datadog": {"codeLocations": [{"repositoryURL": "https://github.com/shop/orders.git", "paths": ["queue/**"]}], "logs": [{"name": "all", "query": "a:b"}]}}]
`, `
Kind queue
Name orders
Namespace emea
Aliases [Orders queue]
Owner orders
Owners [kafka dba]
OnCall https://shop.opsgenie.com/service/2
Chat https://teams.microsoft.com/l/1
Repository https://github.com/shop/orders
Tier 2
Lifecycle experimental
DependsOn [stock orders-db]
Parent order-flow
line 1
additionalOwners.operator = kafka
spec.componentOf = system:emea
datadog.codeLocations.paths = queue/**
kind = queue
datadog.logs.name = all
datadog.logs.query = a:b
`, ``},
		{"inheritance", `apiVersion: v3
kind: service
metadata: {name: api, inheritFrom: "service:default/base", links: [{type: runbook, url: https://wiki.shop.example/api}]}
---
apiVersion: v3
kind: service
metadata: {name: base}
---
apiVersion: v3
kind: system
metadata: {name: flow, owner: flow-team, contacts: [{type: email, contact: flow@shop.example}], links: [{type: runbook, url: https://wiki.shop.example/flow}]}
spec: {components: ["service:base"]}
---
apiVersion: v3
kind: api
metadata: {name: other, owner: own, inheritFrom: "service:elsewhere"}
spec: {components: ["service:base"], interface: {fileRef: https://github.com/shop/api.yaml, definition: {openapi: 3.0.0}}}
`, `
Kind service
Name api
Owner flow-team
Email flow@shop.example
Runbook https://wiki.shop.example/api
line 1
kind = service
inherits from = service:default/base

Kind service
Name base
Owner flow-team
Email flow@shop.example
Runbook https://wiki.shop.example/flow
Parent flow
line 5
kind = service
inherits from = system:default/flow

Kind system
Name flow
Owner flow-team
Email flow@shop.example
Runbook https://wiki.shop.example/flow
line 9
kind = system
spec.components = service:base

Kind api
Name other
Owner own
Contract https://github.com/shop/api.yaml
line 14
kind = api
spec.components = service:base
metadata.inheritFrom = service:elsewhere
`, ``},
		{"components of services inherit nothing from them", `{apiVersion: v3, kind: service, metadata: {name: front, owner: x}, spec: {components: ["service:back", "service:both"]}}
---
{apiVersion: v3, kind: application, metadata: {name: shop, owner: y}, spec: {components: ["service:both"]}}
---
{apiVersion: v3, kind: service, metadata: {name: back}}
---
{apiVersion: v3, kind: service, metadata: {name: both}, spec: {componentOf: ["service:front"]}}
`, `
Kind service
Name front
Owner x
line 1
kind = service
spec.components = service:back
spec.components = service:both

Kind system
Name shop
Owner y
line 3
kind = application
spec.components = service:both

Kind service
Name back
Parent front
line 5
kind = service

Kind service
Name both
Owner y
Parent front
line 7
kind = service
inherits from = application:default/shop
`, ``},
		{"who inherits from itself", `{apiVersion: v3, kind: service, metadata: {name: a, inheritFrom: "service:b"}}
---
{apiVersion: v3, kind: service, metadata: {name: b, owner: x, inheritFrom: "service:a"}}
---
{apiVersion: v3, kind: service, metadata: {name: c, inheritFrom: "service:c"}}
`, `
Kind service
Name a
Owner x
line 1
kind = service
inherits from = service:default/b

Kind service
Name b
Owner x
line 3
kind = service

Kind service
Name c
line 5
kind = service
`, `
3: b inherits from itself
5: c inherits from itself
`},
		{"the others go on", `schema-version: v1
dd-service: old
---
schema-version: v2
---
b: [
---
dd-service: what
---
just text
---
apiVersion: v3
kind: service
metadata: [name]
---
apiVersion: v3
metadata: {name: kindless}
---
schema-version: v2
dd-service: fine
team: [a, b]
tags: [{}]
contacts: [text, {type: slack}, {type: email, contact: ""}]
links: [{name: nowhere}, {type: doc, url: ""}]
`, `
Kind service
Name fine
line 19
`, `
1: version "v1" is not known: v2, v2.1, v2.2 and v3 are
4: the service has no name
6: not YAML: did not find expected node content
8: neither schema-version nor apiVersion says what this is
10: a definition is a mapping of fields, this is "just text"
12: the service has no name
14: metadata is not a mapping of fields
16: an entity has no kind
21: team is not a text
22: an item of tags names nothing
23: an item of contacts is not a mapping of fields
23: a contact of fine says nothing
24: an item of links of fine has no url
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, problems := Datadog("f", []byte(c.file))
			expect(t, records, problems, c.records, c.problems)
		})
	}
}

func FuzzDatadog(f *testing.F) {
	f.Add([]byte("schema-version: v2.1\ndd-service: a\nteam: b\ncontacts: [{type: email, contact: c}]\nintegrations: {pagerduty: {service-url: d}}\n---\n"))
	f.Add([]byte("apiVersion: v3\nkind: service\nmetadata: {name: a, inheritFrom: 'service:b'}\n---\napiVersion: v3\nkind: service\nmetadata: {name: b, inheritFrom: 'service:a'}\nspec: {componentOf: ['system:c'], components: [service:b]}\n"))
	f.Add([]byte("schema-version: v2\ndd-service: &a [*a]\nextensions: &b {x: 1, y: [{key: k, value: *b}]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, problems := Datadog("f", data)
		keptBounds(t, "datadog", records, problems)
	})
}
