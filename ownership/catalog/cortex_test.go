package catalog

import "testing"

func TestCortex(t *testing.T) {
	for _, c := range []struct{ name, file, records, problems string }{
		{"service", `openapi: 3.0.1
info:
  title: Basket API
  description: What is to be bought.
  x-cortex-tag: basket
  x-cortex-type: service
  x-cortex-owners:
  - {type: EMAIL, email: ann@shop.example}
  - {type: group, name: shop/checkout, provider: GITHUB}
  - {type: GROUP, name: commerce, provider: CORTEX}
  - {type: slack, channel: checkout-help, notificationsEnabled: true}
  x-cortex-oncall:
    pagerduty: {id: P1, type: SERVICE}
    victorops: {id: team-1, type: ESCALATION_POLICY}
  x-cortex-slack:
    channels:
    - {name: checkout-alerts, notificationsEnabled: true}
  x-cortex-git:
    github: {repository: shop/basket, basepath: api}
    azure: {project: shop, repository: basket}
  x-cortex-groups: [tier-1, "zone:b", retail]
  x-cortex-link:
  - {name: What to do, type: runbook, url: https://wiki.shop.example/basket}
  - {name: Overview, type: DASHBOARD, url: https://dash.shop.example/1}
  - {name: Spec, type: OPENAPI, url: ./openapi.yaml, description: ours}
  x-cortex-dependency:
  - {tag: stock, method: GET, path: /price}
  - tag: ledger
  x-cortex-domain-parents: [{tag: shop}]
  x-cortex-parents: [{tag: shop}, {tag: emea}]
  x-cortex-slos:
    datadog: [{id: slo-1}, {id: slo-2}]
  x-cortex-dashboards:
    embeds: [{type: grafana, url: https://grafana.shop.example/1}]
  x-cortex-custom-metadata: {core: true, vault-token: hunter2}
paths:
  /: {get: {x-cortex-owners: no}}
`, `
Kind service
Name basket
Aliases [Basket API]
Owner checkout
Owners [commerce ann@shop.example]
OnCall pagerduty:P1
Escalation [splunk-on-call:team-1]
Chat #checkout-help
Email ann@shop.example
Runbook https://wiki.shop.example/basket
Dashboard https://dash.shop.example/1
Repository https://github.com/shop/basket
Tier 1
SLO datadog:slo-1
DependsOn [stock ledger]
Parent shop
line 3
x-cortex-owners.name = shop/checkout
x-cortex-owners.provider = GITHUB
x-cortex-owners.provider = CORTEX
x-cortex-oncall.pagerduty.type = SERVICE
on-call victorops = splunk-on-call:team-1
x-cortex-oncall.victorops.type = ESCALATION_POLICY
chat slack = #checkout-alerts
x-cortex-git.github.basepath = api
repository = azure:shop/basket
zone = b
tag = retail
OPENAPI Spec = ./openapi.yaml
x-cortex-link.description = ours
x-cortex-dependency.method = GET
x-cortex-dependency.path = /price
x-cortex-parents = emea
dashboard grafana = https://grafana.shop.example/1
x-cortex-slos.datadog.id = slo-2
kind = service
description = What is to be bought.
x-cortex-custom-metadata.core = true
`, ``},
		{"as they were once, and as they are left", `openapi: 3.0.1
info:
  title: basket
  x-cortex-tag:
  x-cortex-service-groups: tier-4
  x-cortex-link:
  x-cortex-owners:
    type: email
    email: ann@shop.example
`, `
Kind service
Name basket
Owner ann@shop.example
Email ann@shop.example
Tier 4
line 3
`, ``},
		{"team", `openapi: 3.0.0
info:
  title: Checkout
  x-cortex-tag: team-checkout
  x-cortex-type: team
  x-cortex-team:
    groups: [{name: shop/checkout, provider: GITHUB}]
    members:
    - {name: Ann, email: ann@shop.example, role: lead}
    - {name: Bob}
    slackChannels: [{name: checkout}]
  x-cortex-link: [{type: DOCUMENTATION, url: https://wiki.shop.example/checkout}]
`, `
Kind team
Name team-checkout
Aliases [Checkout checkout]
Chat #checkout
Members [ann@shop.example Bob]
line 3
DOCUMENTATION = https://wiki.shop.example/checkout
kind = team
`, ``},
		{"children", `openapi: 3.0.0
info: {title: shop, x-cortex-type: domain, x-cortex-children: [{tag: basket}]}
---
openapi: 3.0.0
info: {title: basket}
`, `
Kind system
Name shop
line 2
kind = domain
x-cortex-children.tag = basket

Kind service
Name basket
Parent shop
line 5
`, ``},
		{"the others go on", `swagger: "2.0"
info: {title: old}
---
openapi: 3.1.0
---
openapi: 3.1.0
info: {title: [a]}
---
openapi: 3.1.0
info:
  title: fine
  x-cortex-owners:
    x-cortex-owners:
    - {type: email, email: lost@shop.example}
  x-cortex-oncall: {pagerduty: {type: SERVICE}}
  x-cortex-git: [github]
  x-cortex-link: [{type: wiki}]
  x-cortex-dependency: [{path: /}]
`, `
Kind service
Name fine
line 11
x-cortex-dependency.path = /
`, `
1: openapi is "": a descriptor of Cortex's catalog has 3
4: there is no info
7: title is not a text
7: the service has no name
13: an item of x-cortex-owners of fine is no group with a name, email with an email or slack with a channel
15: x-cortex-oncall of fine has no id
16: x-cortex-git is not a mapping of fields
17: a link of fine has no url
18: an item of x-cortex-dependency names nothing
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, problems := Cortex("f", []byte(c.file))
			expect(t, records, problems, c.records, c.problems)
		})
	}
}

func FuzzCortex(f *testing.F) {
	f.Add([]byte("openapi: 3.0.1\ninfo: {title: a, x-cortex-tag: b, x-cortex-owners: [{type: group, name: c/d}], x-cortex-git: {github: {repository: e}}}\n"))
	f.Add([]byte("openapi: 3.0.1\ninfo: {title: a, x-cortex-type: team, x-cortex-team: {members: [{name: b}]}, x-cortex-slos: {datadog: [{id: c}]}, x-cortex-oncall: {opsgenie: {id: d}}}\n"))
	f.Add([]byte("openapi: 3.0.1\ninfo: &a {title: x, x-cortex-groups: tier-1, x-cortex-custom-metadata: &b [{key: k, value: [1, {a: 2}]}], x-cortex-children: *b}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, problems := Cortex("f", data)
		keptBounds(t, "cortex", records, problems)
	})
}
