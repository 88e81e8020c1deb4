package load

import (
	"testing"
	"time"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/native"
	"github.com/whosehop/whosehop/storage/spans"
)

func fill(b *testing.B, block *spans.Block, requests [][]byte) {
	block.Reset()
	for _, r := range requests {
		if _, err := otlp.Decode(r, block); err != nil {
			b.Fatal(err)
		}
	}
}

func requests() (list [][]byte) {
	p := New(Config{SpansPerRequest: 512})
	for i := range 96 {
		list = append(list, p.Fresh(nil, i))
	}
	return list
}

func BenchmarkDecode(b *testing.B) {
	list := requests()
	var block spans.Block
	fill(b, &block, list)
	for b.Loop() {
		fill(b, &block, list)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(block.Len()), "ns/span")
}

func BenchmarkEncode(b *testing.B) {
	var block spans.Block
	fill(b, &block, requests())
	p := native.Packed{At: time.Now()}
	e := new(native.Encoder)
	e.Encode(&block, &p)
	for b.Loop() {
		e.Encode(&block, &p)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(block.Len()), "ns/span")
}
