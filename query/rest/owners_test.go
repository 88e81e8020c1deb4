package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/ownership/stored"
	whosehopv1 "github.com/whosehop/whosehop/proto/whosehop/v1"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/query/rest"
	"github.com/whosehop/whosehop/storage"
)

func (f *fake) Apply(_ context.Context, w ownership.Wanted, dryRun bool) (*ownership.Applied, error) {
	f.wanted, f.dryRun = w, dryRun
	f.wanted.Records = slices.Clone(w.Records)
	if f.err != nil {
		return nil, f.err
	}
	if wrong := w.Check(); len(wrong) > 0 {
		return nil, fmt.Errorf("%w: %s", stored.ErrInvalid, strings.Join(wrong, "; "))
	}
	return ownership.Merge(f.owners, w, time.Now()), nil
}

// registry is three services, of which one changed hands yesterday, a team and an edge.
func registry() []catalog.Record {
	changed := time.Now().Add(-24 * time.Hour).UTC().Truncate(time.Second)
	source := catalog.Source{Format: "whosehop", File: "owners.yaml", Line: 7}
	return []catalog.Record{
		{Kind: catalog.Service, Name: "payments", Owner: "team-a", Until: changed, Source: source, Set: "default"},
		{Kind: catalog.Service, Name: "payments", Aliases: []string{"pay"}, Owner: "team-b", From: changed, Source: source, Set: "default"},
		{Kind: catalog.Service, Name: "cart", Owner: "b", Source: source, Set: "default"},
		{Kind: catalog.Team, Name: "team-b", Aliases: []string{"b"}, Source: source, Set: "default"},
		{Kind: catalog.Edge, Caller: "shop", Callee: "cart", Owner: "net", Source: source, Set: "net"},
	}
}

func put(t *testing.T, address, kind, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func TestOwnersAreAppliedTheSameBothWays(t *testing.T) {
	f := &fake{owners: registry()}
	server, client := serve(t, f)
	records := []catalog.Record{{Kind: catalog.Service, Name: "cart", Owner: "team-c", Source: catalog.Source{Format: "backstage", File: "x.yaml", Line: 2}}}
	body, err := json.Marshal(rest.OwnersWanted{Records: records, Keep: []string{"broken.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	code, answer := put(t, server.URL+"/api/v1/owners?dryRun=true", "application/json; charset=utf-8", string(body))
	want := ownership.Wanted{Set: "default", Records: records, Keep: []string{"broken.yaml"}}
	if code != 200 || !f.dryRun || !reflect.DeepEqual(f.wanted, want) {
		t.Fatalf("%d %s: %+v", code, answer, f.wanted)
	}
	var applied rest.OwnersApplied
	if err := json.Unmarshal([]byte(answer), &applied); err != nil {
		t.Fatal(err)
	}
	if applied.Set != "default" || !applied.DryRun || applied.Changed != 1 || applied.Ended != 2 || len(applied.Changes) != 3 || len(applied.Handovers) != 2 {
		t.Errorf("%s", answer)
	}

	if !strings.Contains(answer, `"conflicts":[]`) {
		t.Errorf("%s", answer)
	}
	_, answer = put(t, server.URL+"/api/v1/owners?dryRun=true&set=other", "application/json", string(body))
	if applied = (rest.OwnersApplied{}); json.Unmarshal([]byte(answer), &applied) != nil || !slices.Equal(applied.Conflicts, []string{"service cart: team-c by x.yaml:2, b by owners.yaml:7; the first counts"}) {
		t.Errorf("%s", answer)
	}

	stream, err := client.PutOwners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(records[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, message := range []*whosehopv1.PutOwnersRequest{{Set: "default"}, {RecordJson: []string{string(text)}}, {Keep: []string{"broken.yaml"}}} {
		if err := stream.Send(message); err != nil {
			t.Fatal(err)
		}
	}
	response, err := stream.CloseAndRecv()
	if err != nil || f.dryRun || !reflect.DeepEqual(f.wanted, want) {
		t.Fatalf("%v: %+v", err, f.wanted)
	}
	if response.GetSet() != "default" || response.GetChanged() != 1 || response.GetEnded() != 2 || len(response.GetChanges()) != 3 || len(response.GetHandovers()) != 2 {
		t.Errorf("%v", response)
	}
}

func TestOwnersThatAreNotApplied(t *testing.T) {
	valid := `{"records":[{"kind":"service","name":"payments","owner":"a","source":{"format":"x"}}]}`
	denied := &storage.Error{Op: "write", Err: errors.New("x")}
	for _, c := range []struct {
		what, path, kind, body string
		err                    error
		code                   int
		says                   string
	}{
		{"what a form of another site can send", "", "text/plain", valid, nil, 415, "application/json"},
		{"no JSON", "", "application/json", "{", nil, 400, "read the records"},
		{"no records", "", "application/json", "{}", nil, 400, "no list"},
		{"a field that is not known", "", "application/json", `{"records":[{"kind":"service","colour":1}]}`, nil, 400, "colour"},
		{"more after it", "", "application/json", valid + "{}", nil, 400, "follows"},
		{"a record that cannot be", "", "application/json", `{"records":[{"kind":"service"}]}`, nil, 400, "no name"},
		{"no name of a set", "?set=a%20b", "application/json", valid, nil, 400, "name of a set"},
		{"a parameter that is not known", "?sett=a", "application/json", valid, nil, 400, "sett"},
		{"neither true nor false", "?dryRun=yes", "application/json", valid, nil, 400, "dryRun"},
		{"too large", "", "application/json", `{"records":[], "x":"` + strings.Repeat("x", query.OwnersBytesMax), nil, 413, "67108864 bytes"},
		{"a part is away", "", "application/json", valid, fmt.Errorf("%w; missing: shard 2", stored.ErrAway), 503, "missing: shard 2"},
		{"at the same moment", "", "application/json", valid, stored.ErrRaced, 409, "apply again"},
		{"ClickHouse is away", "", "application/json", valid, away{}, 503, "try again"},
		{"something of ours", "", "application/json", valid, denied, 500, "the log says why"},
		{"no right", "", "application/json", valid, noRight{}, 403, "GRANT"},
	} {
		server, _ := serve(t, &fake{err: c.err})
		if code, answer := put(t, server.URL+"/api/v1/owners"+c.path, c.kind, c.body); code != c.code || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %.300s", c.what, code, answer)
		}
	}
	for err, want := range map[error]codes.Code{stored.ErrRaced: codes.Aborted, stored.ErrAway: codes.Unavailable, noRight{}: codes.PermissionDenied} {
		_, client := serve(t, &fake{err: err})
		stream, open := client.PutOwners(t.Context())
		if open != nil {
			t.Fatal(open)
		}
		_ = stream.Send(&whosehopv1.PutOwnersRequest{})
		if _, got := stream.CloseAndRecv(); status.Code(got) != want {
			t.Errorf("gRPC, %v: %v", err, got)
		}
	}
	_, client := serve(t, &fake{})
	stream, err := client.PutOwners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&whosehopv1.PutOwnersRequest{RecordJson: []string{"{"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "record 1") {
		t.Errorf("%v", err)
	}
}

// TestPagesDoNotApply: a page under a name that leads to this server is of the same origin, and may send JSON.
func TestPagesDoNotApply(t *testing.T) {
	f := &fake{owners: registry()}
	server, _ := serve(t, f)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/api/v1/owners", strings.NewReader(`{"records":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Origin", server.URL)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("%d", response.StatusCode)
	}
}

type noRight struct{}

func (noRight) Error() string { return "GRANT INSERT" }
func (noRight) Denied() bool  { return true }

func TestOwnersAreListed(t *testing.T) {
	server, client := serve(t, &fake{owners: registry()})
	for _, c := range []struct{ filter, names string }{
		{"", "payments cart team-b shop->cart"},
		{"ended=true", "payments payments cart team-b shop->cart"},
		{"kind=service", "payments cart"},
		{"owner=team-b", "payments cart"},
		{"owner=b&kind=service", "payments cart"},
		{"owner=team-a", ""},
		{"owner=team-a&ended=true", "payments"},
		{"name=pay", "payments"},
		{"name=cart", "cart shop->cart"},
		{"set=net", "shop->cart"},
		{"owner=nobody", ""},
	} {
		var names []string
		for token, pages := "", 0; ; pages++ {
			_, _, body := get(t, server.URL+"/api/v1/owners?pageSize=2&"+c.filter+"&pageToken="+token)
			var page struct {
				Records       []catalog.Record
				NextPageToken string
			}
			if err := json.Unmarshal([]byte(body), &page); err != nil || page.Records == nil || len(page.Records) > 2 {
				t.Fatalf("%s: %v %s", c.filter, err, body)
			}
			for _, r := range page.Records {
				if r.Kind == catalog.Edge {
					r.Name = r.Caller + "->" + r.Callee
				}
				names = append(names, r.Name)
			}
			if token = page.NextPageToken; token == "" {
				break
			}
		}
		if got := strings.Join(names, " "); got != c.names {
			t.Errorf("%s: %q, want %q", c.filter, got, c.names)
		}
	}
	page, err := client.ListOwners(t.Context(), &whosehopv1.ListOwnersRequest{Set: "net"})
	if err != nil || len(page.GetRecordJson()) != 1 || !strings.Contains(page.GetRecordJson()[0], `"set":"net"`) {
		t.Errorf("%v, %v", page, err)
	}
	for _, wrong := range []string{"pageToken=x", "pageSize=501", "ended=1", "colour=red"} {
		if code, _, body := get(t, server.URL+"/api/v1/owners?"+wrong); code != 400 {
			t.Errorf("%s: %d %s", wrong, code, body)
		}
	}
}

func TestHandoversAreListed(t *testing.T) {
	owners := registry()
	server, client := serve(t, &fake{owners: owners})
	var list rest.Handovers
	_, _, body := get(t, server.URL+"/api/v1/owners/handovers")
	if err := json.Unmarshal([]byte(body), &list); err != nil || list.Total != 1 || len(list.Handovers) != 1 {
		t.Fatalf("%v %s", err, body)
	}
	if h := list.Handovers[0]; h.About != "service payments" || h.Before != "team-a" || h.After != "team-b" || !h.At.Equal(owners[0].Until) || h.Source.Line != 7 {
		t.Errorf("%+v", h)
	}
	if _, _, body := get(t, server.URL+"/api/v1/owners/handovers?since=1h"); !strings.Contains(body, `"handovers":[]`) {
		t.Error(body)
	}
	got, err := client.ListHandovers(t.Context(), &whosehopv1.ListHandoversRequest{From: timestamppb.New(time.Now().Add(-48 * time.Hour))})
	if err != nil || got.GetTotal() != 1 || got.GetHandovers()[0].GetSource() != "owners.yaml:7" {
		t.Errorf("%v, %v", got, err)
	}
	many := slices.Clone(owners)
	for i := range 20 {
		at := time.Now().Add(-time.Duration(i+30) * time.Hour).UTC()
		name := fmt.Sprint("s", i)
		many = append(many, catalog.Record{Kind: catalog.Service, Name: name, Owner: "a", Until: at}, catalog.Record{Kind: catalog.Service, Name: name, Owner: "b", From: at})
	}
	server, _ = serve(t, &fake{owners: many})
	_, _, body = get(t, server.URL+"/api/v1/owners/handovers?limit=5")
	list = rest.Handovers{}
	if err := json.Unmarshal([]byte(body), &list); err != nil || list.Total != 21 || len(list.Handovers) != 5 {
		t.Errorf("%v %s", err, body)
	}
}
