package ownership

import (
	"fmt"
	"strings"
	"testing"

	"github.com/whosehop/whosehop/ownership/catalog"
)

// BenchmarkWorst asks registries that nobody would write: what a question can cost grows with the patterns that share the text
// at their beginning or end with the name, and with the length of the name up to nameBytesMax.
func BenchmarkWorst(b *testing.B) {
	const n = 10_000
	for _, worst := range []struct {
		name    string
		pattern func(i int) string
		asked   string
	}{
		{"all with one beginning", func(i int) string { return fmt.Sprintf("service-*-%d", i) }, "service-in-doubt-none"},
		{"all by what is in the middle", func(i int) string { return fmt.Sprintf("*middle-%d*", i) }, "service-in-the-middle-none"},
		{"all by what is in the middle, a long name", func(i int) string { return fmt.Sprintf("*middle-%d*", i) }, strings.Repeat("m", 1<<20)},
		{"only stars", func(i int) string { return strings.Repeat("*", 1+i%250) }, "service"},
	} {
		b.Run(worst.name, func(b *testing.B) {
			records := make([]catalog.Record, n)
			for i := range records {
				records[i] = catalog.Record{Kind: catalog.Service, Name: worst.pattern(i), Owner: "t", Source: own(i + 1)}
			}
			r := Compile(records, settings)
			q := Question{Service: worst.asked, AtNs: 1}
			b.ReportAllocs()
			for b.Loop() {
				r.Resolve(&q)
			}
		})
	}
}
