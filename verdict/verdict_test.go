package verdict

import (
	"encoding/json"
	"testing"
)

func TestTook(t *testing.T) {
	for ns, want := range map[int64]string{0: "0.00 ms", 300_000: "0.30 ms", 4_230_000: "4.2 ms", 89_000_000: "89 ms", 1_400_000_000: "1.4 s", 30_000_000_000: "30 s"} {
		if got := Took(ns); got != want {
			t.Errorf("%d: %q, want %q", ns, got, want)
		}
	}
}

func TestLasted(t *testing.T) {
	for ns, want := range map[int64]string{5e6: "5.0 ms", 119e9: "119 s", 1200e9: "20 min", 9000e9: "2 h", 86400e9: "24 h", 10 * 86400e9: "10 days"} {
		if got := Lasted(ns); got != want {
			t.Errorf("%d: %s, want %s", ns, got, want)
		}
	}
}

func TestTimeHasNineDigits(t *testing.T) {
	const want = `"2026-11-20T10:00:00.000000001Z"`
	var at Time
	if err := json.Unmarshal([]byte(want), &at); err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(at); err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`"yesterday"`), &at); err == nil {
		t.Error("yesterday is taken for a time")
	}
}

func TestSiteInWords(t *testing.T) {
	for want, site := range map[string]Site{
		"pay POST /x":               {Kind: SiteService, Service: "pay", Operation: "POST /x"},
		"pay":                       {Kind: SiteService, Service: "pay"},
		"a->b (budget)":             {Kind: SiteEdge, Caller: "a", Callee: "b", Phase: PhaseBudget},
		"bank:443":                  {Kind: SitePeer, Peer: "bank:443"},
		"the sender of the request": {Kind: SiteUser},
		"unknown":                   {Kind: SiteUnknown},
	} {
		if site.String() != want {
			t.Errorf("%q, want %q", site, want)
		}
	}
}
