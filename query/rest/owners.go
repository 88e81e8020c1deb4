package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
	"github.com/whosehop/whosehop/query"
)

// The JSON of the registry, as the command line writes and reads it too.
type (
	// OwnersWanted is what a set is to have.
	OwnersWanted struct {
		Records OwnersList `json:"records"`
		// Keep are files, and folders with all below them, that could not be read: what they said before stays.
		Keep []string `json:"keep,omitempty"`
	}
	// OwnersApplied is what becomes of a set. Of long lists the first are there.
	OwnersApplied struct {
		Set       string         `json:"set"`
		DryRun    bool           `json:"dryRun,omitempty"`
		Records   int            `json:"records"`
		Added     int            `json:"added"`
		Ended     int            `json:"ended"`
		Changed   int            `json:"changed"`
		Unchanged int            `json:"unchanged"`
		Changes   []OwnersChange `json:"changes"`
		Handovers []Handover     `json:"handovers"`
		// Conflicts are those that records of the set are part of.
		Conflicts []string `json:"conflicts"`
	}
	// OwnersChange is what becomes of a record.
	OwnersChange struct {
		What   string         `json:"what"` // added, ended or changed
		About  string         `json:"about"`
		Before string         `json:"before,omitempty"`
		After  string         `json:"after,omitempty"`
		Source catalog.Source `json:"source"`
	}
	// Handover is a change of an owner.
	Handover struct {
		About  string         `json:"about"`
		At     time.Time      `json:"at"`
		Before string         `json:"before"`
		After  string         `json:"after"`
		Source catalog.Source `json:"source"`
	}
	// Handovers is a list of them, the newest first; Total counts those that were left out too.
	Handovers struct {
		Handovers []Handover `json:"handovers"`
		Total     int        `json:"total"`
	}
	ownersAnswer struct {
		Records       []catalog.Record `json:"records"`
		NextPageToken string           `json:"nextPageToken,omitempty"`
	}
)

// OwnersList is records, no more than a set can have: a record takes much more memory than it has to take of a body.
type OwnersList []catalog.Record

// UnmarshalJSON implements json.Unmarshaler.
func (l *OwnersList) UnmarshalJSON(text []byte) error {
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if first, err := in.Token(); err != nil || first != json.Delim('[') {
		*l = nil
		return err
	}
	*l = OwnersList{}
	for in.More() {
		if len(*l) == ownership.RecordsMost {
			return fmt.Errorf("more than %d records: apply them as several sets", ownership.RecordsMost)
		}
		var c catalog.Record
		if err := in.Decode(&c); err != nil {
			return fmt.Errorf("record %d: %w", len(*l)+1, err)
		}
		*l = append(*l, c)
	}
	_, err := in.Token()
	return err
}

const (
	// applyTimeout bounds an apply, which takes longer than a question.
	applyTimeout = 50 * time.Second
	// listedMost bounds the lists of what an apply does.
	listedMost = 1000
)

// putOwners makes a set what the body says. No page of a browser may: not one of another site, nor one under a name that leads
// here. Such a request always has an origin.
func (h *handler) putOwners(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") != "" {
		Problem(w, http.StatusForbidden, "pages of browsers do not apply owners: use whosehop owners apply")
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		Problem(w, http.StatusUnsupportedMediaType, "send the records as application/json")
		return
	}
	q := params{r: r, known: []string{"set", "dryRun"}}
	set, dryRun := q.text("set"), q.boolean("dryRun")
	if err := q.check(); err != nil {
		h.fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), applyTimeout)
	defer cancel()
	applied, err := h.service.ApplyOwners(ctx, dryRun, func() (ownership.Wanted, error) {
		var body OwnersWanted
		in := json.NewDecoder(http.MaxBytesReader(w, r.Body, query.OwnersBytesMax))
		in.DisallowUnknownFields()
		err := in.Decode(&body)
		if err == nil && body.Records == nil {
			err = errors.New("there is no list of records")
		}
		if err == nil {
			if _, more := in.Token(); !errors.Is(more, io.EOF) {
				err = errors.New("something follows the JSON")
			}
		}
		if err != nil {
			return ownership.Wanted{}, fmt.Errorf("%w: read the records: %w", query.ErrInvalid, err)
		}
		return ownership.Wanted{Set: set, Records: body.Records, Keep: body.Keep}, nil
	})
	if err != nil {
		h.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(newOwnersApplied(dryRun, applied)) // whoever asked may have left
}

func newOwnersApplied(dryRun bool, a *ownership.Applied) *OwnersApplied {
	answer := &OwnersApplied{
		Set: a.Set, DryRun: dryRun, Records: len(a.Records), Added: a.Added, Ended: a.Ended, Changed: a.Changed, Unchanged: a.Unchanged,
		Changes: []OwnersChange{}, Handovers: newHandovers(a.Handovers[:min(len(a.Handovers), listedMost)]),
		Conflicts: []string{},
	}
	for _, c := range a.Conflicts {
		answer.Conflicts = append(answer.Conflicts, c.String())
	}
	for _, c := range a.Changes[:min(len(a.Changes), listedMost)] {
		answer.Changes = append(answer.Changes, OwnersChange{What: c.What, About: c.About, Before: c.Before, After: c.After, Source: c.Source})
	}
	return answer
}

func newHandovers(all []ownership.Handover) []Handover {
	list := make([]Handover, 0, len(all))
	for _, h := range all {
		list = append(list, Handover{About: h.About, At: h.At.UTC(), Before: h.Before, After: h.After, Source: h.Record.Source})
	}
	return list
}

func (h *handler) listOwners(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"set", "kind", "owner", "name", "ended", "pageSize", "pageToken"}}
	request := query.OwnersRequest{
		Set: q.text("set"), Kind: q.text("kind"), Owner: q.text("owner"), Name: q.text("name"), Ended: q.boolean("ended"),
		PageSize: q.number("pageSize"), PageToken: q.text("pageToken"),
	}
	h.answer(w, r, &q, func(context.Context) (any, error) {
		page, err := h.service.ListOwners(request)
		if err != nil {
			return nil, err
		}
		return ownersAnswer{Records: page.Records, NextPageToken: page.NextPageToken}, nil
	})
}

func (h *handler) handovers(w http.ResponseWriter, r *http.Request) {
	q := params{r: r, known: []string{"from", "to", "since", "limit"}}
	request := query.HandoversRequest{Limit: q.number("limit")}
	request.From, request.To = q.window()
	h.answer(w, r, &q, func(context.Context) (any, error) {
		got, err := h.service.ListHandovers(request)
		if err != nil {
			return nil, err
		}
		return Handovers{Handovers: newHandovers(got.Handovers), Total: got.Total}, nil
	})
}

func (p *params) boolean(name string) bool {
	switch text := p.text(name); text {
	case "true":
		return true
	case "", "false":
	default:
		p.wrong(name, text, "true or false")
	}
	return false
}
