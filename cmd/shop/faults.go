package main

import "github.com/whosehop/whosehop/verdict"

// fault is something that can be switched on. It hits one request in three, but for an outage, which
// hits all that come while it lasts.
type fault struct {
	Name   string `json:"name"`
	Story  string `json:"story"`
	Expect expect `json:"expect"`
}

// expect is the verdict that a request which was hit should get. Only the fields that are set count;
// of several sites and rules, any is right. Of a site, only the fields that are set count.
type expect struct {
	Symptom     verdict.Symptom `json:"symptom"`
	Sites       []verdict.Site  `json:"sites"`
	Accountable string          `json:"accountable,omitempty"`
	Owner       string          `json:"owner"`
	Rules       []string        `json:"rules"`
	// NotBlamed are services that saw the failure and that no share may make accountable.
	NotBlamed []string `json:"notBlamed,omitempty"`
}

func service(name string) verdict.Site {
	return verdict.Site{Kind: verdict.SiteService, Service: name}
}

func edge(caller, callee string, phase verdict.Phase) verdict.Site {
	return verdict.Site{Kind: verdict.SiteEdge, Caller: caller, Callee: callee, Phase: phase}
}

func sites(s ...verdict.Site) []verdict.Site { return s }

// allFaults is the table of faults. It is a function so that nobody can change it.
func allFaults() []fault {
	return []fault{
		{"leaf-error", "payments fails by itself, two hops down", expect{
			verdict.SymptomError, sites(service("payments")), "payments", "team-payments",
			[]string{"self-error"},
			[]string{"storefront", "checkout", "bank"},
		}},
		{"masked-error", "recommendations fails, the storefront answers 200 all the same", expect{
			verdict.SymptomDegraded, sites(service("recommendations")), "recommendations", verdict.OwnerUnowned,
			[]string{"self-error"},
			[]string{"storefront", "checkout"},
		}},
		{"retries-absorbed", "shipping fails twice, the third attempt succeeds", expect{
			verdict.SymptomDegraded, sites(service("shipping")), "shipping", "team-logistics",
			[]string{"shedding", "self-error"},
			[]string{"storefront", "checkout"},
		}},
		{"retries-exhausted", "shipping fails at every attempt", expect{
			verdict.SymptomError, sites(service("shipping")), "shipping", "team-logistics",
			[]string{"shedding", "self-error"},
			[]string{"storefront", "checkout", "pricing", "inventory"},
		}},
		{"short-timeout", "checkout waits 30 ms for a price that always takes 80", expect{
			verdict.SymptomError, sites(edge("checkout", "pricing", verdict.PhaseBudget)), "checkout", "team-checkout",
			[]string{"budget-short"},
			[]string{"pricing"},
		}},
		{"slow-callee", "inventory takes seconds, checkout gives up after one", expect{
			verdict.SymptomError, sites(service("inventory")), "inventory", "team-stock",
			[]string{"slow-callee"},
			[]string{"storefront", "checkout", "pricing", "shipping"},
		}},
		{"slow-answer", "inventory takes 400 ms more than it does, and nothing fails", expect{
			verdict.SymptomLatency, sites(service("inventory")), "inventory", "team-stock",
			[]string{"slow-self"},
			[]string{"storefront", "checkout", "pricing", "shipping"},
		}},
		{"refused", "shipping is down half of the time, so checkout's calls are refused", expect{
			verdict.SymptomError, sites(edge("checkout", "shipping", verdict.PhaseConnect)), "checkout", "team-checkout",
			[]string{"refused"},
			[]string{"storefront", "pricing", "inventory", "payments"},
		}},
		{"crash", "payments dies while it is at work", expect{
			verdict.SymptomError, sites(service("payments")), "payments", "team-payments",
			[]string{"crash"},
			[]string{"storefront", "checkout", "bank"},
		}},
		{"fan-out-cancel", "pricing fails, so the calls beside it are cancelled", expect{
			verdict.SymptomError, sites(service("pricing")), "pricing", "team-catalog",
			[]string{"self-error"},
			[]string{"storefront", "checkout", "inventory", "shipping"},
		}},
		{"bad-request", "checkout orders an impossible quantity and turns the refusal into a 500", expect{
			verdict.SymptomError, sites(service("checkout")), "checkout", "team-checkout",
			[]string{"bad-request"},
			[]string{"storefront", "inventory"},
		}},
		{"third-party-down", "the bank, which sends no spans, answers 503 or hangs up", expect{
			verdict.SymptomError, sites(verdict.Site{Kind: verdict.SitePeer, Peer: "bank:8080"}), "bank:8080", verdict.OwnerUnowned,
			[]string{"peer-failed"},
			[]string{"storefront", "checkout", "payments"},
		}},
		{"slow-queue", "a message lies in the queue until it has expired", expect{
			verdict.SymptomDegraded, sites(service("mailer"), edge("checkout", "mailer", verdict.PhaseQueue)), "mailer", "team-mail",
			[]string{"consumer", "self-error", "slow-queue"},
			[]string{"storefront", "checkout"},
		}},
	}
}

func findFault(name string) (fault, bool) {
	for _, f := range allFaults() {
		if f.Name == name {
			return f, true
		}
	}
	return fault{}, false
}
