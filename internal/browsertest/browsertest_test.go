package browsertest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestWhatIsWrongIsFound: what the other tests look for is found where it is.
func TestWhatIsWrongIsFound(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "style-src 'none'; script-src 'unsafe-inline'; img-src *")
		_, _ = w.Write([]byte(`<!doctype html><html><title>x</title><h1>Hard to read</h1><p><font color="#bbbbbb">pale</font></p><input><p style="color:red">red</p>
<img alt="" src="http://elsewhere.invalid/x.png"><script>console.log('hello'); setTimeout(() => { throw new Error('no') })</script></html>`))
	}))
	t.Cleanup(server.Close)
	b := New(t)
	b.As(Looks[0])
	b.Open(server.URL)
	b.Do(chromedp.Poll("document.querySelector('img').complete", nil))
	found := strings.Join(b.findings(), "\n")
	for _, want := range []string{"color-contrast", "html-has-lang", "label"} {
		if !strings.Contains(found, want) {
			t.Errorf("%s is not in %s", want, found)
		}
	}
	wrongs := strings.Join(b.Wrongs(), "\n")
	for _, want := range []string{"console log", "exception", "leaves the host: http://elsewhere.invalid/x.png", "violates the following Content Security Policy"} {
		if !strings.Contains(wrongs, want) {
			t.Errorf("%q is not in %s", want, wrongs)
		}
	}
}
