package blame

import "testing"

func TestTemplate(t *testing.T) {
	for text, want := range map[string]string{
		"item 4711 has no price":                               "item # has no price",
		"item 4712 has no price":                               "item # has no price",
		"no row for 'eu-west' in \"prices\"":                   "no row for ? in ?",
		"order 3fa85f64-5717-4562-b3fc-2c963f66afa6 not found": "order # not found",
		"it's broken": "it's broken",
		"":            "",
	} {
		if got := template(text); got != want {
			t.Errorf("template(%q) is %q, want %q", text, got, want)
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
