package load

import (
	"time"

	"github.com/whosehop/whosehop/otlp"
	"github.com/whosehop/whosehop/storage/spans"
)

// Source takes a payload's requests one after the other. All times of a round count from one moment, so that the
// spans of a trace fit together however long storing takes. It is not safe for concurrent use.
type Source struct {
	payload *Payload
	next    int
	began   time.Time
	buffer  []byte
}

// Source begins with the first request.
func (p *Payload) Source() *Source { return &Source{payload: p} }

// Taken is how many requests were taken; no other block of spans ends there.
func (s *Source) Taken() int { return s.next }

// Fill puts the spans of the next requests into block in place of what is there: rows of them, or what makes the
// last request whole.
func (s *Source) Fill(block *spans.Block, rows int) error {
	block.Reset()
	for block.Len() < rows {
		if s.next%s.payload.Len() == 0 {
			s.began = time.Now()
		}
		s.buffer = s.payload.FreshAt(s.buffer, s.next, s.began)
		s.next++
		if _, err := otlp.Decode(s.buffer, block); err != nil {
			return err
		}
	}
	return nil
}
