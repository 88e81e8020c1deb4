package trace

import (
	"strconv"
	"strings"
)

// representsMax bounds for how many requests one trace may stand: what senders say is not checked by anybody.
const representsMax = 1e6

// Represents is for how many requests a node's trace stands, 1 where nothing was sampled: by the threshold in the
// OpenTelemetry member of its trace state, or else by its attribute SampleRate.
func (f *Forest) Represents(i int32) float64 {
	n := &f.Nodes[i]
	if n.Phantom() {
		return 1
	}
	if count, ok := thresholdCount(view(f.block.TraceStates.At(int(n.Row)))); ok {
		return count
	}
	if text, ok := f.block.Attrs.Get(int(n.Row), attrSampleRate); ok {
		if rate, err := strconv.ParseFloat(view(text), 64); err == nil && rate >= 1 {
			return min(rate, representsMax)
		}
	}
	return 1
}

// attrSampleRate is what samplers in front of a store write into spans, one in so many.
const attrSampleRate = "SampleRate"

// thresholdCount reads the rejection threshold, up to 14 hexadecimal digits of a number below 2^56, of which the zeros
// at the end are left out: one in 2^56/(2^56-threshold) was kept.
// See https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
func thresholdCount(state string) (float64, bool) {
	for state != "" {
		member, rest, _ := strings.Cut(state, ",")
		state = rest
		fields, ours := strings.CutPrefix(strings.TrimSpace(member), "ot=")
		for ours && fields != "" {
			field, more, _ := strings.Cut(fields, ";")
			fields = more
			digits, ok := strings.CutPrefix(field, "th:")
			if !ok {
				continue
			}
			const all, digitsMost = 1 << 56, 14
			threshold, err := strconv.ParseUint(digits, 16, 64)
			if err != nil || len(digits) > digitsMost {
				return 0, false
			}
			threshold <<= 4 * (digitsMost - len(digits))
			return min(all/float64(all-threshold), representsMax), true
		}
	}
	return 0, false
}
