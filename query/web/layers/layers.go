// Package layers places a graph on a page: callers at the left, what they call to the right of them.
//
// It is the old way of Sugiyama in four steps: circles are opened, nodes get layers, the order within layers is changed
// until fewer edges cross, and nodes are moved to the height of their neighbours. The same graph has the same picture.
package layers

import (
	"cmp"
	"math"
	"slices"
)

// Edge goes from one node to another, by their numbers.
type Edge struct{ From, To int }

// Size is what a node takes, and what is kept free between nodes.
type Size struct{ Width, Height, GapX, GapY float64 }

// Point is a place on the page.
type Point struct{ X, Y float64 }

// Drawing is where things are. Nodes are at their upper left corner; an edge is a line over points, the first on the
// side of the node that it leaves, or none for an edge that ends where it began.
type Drawing struct {
	Width, Height float64
	Nodes         []Point
	Edges         [][]Point
}

const (
	sweeps     = 12   // over the layers, for fewer crossings
	settles    = 16   // over the layers, for straighter edges
	bendHeight = 0.25 // of a node's: what an edge takes that passes through a layer
)

// graph is what is placed: the nodes, and after them a bend for each layer that an edge passes through.
type graph struct {
	nodes  int
	layer  []int
	left   [][]int // neighbours one layer to the left
	right  [][]int
	layers [][]int // in their order from the top
	chains [][]int // of each edge: what it passes, from the left to the right; nil for a loop
	turned []bool  // the edge goes from the right to the left
}

// Place draws n nodes. Edges between the same two nodes lie on each other.
func Place(n int, edges []Edge, size Size) *Drawing {
	g := &graph{nodes: n, turned: backwards(n, edges)}
	g.assign(edges)
	g.chain(edges)
	g.uncross()
	return g.draw(size)
}

// backwards are the edges that close a circle, found by walking from what nobody calls.
func backwards(n int, edges []Edge) []bool {
	out, called := make([][]int, n), make([]bool, n)
	for i, e := range edges {
		if e.From != e.To {
			out[e.From] = append(out[e.From], i)
			called[e.To] = true
		}
	}
	turned := make([]bool, len(edges))
	const (
		unseen = iota
		open   // on the way from the root to here
		done
	)
	state, next := make([]uint8, n), make([]int, n)
	walk := func(root int) {
		if state[root] != unseen {
			return
		}
		state[root] = open
		for path := []int{root}; len(path) > 0; {
			at := path[len(path)-1]
			if next[at] == len(out[at]) {
				state[at] = done
				path = path[:len(path)-1]
				continue
			}
			i := out[at][next[at]]
			next[at]++
			switch to := edges[i].To; state[to] {
			case open:
				turned[i] = true
			case unseen:
				state[to] = open
				path = append(path, to)
			}
		}
	}
	for root := range n {
		if !called[root] {
			walk(root)
		}
	}
	for root := range n {
		walk(root)
	}
	return turned
}

// assign gives each node a layer right of all that call it, and moves what nobody calls next to what it calls.
func (g *graph) assign(edges []Edge) {
	out, waits := make([][]int, g.nodes), make([]int, g.nodes)
	for i, e := range edges {
		from, to := e.From, e.To
		if g.turned[i] {
			from, to = to, from
		}
		if from != to {
			out[from] = append(out[from], to)
			waits[to]++
		}
	}
	g.layer = make([]int, g.nodes)
	var roots, ready []int
	for i := range g.nodes {
		if waits[i] == 0 {
			roots = append(roots, i)
		}
	}
	for ready = slices.Clone(roots); len(ready) > 0; ready = ready[1:] {
		for _, to := range out[ready[0]] {
			g.layer[to] = max(g.layer[to], g.layer[ready[0]]+1)
			if waits[to]--; waits[to] == 0 {
				ready = append(ready, to)
			}
		}
	}
	for _, r := range roots {
		nearest := math.MaxInt
		for _, to := range out[r] {
			nearest = min(nearest, g.layer[to])
		}
		if len(out[r]) > 0 {
			g.layer[r] = nearest - 1
		}
	}
}

// chain puts a bend into each layer that an edge passes through.
func (g *graph) chain(edges []Edge) {
	g.chains = make([][]int, len(edges))
	for i, e := range edges {
		from, to := e.From, e.To
		if g.turned[i] {
			from, to = to, from
		}
		if from == to {
			continue
		}
		chain := []int{from}
		for l := g.layer[from] + 1; l < g.layer[to]; l++ {
			chain = append(chain, len(g.layer))
			g.layer = append(g.layer, l)
		}
		g.chains[i] = append(chain, to)
	}
	g.left, g.right = make([][]int, len(g.layer)), make([][]int, len(g.layer))
	for _, chain := range g.chains {
		for k := 1; k < len(chain); k++ {
			g.right[chain[k-1]] = append(g.right[chain[k-1]], chain[k])
			g.left[chain[k]] = append(g.left[chain[k]], chain[k-1])
		}
	}
	deepest := -1
	for _, l := range g.layer {
		deepest = max(deepest, l)
	}
	g.layers = make([][]int, deepest+1)
	for i, l := range g.layer {
		g.layers[l] = append(g.layers[l], i)
	}
}

// uncross orders layers by the middle of their neighbours, to and fro, and keeps the order with the fewest crossings.
func (g *graph) uncross() {
	place := make([]float64, len(g.layer))
	number := func(list []int) {
		for k, i := range list {
			place[i] = float64(k)
		}
	}
	for _, list := range g.layers {
		number(list)
	}
	best, fewest := g.order(), g.crossings(place)
	for sweep := 0; sweep < sweeps && fewest > 0; sweep++ {
		for k := range g.layers {
			list, beside := g.layers[k], g.left
			if sweep%2 == 1 {
				list, beside = g.layers[len(g.layers)-1-k], g.right
			}
			middle := make(map[int]float64, len(list))
			for _, i := range list {
				middle[i] = mean(beside[i], place, place[i])
			}
			slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(middle[a], middle[b]) })
			number(list)
		}
		if n := g.crossings(place); n < fewest {
			best, fewest = g.order(), n
		}
	}
	g.layers = best
}

func (g *graph) order() [][]int {
	list := make([][]int, len(g.layers))
	for i := range g.layers {
		list[i] = slices.Clone(g.layers[i])
	}
	return list
}

func mean(of []int, values []float64, otherwise float64) float64 {
	if len(of) == 0 {
		return otherwise
	}
	sum := 0.0
	for _, i := range of {
		sum += values[i]
	}
	return sum / float64(len(of))
}

// crossings counts, between any two layers, the pairs of edges of which one begins above and ends below the other.
func (g *graph) crossings(place []float64) int {
	count := 0
	for _, list := range g.layers {
		sums := make([]int, 1) // a tree of sums over the ends that are already there
		most := 0
		for _, i := range list {
			for _, to := range g.right[i] {
				most = max(most, int(place[to])+1)
			}
		}
		sums = append(sums, make([]int, most)...)
		ended := 0
		for _, i := range list {
			for _, to := range g.right[i] {
				below := ended
				for at := int(place[to]) + 1; at > 0; at &= at - 1 {
					below -= sums[at]
				}
				count += below
			}
			for _, to := range g.right[i] {
				for at := int(place[to]) + 1; at <= most; at += at & -at {
					sums[at]++
				}
				ended++
			}
		}
	}
	return count
}

func (g *graph) draw(size Size) *Drawing {
	y := g.heights(size)
	d := &Drawing{Nodes: make([]Point, g.nodes), Edges: make([][]Point, len(g.chains))}
	x := func(i int) float64 { return float64(g.layer[i]) * (size.Width + size.GapX) }
	for i := range d.Nodes {
		d.Nodes[i] = Point{x(i), y[i] - size.Height/2}
		d.Width, d.Height = max(d.Width, x(i)+size.Width), max(d.Height, y[i]+size.Height/2)
	}
	for i, chain := range g.chains {
		for k, at := range chain {
			if k > 0 {
				d.Edges[i] = append(d.Edges[i], Point{x(at), y[at]})
			}
			if k < len(chain)-1 {
				d.Edges[i] = append(d.Edges[i], Point{x(at) + size.Width, y[at]})
			}
		}
		for _, p := range d.Edges[i] {
			d.Height = max(d.Height, p.Y)
		}
		if g.turned[i] {
			slices.Reverse(d.Edges[i])
		}
	}
	return d
}

// heights are the middles of all nodes and bends. Each layer in turn is moved to its neighbours, as near as its order and
// the room between its nodes let it.
func (g *graph) heights(size Size) []float64 {
	y := make([]float64, len(g.layer))
	half := func(i int) float64 {
		if i >= g.nodes {
			return size.Height * bendHeight / 2
		}
		return size.Height / 2
	}
	for _, list := range g.layers {
		at := 0.0
		for _, i := range list {
			y[i] = at + half(i)
			at += 2*half(i) + size.GapY
		}
	}
	for sweep := range settles {
		for k := range g.layers {
			list, beside := g.layers[k], g.left
			if sweep%2 == 1 {
				list, beside = g.layers[len(g.layers)-1-k], g.right
			}
			wanted, offset, at := make([]float64, len(list)), make([]float64, len(list)), 0.0
			for n, i := range list {
				if n > 0 {
					at += half(list[n-1]) + size.GapY + half(i)
				}
				offset[n] = at
				to := beside[i]
				if sweep >= settles/2 || len(to) == 0 {
					to = slices.Concat(g.left[i], g.right[i])
				}
				wanted[n] = mean(to, y, y[i]) - at
			}
			for n, v := range rising(wanted) {
				y[list[n]] = v + offset[n]
			}
		}
	}
	top := math.Inf(1)
	for i := range y {
		top = min(top, y[i]-half(i))
	}
	for i := range y {
		y[i] -= top
	}
	return y
}

// rising is the sequence that never falls and is nearest to another: runs that fall become their mean.
func rising(of []float64) []float64 {
	type run struct{ sum, n float64 }
	var runs []run
	for _, v := range of {
		runs = append(runs, run{v, 1})
		for len(runs) > 1 {
			last, before := runs[len(runs)-1], runs[len(runs)-2]
			if before.sum/before.n <= last.sum/last.n {
				break
			}
			runs = append(runs[:len(runs)-2], run{before.sum + last.sum, before.n + last.n})
		}
	}
	list := make([]float64, 0, len(of))
	for _, r := range runs {
		for range int(r.n) {
			list = append(list, r.sum/r.n)
		}
	}
	return list
}
