package lint

import (
	"slices"
	"strings"

	"github.com/whosehop/whosehop/ownership"
	"github.com/whosehop/whosehop/ownership/catalog"
)

// shownMax is how many names of a circle are listed.
const shownMax = 12

// cycles finds what depends on itself, and teams that are above themselves.
func (c *checker) cycles() {
	var depend, above graph
	for i := range c.records {
		r := &c.records[i]
		switch {
		case c.ended(r):
		case r.Kind == catalog.Team:
			above.add(r, []string{r.Parent})
		default:
			depend.add(r, r.DependsOn)
		}
	}
	for _, circle := range depend.circles() {
		c.found(DependencyCycle, circle[0], namesOf(circle), "%s depends on itself: %s", ownership.Subject(circle[0]), drawn(circle))
	}
	for _, circle := range above.circles() {
		c.found(TeamCycle, circle[0], namesOf(circle), "%s is above itself: %s", ownership.Subject(circle[0]), drawn(circle))
	}
}

func namesOf(circle []*catalog.Record) []string {
	names := make([]string, len(circle))
	for i, r := range circle {
		names[i] = r.Name
	}
	return names
}

func drawn(circle []*catalog.Record) string {
	names := append(namesOf(circle), circle[0].Name)
	if left := len(names) - shownMax; left > 0 {
		names = append(append(names[:shownMax-1:shownMax-1], "…"), circle[0].Name)
	}
	return strings.Join(names, " -> ")
}

// graph is names that lead to others. A name and its other names are one.
type graph struct {
	at      map[string]int // by names in lower case
	records []*catalog.Record
	leads   [][]string
}

func (g *graph) add(r *catalog.Record, to []string) {
	if g.at == nil {
		g.at = make(map[string]int)
	}
	name := strings.ToLower(r.Name)
	at, known := g.at[name]
	if !known || strings.ToLower(g.records[at].Name) != name { // a name counts before another's other name
		at = len(g.records)
		g.at[name] = at
		g.records, g.leads = append(g.records, r), append(g.leads, nil)
	}
	g.leads[at] = append(g.leads[at], to...)
	for _, alias := range r.Aliases {
		if alias = strings.ToLower(alias); alias != name {
			if _, known := g.at[alias]; !known {
				g.at[alias] = at
			}
		}
	}
}

// circles are the shortest ways from something back to itself, one for each set of those that all lead to each other. It
// takes time and memory in proportion to the graph, and no recursion.
func (g *graph) circles() (all [][]*catalog.Record) {
	next := make([][]int, len(g.records))
	for i, names := range g.leads {
		for _, name := range names {
			if at, ok := g.at[strings.ToLower(name)]; ok && name != "" {
				next[i] = append(next[i], at)
			}
		}
	}
	for _, set := range connected(next) {
		first := slices.MinFunc(set, func(a, b int) int { return strings.Compare(g.records[a].Name, g.records[b].Name) })
		if way := wayBack(first, set, next); way != nil {
			circle := make([]*catalog.Record, len(way))
			for i, at := range way {
				circle[i] = g.records[at]
			}
			all = append(all, circle)
		}
	}
	return all
}

// connected are the sets of nodes of which each leads to all others (Tarjan's algorithm).
func connected(next [][]int) (sets [][]int) {
	const unseen = 0
	number, low := make([]int, len(next)), make([]int, len(next))
	onStack := make([]bool, len(next))
	type frame struct{ node, edge int }
	var stack []int
	var path []frame
	count := 0
	enter := func(node int) {
		count++
		number[node], low[node], onStack[node] = count, count, true
		stack, path = append(stack, node), append(path, frame{node, 0})
	}
	for start := range next {
		if number[start] != unseen {
			continue
		}
		enter(start)
		for len(path) > 0 {
			top := &path[len(path)-1]
			if top.edge < len(next[top.node]) {
				to := next[top.node][top.edge]
				top.edge++
				if number[to] == unseen {
					enter(to)
				} else if onStack[to] {
					low[top.node] = min(low[top.node], number[to])
				}
				continue
			}
			node := top.node
			path = path[:len(path)-1]
			if len(path) > 0 {
				above := path[len(path)-1].node
				low[above] = min(low[above], low[node])
			}
			if low[node] == number[node] {
				at := len(stack) - 1
				for stack[at] != node {
					at--
				}
				for _, member := range stack[at:] {
					onStack[member] = false
				}
				sets = append(sets, slices.Clone(stack[at:]))
				stack = stack[:at]
			}
		}
	}
	return sets
}

// wayBack is the shortest way from a node back to itself within its set; nil is none.
func wayBack(first int, set []int, next [][]int) []int {
	in := make(map[int]bool, len(set))
	for _, node := range set {
		in[node] = true
	}
	from := make(map[int]int, len(set))
	queue := []int{first}
	for len(queue) > 0 {
		node := queue[0]
		queue = queue[1:]
		for _, to := range next[node] {
			if to == first {
				way := []int{node}
				for node != first {
					node = from[node]
					way = append(way, node)
				}
				slices.Reverse(way)
				return way
			}
			if _, seen := from[to]; in[to] && !seen {
				from[to] = node
				queue = append(queue, to)
			}
		}
	}
	return nil
}
