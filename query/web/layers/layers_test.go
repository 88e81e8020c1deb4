package layers_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/whosehop/whosehop/query/web/layers"
)

var size = layers.Size{Width: 100, Height: 30, GapX: 60, GapY: 10}

func TestSmallGraphs(t *testing.T) {
	for name, c := range map[string]struct {
		n      int
		edges  []layers.Edge
		column []int
	}{
		"nothing":              {0, nil, nil},
		"alone":                {2, nil, []int{0, 0}},
		"chain":                {3, []layers.Edge{{0, 1}, {1, 2}}, []int{0, 1, 2}},
		"the longest way":      {3, []layers.Edge{{0, 1}, {1, 2}, {0, 2}}, []int{0, 1, 2}},
		"a late caller":        {4, []layers.Edge{{0, 1}, {1, 2}, {3, 2}}, []int{0, 1, 2, 1}},
		"calls itself":         {2, []layers.Edge{{0, 0}, {0, 1}}, []int{0, 1}},
		"circle with a way in": {3, []layers.Edge{{1, 2}, {2, 1}, {0, 1}}, []int{0, 1, 2}},
		"circle":               {2, []layers.Edge{{0, 1}, {1, 0}}, []int{0, 1}},
	} {
		d := layers.Place(c.n, c.edges, size)
		for i, want := range c.column {
			if got := int(d.Nodes[i].X / (size.Width + size.GapX)); got != want {
				t.Errorf("%s: node %d is in column %d, want %d", name, i, got, want)
			}
		}
		check(t, name, d, c.edges)
	}
}

// TestEdgesUncross: two services that call across each other change places.
func TestEdgesUncross(t *testing.T) {
	d := layers.Place(4, []layers.Edge{{0, 3}, {1, 2}}, size)
	if (d.Nodes[0].Y < d.Nodes[1].Y) != (d.Nodes[3].Y < d.Nodes[2].Y) {
		t.Errorf("the edges cross: %v", d.Nodes)
	}
}

// TestChainsAreNearlyStraight: what has one neighbour at each side is about at their height.
func TestChainsAreNearlyStraight(t *testing.T) {
	d := layers.Place(5, []layers.Edge{{0, 1}, {1, 2}, {2, 3}, {0, 4}, {4, 3}}, size)
	if math.Abs(d.Nodes[0].Y-d.Nodes[3].Y) > 1 || math.Abs(d.Nodes[1].Y-d.Nodes[2].Y) > size.Height/4 {
		t.Errorf("%v", d.Nodes)
	}
}

func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := 1 + r.IntN(200)
		var edges []layers.Edge
		for range r.IntN(3 * n) {
			edges = append(edges, layers.Edge{From: r.IntN(n), To: r.IntN(n)})
		}
		d := layers.Place(n, edges, size)
		check(t, fmt.Sprint("seed ", seed), d, edges)
		if again := layers.Place(n, edges, size); !reflect.DeepEqual(d, again) {
			t.Fatalf("seed %d: the same graph is drawn in two ways", seed)
		}
		if t.Failed() {
			t.Fatalf("seed %d: %d nodes, %v", seed, n, edges)
		}
	}
}

// check holds what is true of every drawing: nodes keep apart and within the page, edges join their nodes, and go on in
// one direction.
func check(t *testing.T, name string, d *layers.Drawing, edges []layers.Edge) {
	t.Helper()
	for i, a := range d.Nodes {
		if a.X < 0 || a.Y < -0.001 || a.X+size.Width > d.Width || a.Y+size.Height > d.Height {
			t.Errorf("%s: node %d at %v is not within %v x %v", name, i, a, d.Width, d.Height)
		}
		for k, b := range d.Nodes[:i] {
			if a.X == b.X && max(a.Y-b.Y, b.Y-a.Y) < size.Height+size.GapY-0.001 {
				t.Errorf("%s: nodes %d and %d are too near: %v, %v", name, k, i, b, a)
			}
		}
	}
	for i, line := range d.Edges {
		from, to := d.Nodes[edges[i].From], d.Nodes[edges[i].To]
		if edges[i].From == edges[i].To {
			if line != nil {
				t.Errorf("%s: a loop has a line: %v", name, line)
			}
			continue
		}
		first, last, ahead := line[0], line[len(line)-1], from.X < to.X
		if ahead {
			from.X += size.Width
		} else {
			to.X += size.Width
		}
		from.Y, to.Y = from.Y+size.Height/2, to.Y+size.Height/2
		if near(first, from) > 0.001 || near(last, to) > 0.001 {
			t.Errorf("%s: edge %v goes from %v to %v, want %v to %v", name, edges[i], first, last, from, to)
		}
		for k := 1; k < len(line); k++ {
			if line[k].X == line[k-1].X || (line[k].X > line[k-1].X) != ahead {
				t.Errorf("%s: edge %v turns about: %v", name, edges[i], line)
			}
		}
	}
}

func near(a, b layers.Point) float64 {
	return max(a.X-b.X, b.X-a.X) + max(a.Y-b.Y, b.Y-a.Y)
}
