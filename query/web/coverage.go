package web

import (
	"context"
	"fmt"
	"net/http"

	"github.com/whosehop/whosehop/ownership/coverage"
	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/verdict"
)

type coveragePage struct {
	Since, Kind string
	Sinces      []string
	Kinds       []kindCount
	Owned       []ownedPart
	Groups      [][]coverage.Finding // each on one thing
	More        int                  // findings that are not listed
	Missing     []string
}

type kindCount struct {
	Kind  coverage.Kind
	Count int
}

// ownedPart is how much of something has an owner. X is in thousandths.
type ownedPart struct {
	What, Of string
	Share    float64
	X        int
}

func (h *handler) coverage(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	text, from, err := since(r, "168h")
	if err != nil {
		h.fail(w, err)
		return
	}
	kind := r.URL.Query().Get("kind")
	got, err := h.service.Coverage(ctx, query.CoverageRequest{From: from, Kind: kind})
	if err != nil {
		h.fail(w, err)
		return
	}
	t := &got.Totals
	page := coveragePage{Since: text, Kind: kind, Sinces: sinces, Groups: coverage.Groups(got.Findings), More: -len(got.Findings), Missing: got.Missing}
	for _, k := range coverage.Kinds() {
		page.Kinds = append(page.Kinds, kindCount{k, t.Findings[k]})
		if kind == "" || kind == string(k) {
			page.More += t.Findings[k]
		}
	}
	page.add("of the services have an owner", float64(t.OwnedServices), float64(t.Services), fmt.Sprintf("%d of %d", t.OwnedServices, t.Services))
	page.add("of the spans are of those", float64(t.OwnedSpans), float64(t.Spans), short(t.OwnedSpans)+" of "+short(t.Spans))
	of := fmt.Sprintf("%s of %s failed requests", number(t.OwnedFailed), number(t.Failed-t.NobodyFailed))
	if excess := t.ExcessNs - t.NobodyExcessNs; excess > 0 {
		of += fmt.Sprintf(", %s of %s lost", verdict.Took(t.OwnedExcessNs), verdict.Took(excess))
	}
	page.add("of the harm has an owner", t.OwnedHarm, 1, of)
	h.render(w, http.StatusOK, "coverage", page)
}

func (p *coveragePage) add(what string, owned, all float64, of string) {
	part := ownedPart{What: what, Of: of}
	if all > 0 {
		part.Share = owned / all
	}
	part.X = int(1000 * part.Share)
	p.Owned = append(p.Owned, part)
}
