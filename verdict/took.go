package verdict

import "strconv"

// Percent is a share, 0 to 1, as people say it: "13 %".
func Percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 0, 64) + " %" }

// Took is a duration in nanoseconds as people say it: with the digits that count, "4.2 ms" or "12 s".
func Took(ns int64) string { return string(AppendTook(nil, ns)) }

// AppendTook appends it to b.
func AppendTook(b []byte, ns int64) []byte {
	format := func(v float64, digits int, unit string) []byte {
		return append(strconv.AppendFloat(b, v, 'f', digits, 64), unit...)
	}
	switch v := float64(ns) / 1e6; {
	case v >= 10_000:
		return format(v/1e3, 0, " s")
	case v >= 1_000:
		return format(v/1e3, 1, " s")
	case v >= 10:
		return format(v, 0, " ms")
	case v >= 1:
		return format(v, 1, " ms")
	default:
		return format(v, 2, " ms")
	}
}

// Lasted is how long something lasted, or the sum of many times, as people say it: as Took up to two minutes, then in minutes,
// hours and days.
func Lasted(ns int64) string {
	const minute, hour, day = 60e9, 3600e9, 24 * 3600e9
	switch v := float64(ns); {
	case v < 2*minute:
		return Took(ns)
	case v < 2*hour:
		return strconv.FormatFloat(v/minute, 'f', 0, 64) + " min"
	case v < 2*day:
		return strconv.FormatFloat(v/hour, 'f', 0, 64) + " h"
	default:
		return strconv.FormatFloat(v/day, 'f', 0, 64) + " days"
	}
}
