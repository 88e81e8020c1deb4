package catalog

import "testing"

func TestOpsLevel(t *testing.T) {
	for _, c := range []struct{ name, file, records, problems string }{
		{"service", `---
version: 1
service:
  name: Basket API
  owner: checkout_team
  tier: tier_1
  lifecycle: generally_available
  system: shop
  product: Retail
  language: Go
  framework:
  description: What is to be bought.
  aliases: [basket, Basket API]
  tags:
  - key: zone
    value: b
  - cost-center:7
  - key: db_password
    value: hunter2
  repositories:
  - name: shop/basket
    provider: github
    path: /
  - name: shop/mono
    provider: gitlab
    path: /basket
    display_name: mono
  - shop.example/elsewhere
  tools:
  - {name: PagerDuty, category: incidents, url: https://shop.pagerduty.com/services/P0, environment: Staging}
  - {name: PagerDuty, category: incidents, url: https://shop.pagerduty.com/services/P1, environment: Production}
  - {name: Wiki, category: runbooks, url: https://wiki.shop.example/basket, environment:}
  - {name: Datadog, category: metrics, url: https://dash.shop.example/1}
  - {name: Splunk, category: logs, url: https://logs.shop.example/1, display: small}
  dependencies:
  - alias: stock_service
    notes: asks for prices
  - service: ledger
  - payments
  alert_sources:
  - {type: pagerduty, external_id: P1}
  properties:
    data_class: public
`, `
Kind service
Name Basket API
Aliases [basket basket_api]
Owner checkout_team
OnCall https://shop.pagerduty.com/services/P1
Runbook https://wiki.shop.example/basket
Dashboard https://dash.shop.example/1
Repository https://github.com/shop/basket
Tier tier_1
Lifecycle generally_available
DependsOn [stock_service ledger payments]
Parent shop
line 4
dependencies.notes = asks for prices
incidents PagerDuty Staging = https://shop.pagerduty.com/services/P0
logs Splunk = https://logs.shop.example/1
tools.display = small
repository mono = https://gitlab.com/shop/mono
repositories.path = /basket
repository = shop.example/elsewhere
alerts = pagerduty:P1
zone = b
cost-center = 7
product = Retail
language = Go
description = What is to be bought.
properties.data_class = public
`, ``},
		{"on call where alerts come from", `
version: 1
service: {name: a, alert_sources: [{type: datadog, external_id: 1}, {type: opsgenie, external_id: 2}]}
`, `
Kind service
Name a
OnCall opsgenie:2
line 3
alerts = datadog:1
`, ``},
		{"component", `
version: "1"
component: {name: stock-db, type: database, owner: stock}
`, `
Kind datastore
Name stock-db
Aliases [stock_db]
Owner stock
line 3
kind = database
`, ``},
		{"repository", `
version: 1
repository:
  owner: security
  tier: tier_2
  tags:
  - {key: zone, value: b}
`, `
Kind path
Pattern *
Owner security
Tier tier_2
line 4
zone = b
`, ``},
		{"team", `
version: 1
team:
  name: Checkout Team
  manager: ann@shop.example
  responsibilities: What customers pay.
  group: commerce
  aliases: [cko]
  members: [{name: Bob, email: bob@shop.example}, eve@shop.example]
  contacts:
  - {type: slack, display_name: help, address: "#checkout"}
  - {type: email, address: checkout@shop.example}
  - {type: web, display_name: Home, address: https://wiki.shop.example/checkout}
  - {type: web}
`, `
Kind team
Name Checkout Team
Aliases [cko checkout_team]
Escalation [ann@shop.example]
Chat #checkout
Email checkout@shop.example
Parent commerce
Members [bob@shop.example eve@shop.example]
line 4
web Home = https://wiki.shop.example/checkout
responsibilities = What customers pay.
`, `14: a contact of Checkout Team says nothing`},
		{"the others go on", `version: 2
service: {name: a}
---
version: 1
---
version: 1
service: {owner: b}
---
version: 1
repository: {tags: [x]}
---
version: 1
service:
  name: fine
  tools: [{name: nowhere}]
  repositories: [{path: /}]
  dependencies: [{notes: of what}]
checks: [1]
`, `
Kind service
Name fine
line 14
dependencies.notes = of what
`, `
1: version "2" is not known: 1 is
4: neither a service, a component, a repository nor a team is in it
7: the service has no name
10: the repository has no owner
15: a tool of fine has no url
16: a repository of fine has no name
17: an item of dependencies names nothing
18: "checks" is not read: it belongs to no service, component, repository or team
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			records, problems := OpsLevel("f", []byte(c.file))
			expect(t, records, problems, c.records, c.problems)
		})
	}
}

func FuzzOpsLevel(f *testing.F) {
	f.Add([]byte("version: 1\nservice: {name: a, owner: b, tags: [{key: c, value: d}], tools: [{category: runbooks, url: e}], dependencies: [{alias: f}]}\n"))
	f.Add([]byte("version: 1\nrepository: {owner: a}\n---\nversion: 1\nteam: {name: b, members: [{email: c}], contacts: [{type: slack, address: d}]}\n"))
	f.Add([]byte("version: 1\nservice: [{name: &a x, repositories: [*a, {name: *a, provider: github}], properties: &b {k: [*a]}, alert_sources: *b}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, problems := OpsLevel("f", data)
		keptBounds(t, "opslevel", records, problems)
	})
}
