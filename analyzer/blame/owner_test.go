package blame

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whosehop/whosehop/internal/tracescript"
	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/storage/spans"
	"github.com/whosehop/whosehop/verdict"
)

func judgeScript(t *testing.T, script string, records ...catalog.Record) verdict.Verdict {
	t.Helper()
	sections, err := tracescript.Sections(script)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		records[i].Source = catalog.Source{Format: catalog.OwnFormat, File: "owners.yaml", Line: i + 1}
	}
	cfg := Config{Owners: ownership.Compile(records, ownership.Config{Attributes: []string{"team"}})}
	b := new(spans.Block)
	tracescript.Append(b, sections[0].Traces()[0], traceID)
	return Judge(build(b), cfg)[0]
}

// A verdict says why the owner of an edge is who it is.
func TestReasonOfAnEdgesOwner(t *testing.T) {
	const lost = `
a SERVER "GET /x" 0..60 502
  a CLIENT POST 5..50 error @b error.type=ECONNRESET
    b SERVER "POST /y" 6..8 200
`
	service := func(name string) catalog.Record {
		return catalog.Record{Kind: catalog.Service, Name: name, Owner: "team-" + name}
	}
	for _, c := range []struct {
		name               string
		edge               catalog.Record
		owner, accountable string
		evidence           string
	}{
		{"its own", catalog.Record{Caller: "a", Callee: "b", Phase: "network", Owner: "platform-net"}, "platform-net", "", "the edge a->b is owned by platform-net by owners.yaml:3"},
		{"the caller's", catalog.Record{Caller: "*", Callee: "b", Accountable: "caller"}, "team-a", "a", "the edge a->b is its caller's by owners.yaml:3"},
		{"the callee's", catalog.Record{Caller: "a", Callee: "?", Accountable: "callee"}, "team-b", "b", "the edge a->b is its callee's by owners.yaml:3"},
		{"another's", catalog.Record{Caller: "b", Callee: "a", Owner: "platform-net"}, verdict.OwnerUnowned, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.edge.Kind = catalog.Edge
			share := judgeScript(t, lost, service("a"), service("b"), c.edge).Shares[0]
			if share.Site.Kind != verdict.SiteEdge || share.Owner != c.owner || share.Accountable != c.accountable {
				t.Errorf("got %s, owner %s, accountable %q; want owner %s, accountable %q", share.Site, share.Owner, share.Accountable, c.owner, c.accountable)
			}
			last := share.Evidence[len(share.Evidence)-1]
			if c.evidence != "" && last != c.evidence || c.evidence == "" && strings.Contains(last, "owners.yaml") {
				t.Errorf("evidence %q, want %q last", share.Evidence, c.evidence)
			}
		})
	}
}

// What is the caller's by the nature of the thing is said to be so.
func TestReasonOfTheUsualSide(t *testing.T) {
	share := judgeScript(t, `
a SERVER "GET /x" 0..5010 500
  a CLIENT SELECT 3..5003 error db.system.name=postgresql @a-db "exc=org.apache.commons.dbcp.SQLNestedException: Cannot get a connection, pool exhausted"
`, catalog.Record{Kind: catalog.Service, Name: "a", Owner: "team-a"}).Shares[0]
	if share.Site.Phase != verdict.PhasePool || share.Owner != "team-a" {
		t.Fatalf("got %+v", share)
	}
	if why := "a connection pool belongs to the caller"; !slices.Contains(share.Evidence, why) {
		t.Errorf("evidence %q does not say that %s", share.Evidence, why)
	}
}

// A pool of which is not known whom it leads to is one of all its caller's edges.
func TestOwnerOfAPoolToNobody(t *testing.T) {
	const dry = `
a SERVER "GET /x" 0..5010 500
  a INTERNAL getConnection 3..5003 error "exc=java.sql.SQLTransientConnectionException: HikariPool-1 - Connection is not available, request timed out after 5000ms."
`
	service := catalog.Record{Kind: catalog.Service, Name: "a", Owner: "team-a"}
	share := judgeScript(t, dry, service).Shares[0]
	if why := "a connection pool belongs to the caller"; share.Site.Callee != "" || share.Owner != "team-a" || !slices.Contains(share.Evidence, why) {
		t.Errorf("%s is %s's: %q", share.Site, share.Owner, share.Evidence)
	}
	share = judgeScript(t, dry, service, catalog.Record{Kind: catalog.Edge, Caller: "a", Callee: "*", Phase: "pool", Owner: "platform-db"}).Shares[0]
	if why := "the pool of a is owned by platform-db by owners.yaml:2"; share.Owner != "platform-db" || share.Accountable != "" || !slices.Contains(share.Evidence, why) {
		t.Errorf("%s is %s's: %q", share.Site, share.Owner, share.Evidence)
	}
	share = judgeScript(t, dry, service, catalog.Record{Kind: catalog.Edge, Caller: "a", Callee: "b*", Phase: "pool", Owner: "platform-db"}).Shares[0]
	if share.Owner != "team-a" {
		t.Errorf("%s is %s's, by what is said of other edges", share.Site, share.Owner)
	}
}

// An operation may have another owner than its service, and a verdict on the past names the owner of that time.
func TestOwnerOfTheOperationAtTheTime(t *testing.T) {
	const broken = `
a SERVER "POST /refund" 0..60 500 "exc=java.lang.IllegalStateException: boom"
`
	begun := time.Unix(0, 0).Add(tracescriptBegin(t, broken))
	records := []catalog.Record{
		{Kind: catalog.Service, Name: "a", Owner: "team-a"},
		{Kind: catalog.Operation, Name: "a", Operation: "POST /refund*", Owner: "team-refunds", Until: begun.Add(time.Hour)},
		{Kind: catalog.Operation, Name: "a", Operation: "POST /refund*", Owner: "team-money", From: begun.Add(time.Hour)},
	}
	if owner := judgeScript(t, broken, records...).Shares[0].Owner; owner != "team-refunds" {
		t.Errorf("owner %s, want team-refunds, whose it was until an hour later", owner)
	}
	records[1].Until, records[2].From = begun.Add(-time.Hour), begun.Add(-time.Hour)
	if owner := judgeScript(t, broken, records...).Shares[0].Owner; owner != "team-money" {
		t.Errorf("owner %s, want team-money, whose it was since an hour before", owner)
	}
}

// Where nothing is known of the service, the file that failed tells.
func TestOwnerOfTheCode(t *testing.T) {
	path := catalog.Record{Kind: catalog.Path, Pattern: "/src/pay/", Owner: "team-pay"}
	for _, script := range []string{
		"\n" + `a SERVER "GET /x" 0..60 500 "exc=java.lang.IllegalStateException: boom" code.file.path=src/pay/charge.go` + "\n",
		"\n" + `a SERVER "GET /x" 0..60 500 "exc=java.lang.IllegalStateException: boom" code.filepath=src/pay/charge.go` + "\n",
	} {
		if owner := judgeScript(t, script, path).Shares[0].Owner; owner != "team-pay" {
			t.Errorf("%s: owner %s, want team-pay", script, owner)
		}
	}
}

func tracescriptBegin(t *testing.T, script string) time.Duration {
	t.Helper()
	sections, err := tracescript.Sections(script)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(sections[0].Traces()[0][0].StartNs)
}
