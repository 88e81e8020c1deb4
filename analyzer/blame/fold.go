package blame

import (
	"slices"
	"strings"

	"github.com/whosehop/whosehop/analyzer/trace"
	"github.com/whosehop/whosehop/storage/spans"
)

// fold says what became of a call among its like: part A of the rules.
type fold struct {
	state    foldState
	attempts int32 // of the retry group whose last failed attempt this is; 0: tried once
	restNs   int64 // between the attempts of that group
}

type foldState uint8

const (
	foldNone     foldState = iota
	foldIgnored            // no failure at all: a hedge that lost, a challenge that was answered
	foldEarlier            // an earlier attempt of a group that another node stands for
	foldAbsorbed           // the last failed attempt before one that succeeded
)

// sameCall is what makes two calls of one parent the same request, but for whom it went to.
type sameCall struct {
	kind                                   spans.Kind
	name, method, path, statement, message string
	address                                string // where that is asked for as well
}

func callKey(n *trace.Node) sameCall {
	return sameCall{n.Kind, n.Name, n.Facts.HTTPMethod, pathOf(n.Facts.URL), n.Facts.DBStatement, n.Facts.MsgID, ""}
}

// pathOf is a URL without scheme and host: a retry may go to another instance.
func pathOf(url string) string {
	if at := strings.Index(url, "://"); at >= 0 {
		url = url[at+3:]
		if slash := strings.IndexByte(url, '/'); slash >= 0 {
			return url[slash:]
		}
		return "/"
	}
	return url
}

func (t *trial) foldAll() {
	seen := make(map[int32]bool)
	for i := range t.f.Nodes {
		p := t.f.Nodes[i].Parent
		if p != trace.None && t.outcome[i].Failed() && !seen[p] {
			seen[p] = true
			t.foldChildren(p)
		}
	}
}

// pairwiseMost is up to how many calls of a parent are compared with each other, one by one.
const pairwiseMost = 64

func (t *trial) foldChildren(parent int32) {
	list := t.children[:0]
	for c := t.f.Nodes[parent].FirstChild; c != trace.None; c = t.f.Nodes[c].NextSib {
		n := &t.f.Nodes[c]
		switch n.Kind {
		case spans.KindClient, spans.KindServer, spans.KindProducer:
			list = append(list, c)
		case spans.KindConsumer:
			if n.Facts.MsgID != "" { // else another message, for all that is known
				list = append(list, c)
			}
		}
	}
	t.children = list
	if len(list) > pairwiseMost {
		groups := make(map[sameCall][]int32)
		for _, c := range list {
			key := callKey(&t.f.Nodes[c])
			groups[key] = append(groups[key], c)
		}
		for _, c := range list {
			if group := groups[callKey(&t.f.Nodes[c])]; group[0] == c {
				t.foldAlike(group)
			}
		}
		return
	}
	for k, c := range list {
		if c == trace.None {
			continue
		}
		group := append(t.group[:0], c)
		key := callKey(&t.f.Nodes[c])
		for m := k + 1; m < len(list); m++ {
			if list[m] != trace.None && callKey(&t.f.Nodes[list[m]]) == key {
				group = append(group, list[m])
				list[m] = trace.None
			}
		}
		t.group = group
		t.foldAlike(group)
	}
}

// foldAlike folds calls of one parent that ask for the same thing.
func (t *trial) foldAlike(group []int32) {
	if len(group) < 2 {
		return
	}
	if t.counted(group) {
		t.foldGroup(group)
		return
	}
	// Without a count of attempts, only calls to the same place can be the same request.
	places := make(map[string][]int32)
	var names []string
	for _, c := range group {
		place := t.f.Nodes[c].Facts.Address
		switch {
		case t.f.Nodes[c].Kind == spans.KindConsumer:
			place = t.serviceName(c)
		case place == "":
			place = t.calleeName(c)
		}
		if places[place] == nil {
			names = append(names, place)
		}
		places[place] = append(places[place], c)
	}
	for _, name := range names {
		t.foldGroup(places[name])
	}
}

func (t *trial) counted(group []int32) bool {
	for _, c := range group {
		if t.f.Nodes[c].Facts.Resend > 0 {
			return true
		}
	}
	return false
}

// foldGroup folds calls of one parent that are the same request, in the order of their starts.
func (t *trial) foldGroup(group []int32) {
	t.foldHedges(group)
	if !t.counted(group) && t.isLoop(group) {
		return
	}
	run := make([]int32, 0, len(group))
	for k, c := range group {
		if t.fold[c].state == foldIgnored {
			continue
		}
		if t.outcome[c].Failed() {
			if len(run) > 0 && t.overlap(run[len(run)-1], c) {
				run = run[:0]
			}
			run = append(run, c)
			if k < len(group)-1 {
				continue
			}
		}
		if len(run) == 0 {
			continue
		}
		last := run[len(run)-1]
		succeeded := !t.outcome[c].Failed() && !t.overlap(last, c)
		for _, r := range run {
			switch {
			case succeeded && t.outcome[r].Level == trace.Soft:
				t.fold[r].state = foldIgnored // a challenge, or asking until it was there
			case r != last:
				t.fold[r].state = foldEarlier
			case succeeded:
				t.fold[r] = fold{state: foldAbsorbed, attempts: int32(len(run)) + 1, restNs: t.restNs(run) + t.f.Nodes[c].StartNs - t.f.Nodes[r].EndNs}
			case len(run) > 1:
				t.fold[r].attempts, t.fold[r].restNs = int32(len(run)), t.restNs(run)
			}
		}
		if t.keepRuns {
			t.keepRun(run, c, succeeded)
		}
		run = run[:0]
	}
}

// keepRun remembers the attempts at one request, with the one that succeeded.
func (t *trial) keepRun(run []int32, next int32, succeeded bool) {
	if succeeded && t.outcome[run[len(run)-1]].Level == trace.Fail {
		run = append(slices.Clip(run), next)
	}
	if len(run) > 1 {
		t.runs = append(t.runs, slices.Clone(run))
	}
}

// restNs is the time between attempts that follow each other.
func (t *trial) restNs(run []int32) int64 {
	restNs := int64(0)
	for k := 1; k < len(run); k++ {
		restNs += max(0, t.f.Nodes[run[k]].StartNs-t.f.Nodes[run[k-1]].EndNs)
	}
	return restNs
}

// hedgeMost is how many overlapping copies of a request are still a hedge and not a fan-out.
const hedgeMost = 3

// foldHedges ignores calls that lost against an overlapping equal one that won.
func (t *trial) foldHedges(group []int32) {
	for _, c := range group {
		if !t.outcome[c].Failed() {
			continue
		}
		if t.outcome[c].Class != "CANCELLED" && (len(group) > hedgeMost || t.f.Nodes[c].Facts.URL == "") {
			continue
		}
		for _, w := range group {
			if !t.outcome[w].Failed() && t.overlap(c, w) {
				t.fold[c].state = foldIgnored
				break
			}
		}
	}
}

// isLoop: the same request again after a success is a loop over something, not a retry.
func (t *trial) isLoop(group []int32) bool {
	for k, c := range group[:len(group)-1] {
		if t.outcome[c].Failed() {
			continue
		}
		if !t.overlap(c, group[k+1]) || !t.overlap(c, group[len(group)-1]) {
			return true
		}
	}
	return false
}

func (t *trial) overlap(a, b int32) bool {
	x, y := &t.f.Nodes[a], &t.f.Nodes[b]
	return x.StartNs < y.EndNs && y.StartNs < x.EndNs
}
