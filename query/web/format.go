package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/whosehop/whosehop/verdict"
)

func number(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

func when(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000 UTC") }

// short is a number of many digits in few.
func short(n uint64) string {
	switch x := float64(n); {
	case n >= 1e9:
		return number(x/1e9) + "G"
	case n >= 1e6:
		return number(x/1e6) + "M"
	case n >= 1e4:
		return number(x/1e3) + "k"
	}
	return strconv.FormatUint(n, 10)
}

// count is a number of requests, which may have parts of one, in as many digits as people read.
func count(x float64) string {
	switch a := math.Abs(x); {
	case a < 0.005:
		return "0"
	case a < 0.05:
		return "<0.1"
	case a < 99.95:
		return strings.TrimSuffix(number(x), ".0")
	case a < 9999.5:
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return short(uint64(math.Round(math.Abs(x))))
}

// part is a share, 0 to 1, that is neither 0 nor all unless it is.
func part(x float64) string {
	switch {
	case x > 0 && x < 0.001:
		return "<0.1 %"
	case x > 0 && x < 0.0995:
		return strings.Replace(strconv.FormatFloat(100*x, 'f', 1, 64), ".0", "", 1) + " %"
	case x > 0.995 && x < 1:
		return ">99 %"
	}
	return verdict.Percent(x)
}

// span is a sum of time, in the unit that people think of it in.
func span(ns int64) string {
	switch d := time.Duration(ns); {
	case ns <= 0:
		return "0"
	case d < 2*time.Minute:
		return verdict.Took(ns)
	case d < 2*time.Hour:
		return strconv.FormatFloat(d.Minutes(), 'f', 0, 64) + " min"
	case d < 48*time.Hour:
		return strings.TrimSuffix(number(d.Hours()), ".0") + " h"
	}
	return strings.TrimSuffix(number(time.Duration(ns).Hours()/24), ".0") + " d"
}

// ago is how long ago something was.
func ago(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "just now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s ago", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min ago", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h ago", d.Hours())
	}
	return fmt.Sprintf("%.0f d ago", d.Hours()/24)
}

// moment is an instant as a page says it: the time, the day if it is another one, and how long ago that was.
type moment struct{ ISO, Text, Ago string }

func momentOf(at, now time.Time) moment {
	at = at.UTC()
	layout := "15:04"
	if y, m, d := now.UTC().Date(); at.Before(time.Date(y, m, d, 0, 0, 0, 0, time.UTC)) {
		layout = "2 Jan 15:04"
	}
	return moment{ISO: at.Format("2006-01-02T15:04:05Z"), Text: at.Format(layout) + " UTC", Ago: ago(now.Sub(at))}
}

// countOf is a number with its noun.
func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func at(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
