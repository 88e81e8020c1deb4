package main

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/whosehop/whosehop/storage/spans"
)

// span is one of a trace as it was played: times in nanoseconds from the trace's begin.
type span struct {
	service          *service
	parent           int // -1 is none
	kind             spans.Kind
	status           spans.Status
	name, message    string
	start, end       int64
	attributes       [][2]string
	thrown, thrownBy string // an exception's message and type
}

// The digits in attributes that each trace has of its own: a run of one of these bytes stands for digits of one number.
const (
	orderDigit = 1 + iota
	userDigit
	itemDigit
	anyDigit
	digitKinds
)

func digits(kind byte, n int) string { return strings.Repeat(string(rune(kind)), n) }

// play is one request on its way through the company.
type play struct {
	random *rand.Rand
	fault  *fault
	passed int // how often the fault's place was passed
	hit    bool
	spans  []span
}

const millisecond = int64(1e6)

// took draws how long something takes that takes so many milliseconds as a rule.
func (p *play) took(ms float64) int64 {
	return int64(ms * math.Exp(0.3*p.random.NormFloat64()) * float64(millisecond))
}

// acts says whether the fault is of this kind, at this place, and acts there.
func (p *play) acts(kind faultKind, on, caller *operation, peer string) bool {
	f := p.fault
	if f == nil || f.kind != kind || f.on != on || f.caller != caller || f.peer != peer {
		return false
	}
	p.passed++
	if p.passed <= f.after {
		return false
	}
	p.hit = true
	return f.after == 0 || p.passed == f.after+1
}

func (p *play) begin(s *service, parent int, kind spans.Kind, name string, at int64) int {
	p.spans = append(p.spans, span{service: s, parent: parent, kind: kind, name: name, start: at})
	return len(p.spans) - 1
}

func (p *play) set(i int, pairs ...string) {
	for k := 0; k < len(pairs); k += 2 {
		p.spans[i].attributes = append(p.spans[i].attributes, [2]string{pairs[k], pairs[k+1]})
	}
}

func (p *play) throw(i int, by, message string) {
	s := &p.spans[i]
	s.thrownBy, s.thrown, s.message = by, message, message
}

// The answers, as the status codes of HTTP. No answer is 0.
const (
	answerOK      = 200
	answerInvalid = 400
	answerDenied  = 401
	answerBusy    = 429
	answerLeft    = 499
	answerBroken  = 500
	answerAway    = 503
	answerLate    = 504
)

var grpcCodes = map[int]string{
	answerOK: "OK", answerInvalid: "INVALID_ARGUMENT", answerDenied: "UNAUTHENTICATED", answerBusy: "RESOURCE_EXHAUSTED",
	answerBroken: "INTERNAL", answerAway: "UNAVAILABLE", answerLate: "DEADLINE_EXCEEDED",
}

// serve plays an operation: when it has answered, and what.
func (p *play) serve(o *operation, parent int, at int64, kind spans.Kind) (end int64, code int) {
	i := p.begin(o.service, parent, kind, o.name, at)
	own := p.took(float64(o.ownMs))
	now := at + own*2/5
	code = answerOK
	steps := o.steps
	switch f := p.fault; {
	case p.acts(breaks, o, nil, ""):
		code, steps = f.code, nil
		p.throw(i, f.thrownBy, f.thrown)
	case p.acts(refuses, o, nil, ""):
		code, steps = f.code, nil
	case p.acts(waitsForPool, o, nil, ""):
		now += p.took(1500)
		code, steps = answerAway, nil
		p.throw(i, f.thrownBy, f.thrown)
	case p.acts(isSlow, o, nil, ""):
		now += p.took(float64(f.ms))
	}
	for _, step := range steps {
		var failed int
		if now, failed = p.step(o, step, i, now); failed != answerOK {
			code = failed
			break
		}
		if p.acts(misreads, o, nil, "") {
			p.throw(i, p.fault.thrownBy, p.fault.thrown)
			code = answerBroken
			break
		}
	}
	end = now + own*3/5
	p.answered(i, o, kind, end, code)
	return end, code
}

// step makes the calls of a step at once: when the last has ended, and what to answer if that is not to go on.
func (p *play) step(o *operation, step []call, parent int, at int64) (now int64, code int) {
	now, code = at, answerOK
	for k := range step {
		c := &step[k]
		times := c.times
		if c.to != nil && p.acts(callsTooOften, o, nil, "") {
			times = 25
		}
		for next := at; times > 0; times-- {
			end, answer := p.call(o, c, parent, next)
			now, next = max(now, end), end+p.took(0.2)
			switch {
			case answer < answerInvalid && answer > 0, c.optional, c.queued:
			case answer == answerInvalid:
				code = answer // whoever asked is told the same
			default:
				code = answerBroken
			}
		}
	}
	return now, code
}

// answered ends the span of an operation.
func (p *play) answered(i int, o *operation, kind spans.Kind, end int64, code int) {
	s := &p.spans[i]
	s.end = end
	bad := code >= answerBroken
	switch {
	case kind == spans.KindConsumer:
		p.set(i, "messaging.system", "kafka", "messaging.operation.type", "process", "messaging.destination.name", o.service.name+"."+strings.ToLower(o.method), "messaging.consumer.group.name", o.service.name)
		bad = code >= answerInvalid
	case o.service.http:
		method, route, _ := strings.Cut(o.name, " ")
		p.set(i, "http.request.method", method, "http.route", route, "url.path", strings.Replace(route, "{id}", digits(itemDigit, 5), 1), "http.response.status_code", strconv.Itoa(code))
		if s.parent < 0 {
			p.set(i, "user_agent.original", agents[p.random.IntN(len(agents))], "client.address", "81.2."+digits(anyDigit, 2)+"."+digits(itemDigit, 2), "user.id", "u-"+digits(userDigit, 6))
		}
	default:
		p.set(i, "rpc.system.name", "grpc", "rpc.method", o.name, "rpc.response.status_code", grpcCodes[code])
		bad = bad && code != answerBusy
	}
	if strings.Contains(o.method, "rder") || o.method == "Place" || o.method == "Charge" {
		p.set(i, "app.order.id", "o-"+digits(orderDigit, 8))
	}
	if bad {
		s.status = spans.StatusError
		by := s.thrownBy
		if by == "" {
			by = strconv.Itoa(code)
			if !o.service.http {
				by = grpcCodes[code]
			}
		}
		p.set(i, "error.type", by)
	}
}

var agents = []string{
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
	"acme-android/7.12.3", "partner-sync/2.4",
}

// call plays a call of an operation: when the caller went on, and what it was answered.
func (p *play) call(o *operation, c *call, parent int, at int64) (end int64, code int) {
	switch {
	case c.queued:
		return p.publish(o, c, parent, at), answerOK
	case c.to == nil:
		return p.ask(o, c.peer, parent, at)
	}
	if f := p.fault; p.acts(isTriedAgain, c.to, o, "") {
		for range 2 {
			i := p.beginCall(o, c, parent, at)
			served := at + p.took(0.3)
			j := p.begin(c.to.service, i, spans.KindServer, c.to.name, served)
			end = served + p.took(20)
			p.throw(j, f.thrownBy, f.thrown)
			p.answered(j, c.to, spans.KindServer, end, answerAway)
			p.called(i, c.to, end+p.took(0.3), answerAway, "")
			at = end + p.took(60)
		}
	}
	i := p.beginCall(o, c, parent, at)
	switch f := p.fault; {
	case p.acts(isCutOff, c.to, o, ""):
		end = at + p.took(float64(max(1, f.ms)))
		p.called(i, c.to, end, 0, f.thrownBy)
		return end, 0
	case p.acts(isTooShort, c.to, o, ""):
		served := at + p.took(0.3)
		until, _ := p.serve(c.to, i, served, spans.KindServer)
		end = at + max(millisecond, (until-at)*3/5)
		p.called(i, c.to, end, answerLate, "")
		return end, answerLate
	}
	lost := int64(0)
	if p.acts(isSlowNet, c.to, o, "") {
		lost = p.took(float64(p.fault.ms))
	}
	end, code = p.serve(c.to, i, at+lost+p.took(0.3), spans.KindServer)
	end += p.took(0.3)
	p.called(i, c.to, end, code, "")
	return end, code
}

func (p *play) beginCall(o *operation, c *call, parent int, at int64) int {
	name := c.to.name
	if c.to.service.http {
		name, _, _ = strings.Cut(name, " ")
	}
	return p.begin(o.service, parent, spans.KindClient, name, at)
}

// called ends the span of a call.
func (p *play) called(i int, to *operation, end int64, code int, errorType string) {
	s := &p.spans[i]
	s.end = end
	address := to.service.name + ".prod.svc.cluster.local"
	if to.service.http {
		method, route, _ := strings.Cut(to.name, " ")
		p.set(i, "http.request.method", method, "url.full", "http://"+address+":8080"+strings.Replace(route, "{id}", digits(itemDigit, 5), 1), "server.address", address, "server.port", "8080")
		if code > 0 {
			p.set(i, "http.response.status_code", strconv.Itoa(code))
		}
	} else {
		p.set(i, "rpc.system.name", "grpc", "rpc.method", to.name, "server.address", address, "server.port", "9090")
		if code > 0 {
			p.set(i, "rpc.response.status_code", grpcCodes[code])
		} else {
			p.set(i, "rpc.response.status_code", "UNAVAILABLE")
		}
	}
	switch {
	case errorType != "":
		p.set(i, "error.type", errorType)
	case code >= answerInvalid && to.service.http:
		errorType = strconv.Itoa(code)
		p.set(i, "error.type", errorType)
	case code >= answerInvalid:
		errorType = grpcCodes[code]
		p.set(i, "error.type", errorType)
	default:
		return
	}
	s.status = spans.StatusError
}

// publish plays a message, and what is made of it.
func (p *play) publish(o *operation, c *call, parent int, at int64) (end int64) {
	topic := c.to.service.name + "." + strings.ToLower(c.to.method)
	i := p.begin(o.service, parent, spans.KindProducer, "publish "+topic, at)
	end = at + p.took(1.5)
	p.spans[i].end = end
	p.set(i, "messaging.system", "kafka", "messaging.operation.type", "publish", "messaging.destination.name", topic, "server.address", "kafka.prod.internal", "app.order.id", "o-"+digits(orderDigit, 8))
	p.serve(c.to, i, end+p.took(25), spans.KindConsumer)
	return end
}

// ask plays a call of what sends no spans.
func (p *play) ask(o *operation, peer string, parent int, at int64) (end int64, code int) {
	system, name, _ := strings.Cut(peer, ":")
	i := p.begin(o.service, parent, spans.KindClient, "", at)
	took, code := p.took(map[string]float64{"pg": 2.5, "redis": 0.5, "mongo": 3, "opensearch": 9, "s3": 8}[system]+0.1), answerOK
	if storeNames[system] == "" && system != "s3" {
		took = p.took(35)
	}
	f := p.fault
	switch {
	case p.acts(isSlow, o, nil, peer):
		took = p.took(float64(f.ms))
	case p.acts(breaks, o, nil, peer):
		code = f.code
		p.spans[i].status, p.spans[i].message = spans.StatusError, f.thrown
		p.set(i, "error.type", f.thrownBy)
		if f.thrown != "" && storeNames[system] != "" {
			p.set(i, "db.response.status_code", f.sqlState)
		}
	}
	end = at + took
	s := &p.spans[i]
	s.end = end
	verb := "SELECT"
	if len(o.method)%3 == 0 {
		verb = "UPDATE"
	}
	switch {
	case storeNames[system] == "postgresql":
		s.name = verb + " " + name
		p.set(i, "db.system.name", "postgresql", "db.namespace", name, "db.operation.name", verb, "db.collection.name", name, "db.query.text", verb+" … "+name+" WHERE id = $1 AND tenant = $2",
			"server.address", "pg-"+name+".prod.internal", "server.port", port(system))
	case storeNames[system] != "":
		s.name = "GET"
		if system != "redis" {
			s.name = "find " + name
		}
		p.set(i, "db.system.name", storeNames[system], "db.namespace", name, "db.operation.name", s.name, "server.address", system+"-"+name+".prod.internal", "server.port", port(system))
	default:
		host := system + ".example.com"
		if system == "s3" {
			host = name + ".s3.example.com"
		}
		s.name = "POST"
		p.set(i, "http.request.method", "POST", "url.full", "https://"+host+"/v1/"+strings.ToLower(o.method), "server.address", host, "server.port", "443")
		if code > 0 {
			p.set(i, "http.response.status_code", strconv.Itoa(code))
		}
	}
	return end, code
}
