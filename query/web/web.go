// Package web is the pages: drawn on the server, embedded in the program, with nothing fetched from
// anywhere else.
package web

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/whosehop/whosehop/query"
	"github.com/whosehop/whosehop/verdict"
)

//go:embed static templates
var files embed.FS

type handler struct {
	service *query.Service
	log     *slog.Logger
	pages   *template.Template
	own     *http.CrossOriginProtection
}

// Register adds the pages to a mux.
func Register(mux *http.ServeMux, service *query.Service, log *slog.Logger) {
	h := &handler{service: service, log: log, pages: templates()}
	h.own = http.NewCrossOriginProtection()
	if public := service.Links.Public; public != "" {
		if u, err := url.Parse(public); err == nil {
			_ = h.own.AddTrustedOrigin(u.Scheme + "://" + u.Host) // it was checked when the settings were read
		}
	}
	mux.Handle("GET /static/", http.FileServerFS(files))
	mux.HandleFunc("GET /{$}", h.now)
	mux.HandleFunc("GET /search", h.search)
	mux.HandleFunc("GET /owners", h.owners)
	mux.HandleFunc("GET /owners/{owner...}", h.owner)
	mux.HandleFunc("GET /map", h.serviceMap)
	mux.HandleFunc("GET /coverage", h.coverage)
	mux.HandleFunc("GET /reviews", h.reviews)
	mux.HandleFunc("GET /verdicts", h.find)
	mux.HandleFunc("GET /verdicts/{traceId}", h.verdict)
	mux.HandleFunc("GET /verdicts/{traceId}/rows", h.rows)
	mux.HandleFunc("GET /verdicts/{traceId}/why-not", h.whyNot)
	mux.HandleFunc("POST /verdicts/{traceId}/reviews", h.review)
	mux.HandleFunc("GET /traces/{traceId}", h.trace)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.errorPage(w, http.StatusNotFound, "There is no such page", r.URL.Path)
	})
}

func templates() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"ms": verdict.Took, "percent": verdict.Percent, "number": number, "when": when, "short": short, "at": at, "plural": plural, "path": url.PathEscape,
		"count": count, "part": part, "span": span, "sampled": sampled, "place": placeOf, "pages": func() []place { return pages }, "page": func(path, title string) place { return place{path, title} },
	}).ParseFS(files, "templates/*.html"))
}

// place is a page in the navigation, and its title.
type place struct{ At, Title string }

// pages are the navigation.
var pages = []place{{"/", "Now"}, {"/search", "Search"}, {"/owners", "Owners"}, {"/map", "Map"}, {"/coverage", "Coverage"}, {"/reviews", "Reviews"}}

// placeOf makes one of what a page hands to its head: a place, or the title of a page that is not in the navigation.
func placeOf(head any) place {
	if p, ok := head.(place); ok {
		return p
	}
	return place{Title: fmt.Sprint(head)}
}

// pageTimeout bounds the questions of a page.
const pageTimeout = 20 * time.Second

func (h *handler) render(w http.ResponseWriter, status int, name string, data any) {
	var page bytes.Buffer
	if err := h.pages.ExecuteTemplate(&page, name, data); err != nil {
		h.log.Error("page not drawn", "page", name, "error", err)
		http.Error(w, "the page could not be drawn; the log says why", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // whoever asked may have left
}

func (h *handler) errorPage(w http.ResponseWriter, status int, title, detail string) {
	h.render(w, status, "error", struct{ Title, Detail string }{title, detail})
}

// fail is the one place that maps errors to pages.
func (h *handler) fail(w http.ResponseWriter, err error) {
	var passing interface{ Retryable() bool }
	switch {
	case errors.Is(err, query.ErrNotFound):
		h.errorPage(w, http.StatusNotFound, "This trace is not known", err.Error()+". It may have been sampled out, not have arrived yet, or have expired.")
	case errors.Is(err, query.ErrInvalid):
		h.errorPage(w, http.StatusBadRequest, "That is not a question", err.Error())
	case errors.Is(err, query.ErrMissing):
		h.errorPage(w, http.StatusServiceUnavailable, "A part of the storage does not answer", err.Error()+".")
	case errors.Is(err, query.ErrBusy):
		w.Header().Set("Retry-After", "2")
		h.errorPage(w, http.StatusServiceUnavailable, "Too many ask at once", "Load this page again in a few seconds.")
	case errors.Is(err, context.Canceled):
		return
	case query.TooSlow(err):
		h.log.Warn("page given up", "error", err)
		h.errorPage(w, http.StatusGatewayTimeout, "That took too long", "Ask for a shorter window, or for less of it.")
	case errors.As(err, &passing) && passing.Retryable():
		h.log.Warn("page not answered", "error", err)
		h.errorPage(w, http.StatusServiceUnavailable, "The storage does not answer", "Try again in a moment.")
	default:
		h.log.Error("page failed", "error", err)
		h.errorPage(w, http.StatusInternalServerError, "The question could not be answered", "The log says why.")
	}
}

func (h *handler) find(w http.ResponseWriter, r *http.Request) {
	id, err := query.ParseTraceID(r.URL.Query().Get("traceId"))
	if err != nil {
		h.fail(w, err)
		return
	}
	http.Redirect(w, r, fmt.Sprintf("/verdicts/%x", id[:]), http.StatusSeeOther)
}

// contact is how an owner is reached.
type contact struct {
	Name string
	Ways []way
}

// way is one of them: an address to follow, or what is to be found elsewhere.
type way struct {
	Name, Target string
	Link         bool
}

// contact is nil where nothing is known.
func (h *handler) contact(owner string) *contact {
	ways := h.service.Reach(owner)
	if len(ways) == 0 {
		return nil
	}
	c := &contact{Name: owner}
	for _, w := range ways {
		c.Ways = append(c.Ways, way{Name: w.Name, Target: w.Target, Link: strings.HasPrefix(w.Target, "https://") || strings.HasPrefix(w.Target, "http://")})
	}
	return c
}

var sinces = []string{"15m", "1h", "6h", "24h", "168h"}

// since reads how far back a page looks.
func since(r *http.Request, otherwise string) (string, time.Time, error) {
	text := cmp.Or(r.URL.Query().Get("since"), otherwise)
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return text, time.Time{}, fmt.Errorf("%w: since %q is not a duration like 30m", query.ErrInvalid, text)
	}
	return text, time.Now().Add(-d), nil
}
