package web

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/whosehop/whosehop/query"
)

type ownersPage struct {
	Since            string
	Sinces           []string
	Owners           []ownerRow
	Total            float64
	Bars             []bar
	Max              string
	FromText, ToText string
	Missing          []string
}

type ownerRow struct {
	Name, Class   string
	Caused, Share float64
	Suffered      float64
}

// bar is a piece of the chart, in its units.
type bar struct {
	X, Y, Width, Height float64
	Class, Title        string
}

// The area of the chart, and how many owners have a colour of their own.
const (
	chartLeft, chartTop, chartBottom, chartRight = 40.0, 10.0, 210.0, 1000.0

	colours = 8
)

func newOwnersPage(got *query.AttributionResponse) *ownersPage {
	p := &ownersPage{Missing: got.Missing, FromText: when(got.From.UnixNano())[:16], ToText: when(got.To.UnixNano())[:16] + " UTC"}
	byName := make(map[string]*ownerRow)
	steps := make(map[time.Time]float64)
	for _, r := range got.Rows {
		o := byName[r.Owner]
		if o == nil {
			o = &ownerRow{Name: r.Owner}
			byName[r.Owner] = o
		}
		o.Caused += r.Caused.Requests
		o.Suffered += r.Suffered.Requests
		p.Total += r.Caused.Requests
		steps[r.At] += r.Caused.Requests
	}
	for _, o := range byName {
		p.Owners = append(p.Owners, *o)
	}
	slices.SortFunc(p.Owners, func(a, b ownerRow) int {
		return cmp.Or(cmp.Compare(b.Caused, a.Caused), cmp.Compare(b.Suffered, a.Suffered), cmp.Compare(a.Name, b.Name))
	})
	class := make(map[string]string)
	for i := range p.Owners {
		o := &p.Owners[i]
		o.Class = fmt.Sprintf("c%d", min(i, colours-1))
		if p.Total > 0 {
			o.Share = o.Caused / p.Total
		}
		class[o.Name] = o.Class
	}
	most := 0.0
	for _, caused := range steps {
		most = max(most, caused)
	}
	p.Max = number(most)
	if most == 0 {
		return p
	}
	height := make(map[time.Time]float64)
	span := got.To.Sub(got.From).Seconds()
	for _, r := range got.Rows {
		if r.Caused.Requests == 0 {
			continue
		}
		h := (chartBottom - chartTop) * r.Caused.Requests / most
		height[r.At] += h
		width := (chartRight - chartLeft) * got.Step.Seconds() / span
		x := chartLeft + (chartRight-chartLeft)*r.At.Sub(got.From).Seconds()/span
		p.Bars = append(p.Bars, bar{
			X: max(x, chartLeft), Y: chartBottom - height[r.At], Width: max(1, width-1.5), Height: h, Class: class[r.Owner],
			Title: fmt.Sprintf("%s: %s caused %s", when(r.At.UnixNano())[:19], r.Owner, number(r.Caused.Requests)),
		})
	}
	return p
}
