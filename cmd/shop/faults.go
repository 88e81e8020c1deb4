package main

import "github.com/whosehop/whosehop/verdict"

// fault is something that can be switched on; it hits one request in three.
type fault struct {
	Name   string `json:"name"`
	Story  string `json:"story"`
	Expect expect `json:"expect"`
}

// expect is the verdict that a request which was hit should get. Only the fields that are set count;
// of several sites and owners, any is right.
type expect struct {
	Symptom     verdict.Symptom `json:"symptom"`
	Sites       []verdict.Site  `json:"sites"`
	Accountable string          `json:"accountable,omitempty"`
	Owner       string          `json:"owner"`
}

func service(name string) verdict.Site {
	return verdict.Site{Kind: verdict.SiteService, Service: name}
}

func edge(caller, callee string, phase verdict.Phase) verdict.Site {
	return verdict.Site{Kind: verdict.SiteEdge, Caller: caller, Callee: callee, Phase: phase}
}

var faults = []fault{
	{"leaf-error", "payments fails by itself, two hops down", expect{verdict.SymptomError, []verdict.Site{service("payments")}, "payments", "team-payments"}},
	{"masked-error", "recommendations fails, the storefront answers 200 all the same", expect{verdict.SymptomDegraded, []verdict.Site{service("recommendations")}, "recommendations", "unowned"}},
	{"retries-absorbed", "shipping fails twice, the third attempt succeeds", expect{verdict.SymptomDegraded, []verdict.Site{service("shipping")}, "shipping", "team-logistics"}},
	{"retries-exhausted", "shipping fails at every attempt", expect{verdict.SymptomError, []verdict.Site{service("shipping")}, "shipping", "team-logistics"}},
	{"short-timeout", "checkout waits 30 ms for a price that always takes 80", expect{verdict.SymptomError, []verdict.Site{edge("checkout", "pricing", verdict.PhaseBudget)}, "checkout", "team-checkout"}},
	{"slow-callee", "inventory takes seconds, checkout gives up after one", expect{verdict.SymptomError, []verdict.Site{service("inventory")}, "inventory", "team-stock"}},
	{"refused", "checkout calls shipping where nothing listens", expect{verdict.SymptomError, []verdict.Site{edge("checkout", "shipping", verdict.PhaseConnect)}, "checkout", "team-checkout"}},
	{"crash", "payments dies while it is at work", expect{verdict.SymptomError, []verdict.Site{service("payments")}, "payments", "team-payments"}},
	{"fan-out-cancel", "pricing fails, so the calls beside it are cancelled", expect{verdict.SymptomError, []verdict.Site{service("pricing")}, "pricing", "team-catalog"}},
	{"bad-request", "checkout orders an impossible quantity and turns the refusal into a 500", expect{verdict.SymptomError, []verdict.Site{service("checkout")}, "checkout", "team-checkout"}},
	{"third-party-down", "the bank, which sends no spans, answers 503", expect{verdict.SymptomError, []verdict.Site{{Kind: verdict.SitePeer, Peer: "bank:8080"}}, "bank:8080", "unowned"}},
	{"slow-queue", "a message lies in the queue until it has expired", expect{
		verdict.SymptomDegraded, []verdict.Site{service("mailer"), edge("checkout", "mailer", verdict.PhaseQueue)}, "mailer", "team-mail",
	}},
}

func findFault(name string) *fault {
	for i := range faults {
		if faults[i].Name == name {
			return &faults[i]
		}
	}
	return nil
}

// ownersFile leaves recommendations to nobody, as happens.
const ownersFile = `services:
  - {name: storefront, owner: team-web}
  - {name: checkout, owner: team-checkout}
  - {name: payments, owner: team-payments}
  - {name: pricing, owner: team-catalog}
  - {name: inventory, owner: team-stock}
  - {name: shipping, owner: team-logistics}
  - {name: mailer, owner: team-mail}
`
