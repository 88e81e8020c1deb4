package main

import "strings"

// member is one process of the shop.
type member struct {
	name  string
	owner string // empty: it names nobody
	plain bool   // it sends no spans
}

// processes are all of them: storefront calls recommendations, pricing and checkout; checkout calls
// pricing, inventory, shipping and payments and sends mail through the broker; payments calls the
// bank. The bank is somebody else's, and recommendations belongs to nobody, as happens.
func processes() []member {
	return []member{
		{name: "storefront", owner: "team-web"},
		{name: "recommendations"},
		{name: "checkout", owner: "team-checkout"},
		{name: "pricing", owner: "team-catalog"},
		{name: "inventory", owner: "team-stock"},
		{name: "shipping", owner: "team-logistics"},
		{name: "payments", owner: "team-payments"},
		{name: "mailer", owner: "team-mail"},
		{name: "bank", plain: true},
		{name: "broker", plain: true},
	}
}

// ownersFile is who owns what, in the form that whosehop reads. The services say the same on their
// spans, as service.owner.name. None has a service.namespace: that would own recommendations too.
func ownersFile() string {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, p := range processes() {
		if p.owner != "" {
			b.WriteString("  - {name: " + p.name + ", owner: " + p.owner + "}\n")
		}
	}
	return b.String()
}
