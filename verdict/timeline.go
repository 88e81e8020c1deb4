package verdict

// Timeline is the spans of a trace as they are drawn, and what the judge knows of each. It is not a part of a verdict: what is
// normal is what is normal when it is made.
type Timeline struct {
	// Spans come as in a walk: a parent before its children, siblings by their start. All that lies below span i is the
	// Spans[i].Below spans behind it.
	Spans []TimelineSpan
	// Retries are requests that were made more than once.
	Retries []Retry
	// Of some spans, by their index: the time between a call and its server side, calls that were made too often, exceptions.
	Gaps  map[int]Gap
	Often map[int][]Often
	Logs  map[int][]Log
}

// TimelineSpan is one of its spans.
type TimelineSpan struct {
	ID                   [8]byte
	Parent               int32 // an index, -1 for an entry
	Below                int32
	Retry                int32 // the number of its retry, counted from 1; 0 for none
	Service, Name        string
	Kind                 string
	Status               string // the code it ended with, "" for a good end without one
	StartNs, EndNs       int64
	NormalNs, NormalToNs int64 // the 5th and the 95th percentile of what it normally takes; 0 where that is not known
	Failed, OnPath       bool  // OnPath: on the critical path of its entry
	Missing              bool  // others name it as their parent, but it never arrived
}

// Retry is one request that was made more than once.
type Retry struct {
	Attempts []int32 // the spans, in the order of their starts
	Failed   int     // how many of them
}

// Gap is the time of a call that its server side does not account for: before that began, and after it had ended. The parts are
// intervals, as the clocks of the two sides are not known exactly.
type Gap struct {
	Server                        int32 // the server side
	RequestLowNs, RequestHighNs   int64
	ResponseLowNs, ResponseHighNs int64
	// Known: the clocks were compared in other calls, or are one; else the bounds are those that this one call sets.
	Known bool
}

// Often is calls of one kind that a span waited for one after the other, more of them than usual.
type Often struct {
	Name  string
	Calls int
	Usual float64
}

// Log is an exception that a span recorded.
type Log struct {
	TimeNs               int64
	Type, Message, Stack string
}

// Exceptions are cut to these lengths.
const (
	LogsMost        = 8 // of a span
	LogMessageBytes = 2 << 10
	LogStackBytes   = 16 << 10
)
