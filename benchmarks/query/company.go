package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// company is 60 services of 12 teams; some are nobody's. A line that does not begin with a space is a service: its team
// (- is none) and how it is called, then a line an operation: how often requests come in there from outside (0: never), its
// name, how long its own work takes in milliseconds, and its calls, one after the other. "a&b" are at once, "?" is a call
// whose failure does not matter, "*8" one that is made so often, ">" a message. What is not in the table sends no spans.
const company = `
storefront web http
	18 GET_/ 4: sessions.Check banners.List?&catalog.List&recommend.ForUser?
	26 GET_/product/{id} 5: sessions.Check catalog.Get pricing.Quote&stock.Level&reviews.List?
	14 GET_/search 4: sessions.Check search.Query pricing.QuoteAll
	9 GET_/cart 3: sessions.Check cart.Get
	8 POST_/cart/items 4: sessions.Check stock.Level cart.Add
	6 POST_/checkout 6: sessions.Check checkout.Place
	5 GET_/orders/{id} 3: sessions.Check orders.Get tracking.Of?
mobile-api web http
	16 GET_/v2/home 4: tokens.Verify flags.For? catalog.List&recommend.ForUser?&banners.List?
	17 GET_/v2/products/{id} 4: tokens.Verify catalog.Get pricing.Quote&stock.Level media.Urls?
	7 GET_/v2/suggest 2: suggest.Complete
	4 POST_/v2/orders 5: tokens.Verify checkout.Place
	5 GET_/v2/orders 3: tokens.Verify history.List
seo-renderer web http
	3 GET_/sitemap/{page} 8: categories.Tree catalog.List image-resizer.Resize?
image-resizer web http
	0 Resize 12: s3:assets
partner-api web http
	4 GET_/partner/stock 3: permissions.May stock.Levels
	3 POST_/partner/orders 4: permissions.May checkout.Place
	2 PUT_/partner/prices 5: permissions.May pricing.Put audit.Write
	0 POST_/partner/imports 30: permissions.May catalog.Put*1666
webhooks web http
	3 POST_/hooks/bank 3: payments.Settle
	2 POST_/hooks/carrier 3: tracking.Update
admin support http
	2 GET_/admin/orders/{id} 4: permissions.May orders.Get tickets.Of? invoices.Of?
	1 POST_/admin/refunds 5: permissions.May refunds.Make
	1 GET_/admin/reports/{name} 9: permissions.May reports.Make
tickets support grpc
	0 Of 4: pg:tickets
returns support grpc
	0 Open 5: pg:orders stock.Release
cart checkout grpc
	0 Get 2: redis:carts pricing.QuoteAll
	0 Add 3: redis:carts
checkout checkout grpc
	0 Place 9: cart.Get fraud.Score&reservations.Hold tax.Rate payments.Charge orders.Create notify>Ordered
orders checkout grpc
	0 Get 3: pg:orders users.Get?
	0 Create 6: pg:orders events>Order
history checkout grpc
	0 List 4: pg:orders currency.Convert?
payments payments grpc
	0 Charge 7: wallet.Balance? bank:443 ledger.Book
	0 Settle 5: pg:payments ledger.Book
ledger payments grpc
	0 Book 4: pg:ledger
fraud payments grpc
	0 Score 14: redis:fraud users.Get
wallet payments grpc
	0 Balance 3: pg:payments
refunds payments grpc
	0 Make 5: orders.Get returns.Open payments.Settle
invoices payments http
	0 Of 5: pg:payments pdf-render.Render?
catalog catalog grpc
	0 Get 3: redis:catalog pg:catalog
	0 List 5: redis:catalog categories.Tree
	0 Put 5: pg:catalog media.Check
pricing catalog grpc
	0 Quote 4: pg:prices promotions.For
	0 QuoteAll 6: pg:prices promotions.For currency.Convert
	0 Put 5: pg:prices
reviews catalog http
	0 List 6: mongo:reviews
categories catalog grpc
	0 Tree 2: redis:catalog
media catalog http
	0 Urls 3: redis:media
	0 Check 4: s3:assets
search search grpc
	0 Query 11: index.Find ranking.Order flags.For?
index search grpc
	0 Find 9: opensearch:products
ranking search grpc
	0 Order 8: redis:features experiments.For?
suggest search http
	0 Complete 4: redis:suggest
stock inventory grpc
	0 Level 2: redis:stock
	0 Levels 6: pg:stock warehouse.Sites
	0 Release 4: pg:stock
warehouse inventory grpc
	0 Sites 4: pg:stock
reservations inventory grpc
	0 Hold 5: pg:stock stock.Level
suppliers inventory http
	0 Order 8: mailer>Send
shipping logistics grpc
	0 Plan 6: rates.For slots.Free
	0 Label 7: labels.Make
tracking logistics http
	0 Of 4: pg:shipments geocoder.Find?
	0 Update 5: pg:shipments notify>Moved
rates logistics grpc
	0 For 5: carrier-api:443
labels logistics http
	0 Make 11: pdf-render.Render s3:labels
slots logistics grpc
	0 Free 4: redis:slots
geocoder logistics http
	0 Find 6: maps-api:443
sessions identity grpc
	0 Check 1: redis:sessions
users identity grpc
	0 Get 3: pg:users
permissions identity grpc
	0 May 2: redis:permissions
tokens identity grpc
	0 Verify 2: keys.Get?
keys identity grpc
	0 Get 1: redis:keys
promotions growth grpc
	0 For 3: redis:promotions loyalty.Level?
recommend growth grpc
	0 ForUser 13: redis:features catalog.List
loyalty growth grpc
	0 Level 3: pg:loyalty
experiments growth http
	0 For 2: redis:experiments
banners growth http
	0 List 3: redis:banners
notify messaging grpc
	0 Ordered 5: users.Get mailer.Send&push.Send?
	0 Moved 4: push.Send
mailer messaging http
	0 Send 6: mail-relay:587
push messaging http
	0 Send 4: push-gateway:443
events data grpc
	0 Order 4: warehouse-sync.Push? shipping.Plan shipping.Label
reports data http
	0 Make 40: pg:reports s3:exports
audit data grpc
	0 Write 2: pg:audit
warehouse-sync data http
	0 Push 7: suppliers.Order?
tax - http
	0 Rate 5: legacy-rates.Get
legacy-rates - http
	0 Get 8: pg:legacy
currency - grpc
	0 Convert 2: redis:rates
flags - grpc
	0 For 1: redis:flags
pdf-render - http
	0 Render 25:
`

// operation is what a service does when it is called.
type operation struct {
	service *service
	method  string // of the table, Place
	name    string // of its spans, acme.Checkout/Place or GET /cart
	weight  int    // how often requests come in here
	ownMs   int
	steps   [][]call // the calls of a step are made at once
}

// call is one that an operation makes: of another operation, or of what sends no spans.
type call struct {
	to       *operation
	peer     string // system:name, or host:port of somebody else's
	optional bool
	queued   bool
	times    int
}

// service is one of the company.
type service struct {
	number     int
	name, team string // no team: nobody's
	http       bool
	operations []*operation
}

// readCompany reads the table.
func readCompany() (list []*service, err error) {
	known := make(map[string]*operation)
	var calls []func() error
	for line := range strings.Lines(strings.TrimPrefix(company, "\n")) {
		fields := strings.Fields(line)
		if line[0] != '\t' {
			s := &service{number: len(list), name: fields[0], http: fields[2] == "http"}
			if fields[1] != "-" {
				s.team = "team-" + fields[1]
			}
			list = append(list, s)
			continue
		}
		of := list[len(list)-1]
		weight, err := strconv.Atoi(fields[0])
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		own, err := strconv.Atoi(strings.TrimSuffix(fields[2], ":"))
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		o := &operation{service: of, method: fields[1], name: operationName(of, fields[1]), weight: weight, ownMs: own}
		of.operations = append(of.operations, o)
		known[of.name+"."+o.method] = o
		calls = append(calls, func() (err error) {
			o.steps, err = readSteps(fields[3:], known)
			return err
		})
	}
	for _, read := range calls {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// operationName is what spans are called: POST_/x is an HTTP route, other methods of HTTP services are made routes.
func operationName(s *service, method string) string {
	switch {
	case strings.Contains(method, "/"):
		return strings.Replace(method, "_", " ", 1)
	case !s.http:
		return "acme." + strings.ToUpper(s.name[:1]) + s.name[1:] + "/" + method
	case slices.Contains([]string{"Send", "Make", "Push", "Update", "Order", "Write", "Render"}, method):
		return "POST /" + s.name + "/" + strings.ToLower(method)
	}
	return "GET /" + s.name + "/" + strings.ToLower(method)
}

func readSteps(fields []string, known map[string]*operation) (steps [][]call, err error) {
	for _, field := range fields {
		var step []call
		for text := range strings.SplitSeq(field, "&") {
			c := call{times: 1}
			text, c.optional = strings.CutSuffix(text, "?")
			text, times, repeated := strings.Cut(text, "*")
			if repeated {
				if c.times, err = strconv.Atoi(times); err != nil {
					return nil, fmt.Errorf("call %q: %w", field, err)
				}
			}
			c.queued = strings.Contains(text, ">")
			text = strings.Replace(text, ">", ".", 1)
			if strings.Contains(text, ":") {
				c.peer = text
			} else if c.to = known[text]; c.to == nil {
				return nil, fmt.Errorf("there is no operation %s", text)
			}
			step = append(step, c)
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// entries are the operations where requests come in.
func entries(list []*service) (of []*operation) {
	for _, s := range list {
		for _, o := range s.operations {
			if o.weight > 0 {
				of = append(of, o)
			}
		}
	}
	return of
}

// teams are those of the services, in the order of their names.
func teams(list []*service) (names []string) {
	for _, s := range list {
		if s.team != "" && !slices.Contains(names, s.team) {
			names = append(names, s.team)
		}
	}
	slices.Sort(names)
	return names
}

// ownersFile says who owns what, as a company would write it down: teams, their services and datastores, and an edge.
func ownersFile(list []*service) string {
	var b strings.Builder
	b.WriteString("teams:\n")
	for _, team := range teams(list) {
		short := strings.TrimPrefix(team, "team-")
		fmt.Fprintf(&b, "  - {name: %s, chat: \"#%s\", on-call: \"https://acme.example/on-call/%[2]s\", email: %[2]s@acme.example}\n", team, short)
	}
	b.WriteString("services:\n")
	for _, s := range list {
		if s.team != "" {
			fmt.Fprintf(&b, "  - {name: %s, owner: %s, runbook: \"https://wiki.acme.example/%[1]s\"}\n", s.name, s.team)
		}
	}
	b.WriteString("datastores:\n")
	stores := make(map[string]bool)
	for _, s := range list {
		for _, peer := range s.peers() {
			system, name, _ := strings.Cut(peer, ":")
			// Whoever comes first owns it; some are in nobody's file.
			if long := storeNames[system]; long != "" && !stores[peer] && s.team != "" && len(stores)%5 != 4 {
				fmt.Fprintf(&b, "  - {name: \"%s %s *\", owner: %s}\n", long, name, s.team)
			}
			stores[peer] = true
		}
	}
	b.WriteString("edges:\n  - {edge: \"checkout->reservations:network\", owner: team-inventory}\n")
	return b.String()
}

// storeNames are the systems of the table's datastores.
var storeNames = map[string]string{"pg": "postgresql", "redis": "redis", "mongo": "mongodb", "opensearch": "opensearch"}

// peers are what a service calls that sends no spans.
func (s *service) peers() (list []string) {
	for _, o := range s.operations {
		for _, step := range o.steps {
			for _, c := range step {
				if c.peer != "" {
					list = append(list, c.peer)
				}
			}
		}
	}
	return list
}

// port is where a system listens.
func port(system string) string {
	return cmp.Or(map[string]string{"pg": "5432", "redis": "6379", "mongo": "27017", "opensearch": "9200", "s3": "443"}[system], "443")
}
