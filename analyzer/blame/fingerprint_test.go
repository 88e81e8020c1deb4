package blame

import "testing"

func TestTemplate(t *testing.T) {
	of := func(text string) fnv {
		h := fnv(fnvOffset)
		h.addTemplate(text)
		return h
	}
	for _, same := range [][2]string{
		{"item 4711 has no price", "item 4712 has no price"},
		{"no row for 'eu-west' in \"prices\"", "no row for 'us-east' in \"taxes\""},
		{"order 3fa85f64-5717-4562-b3fc-2c963f66afa6 not found", "order 1c963f66-0000-4562-b3fc-2c963f66afa6 not found"},
	} {
		if of(same[0]) != of(same[1]) {
			t.Errorf("%q and %q differ", same[0], same[1])
		}
	}
	for _, other := range [][2]string{{"item 4711 has no price", "item 4711 has no name"}, {"it's broken", "it broke"}, {"", "x"}} {
		if of(other[0]) == of(other[1]) {
			t.Errorf("%q and %q are the same", other[0], other[1])
		}
	}
}

func TestOwnFrame(t *testing.T) {
	for stack, want := range map[string]string{
		"java.lang.NullPointerException: x\n\tat java.util.Objects.requireNonNull(Objects.java:233)\n\tat com.shop.Price.of(Price.java:17)": "com.shop.Price.of",
		"Error: x\n    at node:internal/process\n    at charge (/app/pay.js:3:9)":                                                           "charge",
		"Traceback\n  File \"/usr/lib/python3/site-packages/flask/app.py\", line 5, in run\n  File \"/app/tax.py\", line 7, in quote":       "/app/tax.py quote",
		"": "",
	} {
		if got := ownFrame(stack); got != want {
			t.Errorf("ownFrame is %q, want %q", got, want)
		}
	}
	if a, b := ownFrame("  File \"/app/tax.py\", line 7, in quote"), ownFrame("  File \"/app/tax.py\", line 9, in quote"); a != b || a == "" {
		t.Errorf("the line is in the frame: %q, %q", a, b)
	}
}
