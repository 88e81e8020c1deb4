package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/whosehop/whosehop/query"
)

// sparkline is a small chart of bars, and what it says in words.
type sparkline struct{ Path, Label string }

// The area of a sparkline.
const sparkWidth, sparkHeight = 120.0, 24.0

func newSparkline(values []float64, step time.Duration) sparkline {
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	if most == 0 {
		return sparkline{Label: "nothing in this time"}
	}
	var path strings.Builder
	width := sparkWidth / float64(len(values))
	for i, v := range values {
		if v <= 0 {
			continue
		}
		height := max(1.5, sparkHeight*v/most)
		_, _ = fmt.Fprintf(&path, "M%.1f %.1fh%.1fV%.1fh-%.1fz", float64(i)*width, sparkHeight-height, width-1, sparkHeight, width-1)
	}
	return sparkline{
		Path:  path.String(),
		Label: fmt.Sprintf("at most %s in %s, %s in the last", count(most), span(int64(step)), count(values[len(values)-1])),
	}
}

// chart is bars over time, in thousandths of its width and height. What is below the line hangs from it.
type chart struct {
	Title, Label string
	Max, Min     string // what the top and the bottom stand for; Min is empty where nothing is below
	From, To     string
	Line         float64
	Bars         []bar
}

// bar is a piece of a chart.
type bar struct {
	X, Y, Width, Height float64
	Class, Title        string
}

// series is what one colour of a chart stands for.
type series struct {
	Name, Class string
	Below       bool
	At          map[time.Time]float64
}

const chartSize = 1000.0

// newChart stacks series upon each other, and those below the line below each other.
func newChart(w query.Window, step time.Duration, all []series, say func(float64) string) *chart {
	up, down := make(map[time.Time]float64), make(map[time.Time]float64)
	top, bottom := 0.0, 0.0
	side := func(s *series) map[time.Time]float64 {
		if s.Below {
			return down
		}
		return up
	}
	for i := range all {
		for at, v := range all[i].At {
			side(&all[i])[at] += v
		}
	}
	for _, v := range up {
		top = max(top, v)
	}
	for _, v := range down {
		bottom = max(bottom, v)
	}
	if top+bottom == 0 {
		return nil
	}
	layout := "2 Jan 15:04"
	if w.To.Sub(w.From) > 48*time.Hour {
		layout = "2 Jan 2006"
	}
	c := &chart{Max: say(top), From: w.From.UTC().Format(layout), To: w.To.UTC().Format(layout) + " UTC", Line: chartSize * top / (top + bottom)}
	if bottom > 0 {
		c.Min = say(bottom)
	}
	clear(up)
	clear(down)
	scale := chartSize / (top + bottom)
	width := chartSize * step.Seconds() / w.To.Sub(w.From).Seconds()
	for i := range all {
		s := &all[i]
		for at := w.From.Truncate(step); at.Before(w.To); at = at.Add(step) {
			v := s.At[at.UTC()]
			if v <= 0 {
				continue
			}
			b := bar{X: chartSize * at.Sub(w.From).Seconds() / w.To.Sub(w.From).Seconds(), Height: v * scale, Width: max(0.5, width*0.86), Class: s.Class}
			if b.X < 0 { // the first step may begin before the window
				b.Width, b.X = max(0.5, b.Width+b.X), 0
			}
			b.Title = fmt.Sprintf("%s: %s %s", at.UTC().Format("2 Jan 15:04"), s.Name, say(v))
			stack := side(s)
			if s.Below {
				b.Y = c.Line + stack[at]*scale
			} else {
				b.Y = c.Line - stack[at]*scale - b.Height
			}
			stack[at] += v
			c.Bars = append(c.Bars, b)
		}
	}
	return c
}

// slug is text as it can stand in the id of an element: what is no letter or digit is written as its number.
func slug(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' {
			b.WriteByte(c)
		} else {
			_, _ = fmt.Fprintf(&b, "_%x", c)
		}
	}
	return b.String()
}
