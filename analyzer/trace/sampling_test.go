package trace

import "testing"

func TestThresholdCount(t *testing.T) {
	for _, test := range []struct {
		state string
		want  float64
		ok    bool
	}{
		{"", 0, false},
		{"vendor=th:8", 0, false},
		{"ot=th:0", 1, true},
		{"ot=th:8", 2, true},
		{"ot=th:c;rv:1234567890abcd", 4, true},
		{"vendor=x, ot=rv:1234567890abcd;th:f8", 32, true},
		{"ot=th:fd70a3d70a3d7", 100, true}, // one percent, cut off after thirteen digits
		{"ot=th:ffffffffffffff", representsMax, true},
		{"ot=th:fffffffffffffff", 0, false},
		{"ot=th:", 0, false},
		{"ot=th:-8", 0, false},
		{"ot=th:x", 0, false},
	} {
		got, ok := thresholdCount(test.state)
		if ok != test.ok || got < test.want*0.9999 || got > test.want*1.0001 {
			t.Errorf("%q: %v, %v", test.state, got, ok)
		}
	}
}
