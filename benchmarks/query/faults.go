package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/whosehop/whosehop/storage/spans"
)

// faultKind is what goes wrong.
type faultKind int

const (
	breaks        faultKind = iota // an operation, or a call of what sends no spans, fails by itself
	refuses                        // an operation answers with a code, and that is all
	waitsForPool                   // its pool of connections has run dry
	misreads                       // it does not understand what it was answered
	callsTooOften                  // it makes a call 25 times
	isSlow                         // an operation, or what sends no spans, takes so much longer
	isTriedAgain                   // a call fails twice, then it succeeds
	isCutOff                       // a call does not arrive
	isTooShort                     // the caller gives up while the callee does what it always does
	isSlowNet                      // a call takes that long on its way
)

// fault is something that goes wrong at one place, for some hours of every few days.
type fault struct {
	kind             faultKind
	on, caller       *operation // caller: it is about this call of it
	peer             string     // it is about on's call of what sends no spans
	code, ms         int
	sqlState         string
	thrownBy, thrown string
	after            int // it hits only once, after so many went well

	weight       float64 // how many requests it hits, beside the others
	every, lasts time.Duration
	phase        time.Duration
	deploy       bool // a new version of the service began it, and the next ended it
}

// active says whether it is there at a time.
func (f *fault) active(at time.Time) bool {
	return f.every == 0 || f.since(at) < f.lasts
}

// since is how long ago it last began.
func (f *fault) since(at time.Time) time.Duration {
	return time.Duration(at.UnixNano()-int64(f.phase)) % f.every
}

// version is how often a service was deployed until a time, because of a fault.
func (f *fault) version(at time.Time) int {
	n := int(time.Duration(at.UnixNano()-int64(f.phase)) / f.every)
	if f.active(at) {
		return 2 * n
	}
	return 2*n + 1
}

// companyFaults are all of them: the incidents of a week, and what is broken a little all the time.
func companyFaults(list []*service) ([]*fault, error) {
	known := make(map[string]*operation)
	for _, s := range list {
		for _, o := range s.operations {
			known[s.name+"."+o.method] = o
		}
	}
	var wrong error
	op := func(name string) *operation {
		if name == "" {
			return nil
		}
		if known[name] == nil {
			wrong = fmt.Errorf("there is no operation %q to break", name)
		}
		return known[name]
	}
	const h = time.Hour
	all := []*fault{
		// Deploys.
		{kind: breaks, on: op("pricing.Quote"), code: 500, thrownBy: "java.lang.NullPointerException", thrown: `Cannot invoke "Promotion.percent()" because "promotion" is null`, weight: 9, every: 41 * h, lasts: 5 * h, phase: 3 * h, deploy: true},
		{kind: misreads, on: op("checkout.Place"), thrownBy: "com.fasterxml.jackson.databind.exc.MismatchedInputException", thrown: "Cannot deserialize value of type `java.math.BigDecimal` from Object value", weight: 5, every: 67 * h, lasts: 4 * h, phase: 20 * h, deploy: true},
		{kind: isSlow, on: op("recommend.ForUser"), ms: 700, weight: 7, every: 37 * h, lasts: 6 * h, phase: 11 * h, deploy: true},
		{kind: callsTooOften, on: op("history.List"), weight: 3, every: 53 * h, lasts: 9 * h, phase: 7 * h, deploy: true},
		{kind: breaks, on: op("search.Query"), code: 500, thrownBy: "KeyError", thrown: "'boost'", weight: 6, every: 29 * h, lasts: 2 * h, phase: 26 * h, deploy: true},
		// Resources.
		{kind: waitsForPool, on: op("orders.Create"), thrownBy: "java.sql.SQLTransientConnectionException", thrown: "HikariPool-1 - Connection is not available, request timed out after 1500ms.", weight: 5, every: 23 * h, lasts: 3 * h, phase: 9 * h},
		{kind: waitsForPool, on: op("users.Get"), thrownBy: "sqlalchemy.exc.TimeoutError", thrown: "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 1.50", weight: 4, every: 61 * h, lasts: 5 * h, phase: 40 * h},
		{kind: isSlow, on: op("catalog.Get"), peer: "pg:catalog", ms: 900, weight: 8, every: 31 * h, lasts: 3 * h, phase: 16 * h},
		{kind: isSlow, on: op("orders.Get"), peer: "pg:orders", ms: 1200, weight: 5, every: 47 * h, lasts: 4 * h, phase: 5 * h},
		{kind: breaks, on: op("ledger.Book"), peer: "pg:ledger", code: 500, sqlState: "53300", thrownBy: "53300", thrown: "FATAL: sorry, too many clients already", weight: 3, every: 71 * h, lasts: 2 * h, phase: 50 * h},
		{kind: breaks, on: op("stock.Level"), peer: "redis:stock", code: 500, sqlState: "OOM", thrownBy: "OOM", thrown: "OOM command not allowed when used memory > 'maxmemory'.", weight: 6, every: 59 * h, lasts: 1 * h, phase: 33 * h},
		// Timeouts and the network.
		{kind: isTooShort, on: op("fraud.Score"), caller: op("checkout.Place"), weight: 4, every: 19 * h, lasts: 8 * h, phase: 2 * h},
		{kind: isTooShort, on: op("pricing.QuoteAll"), caller: op("storefront.GET_/search"), weight: 3, every: 43 * h, lasts: 12 * h, phase: 30 * h},
		{kind: isCutOff, on: op("reservations.Hold"), caller: op("checkout.Place"), thrownBy: "ECONNREFUSED", weight: 4, every: 17 * h, lasts: 1 * h, phase: 13 * h},
		{kind: isCutOff, on: op("catalog.Get"), caller: op("mobile-api.GET_/v2/products/{id}"), thrownBy: "ECONNRESET", ms: 15, weight: 4, every: 27 * h, lasts: 2 * h, phase: 21 * h},
		{kind: isSlowNet, on: op("index.Find"), caller: op("search.Query"), ms: 450, weight: 4, every: 33 * h, lasts: 5 * h, phase: 18 * h},
		// Retries, limits and what others do.
		{kind: isTriedAgain, on: op("payments.Charge"), caller: op("checkout.Place"), thrownBy: "io.grpc.StatusRuntimeException", thrown: "UNAVAILABLE: draining", weight: 4, every: 13 * h, lasts: 4 * h, phase: 1 * h},
		{kind: isTriedAgain, on: op("catalog.List"), caller: op("storefront.GET_/"), thrownBy: "io.grpc.StatusRuntimeException", thrown: "UNAVAILABLE: draining", weight: 3, every: 25 * h, lasts: 5 * h, phase: 8 * h},
		{kind: breaks, on: op("payments.Charge"), peer: "bank:443", code: 503, thrownBy: "503", weight: 4, every: 35 * h, lasts: 2 * h, phase: 24 * h},
		{kind: refuses, on: op("permissions.May"), code: answerBusy, weight: 2, every: 21 * h, lasts: 3 * h, phase: 6 * h},
		{kind: refuses, on: op("partner-api.POST_/partner/orders"), code: answerInvalid, weight: 1},
		{kind: refuses, on: op("mobile-api.POST_/v2/orders"), code: answerInvalid, weight: 0.7},
		{kind: refuses, on: op("mobile-api.GET_/v2/home"), code: answerLeft, weight: 0.7},
		// What nobody owns, what does not matter, and what comes later.
		{kind: breaks, on: op("legacy-rates.Get"), code: 500, thrownBy: "System.TimeZoneNotFoundException", thrown: "The time zone ID 'Europe/Kyiv' was not found", weight: 3, every: 15 * h, lasts: 3 * h, phase: 4 * h},
		{kind: breaks, on: op("flags.For"), code: 503, thrownBy: "UnavailableError", thrown: "no quorum", weight: 2},
		{kind: breaks, on: op("reviews.List"), code: 500, thrownBy: "MongoServerError", thrown: "E11000 duplicate key", weight: 2},
		{kind: breaks, on: op("notify.Ordered"), code: 500, thrownBy: "TemplateNotFound", thrown: "order_de.html", weight: 1.5},
	}
	// A little of everything is broken always.
	errorsOf := [][2]string{
		{"java.lang.IllegalStateException", "unexpected state: CLOSED"},
		{"TypeError", "Cannot read properties of undefined (reading 'id')"},
		{"ValueError", "invalid literal for int() with base 10: ''"},
		{"runtime.boundsError", "index out of range [3] with length 3"},
		{"ArgumentNullException", "Value cannot be null. (Parameter 'key')"},
	}
	for _, s := range list {
		for k, o := range s.operations {
			e := errorsOf[(s.number+3*k)%len(errorsOf)]
			all = append(all, &fault{kind: breaks, on: o, code: 500, thrownBy: e[0], thrown: e[1], weight: 0.05})
		}
	}
	return all, wrong
}

// giantFault is that of the one trace of 10,000 spans: an import of which one item fails.
func giantFault(list []*service) (entry *operation, f *fault) {
	f = &fault{kind: misreads, thrownBy: "PIL.UnidentifiedImageError", thrown: "cannot identify image file", after: 1234}
	for _, s := range list {
		for _, o := range s.operations {
			switch s.name + "." + o.method {
			case "partner-api.POST_/partner/imports":
				entry = o
			case "media.Check":
				f.on = o
			}
		}
	}
	return entry, f
}

// playOne plays a request that comes in at an entry; hit says whether it met the fault.
func playOne(random *rand.Rand, entry *operation, f *fault) (played []span, hit bool) {
	p := &play{random: random, fault: f}
	p.serve(entry, -1, 0, spans.KindServer)
	return p.spans, p.hit
}
