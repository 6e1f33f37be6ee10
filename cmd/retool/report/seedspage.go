package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

//go:embed page/seeds.html
var seedsHTML string

var seedsPage = template.Must(template.New("seeds").Funcs(template.FuncMap{
	"join": func(names []string) string { return strings.Join(names, ", ") },
}).Parse(seedsHTML))

// WriteComparison writes the page of several seeds: four bars, the table, curves over RL steps. It holds no script.
func WriteComparison(w io.Writer, title string, c *Comparison) error {
	type plotted struct {
		Curve
		Plot template.HTML
	}
	type row struct {
		Name, Class string
		Cells       []string
	}
	d := struct {
		Title  string
		Policy string
		Style  template.CSS
		Seeds  []string
		Bars   template.HTML
		Rows   []row
		Curves []plotted
	}{Title: title, Policy: "default-src 'none'; style-src " + hash(pageCSS) + "; base-uri 'none'; form-action 'none'",
		Style: template.CSS(pageCSS), Seeds: c.Seeds, Bars: c.bars()}
	for _, b := range append(append([]Bar(nil), c.Bars...), c.Gains...) {
		class := "toolrun"
		if b.Text {
			class = "textrun"
		}
		d.Rows = append(d.Rows, row{b.Name, class, b.Cells()})
	}
	for _, curve := range c.Curves {
		d.Curves = append(d.Curves, plotted{curve, curve.plot()})
	}
	if err := seedsPage.Execute(w, d); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// Cells are a bar's columns in a table: a value of each seed, mean, interval, code ratio, tokens, problems × samples; those of a difference
// carry their sign and have no more than the interval.
func (b Bar) Cells() (cells []string) {
	percent, difference := "%.1f", b.Problems == 0
	if difference {
		percent = "%+.1f"
	}
	for _, v := range append(append([]float64(nil), b.Value.Values...), b.Value.Mean) {
		cells = append(cells, fmt.Sprintf(percent, 100*v))
	}
	low, high := b.Value.Low(), b.Value.High()
	if difference {
		return append(cells, fmt.Sprintf(percent+" – "+percent, 100*low, 100*high), "", "", "")
	}
	return append(cells, fmt.Sprintf(percent+" – "+percent, 100*max(0, low), 100*min(1, high)), fmt.Sprintf("%.1f %%", 100*b.Code),
		fmt.Sprintf("%.1f", b.Length), fmt.Sprintf("%d × %d", b.Problems, b.Samples))
}

// svg is a drawing of w × h, and a place in it.
type svg struct {
	strings.Builder
	w, h float64
}

func (s *svg) add(format string, a ...any) { fmt.Fprintf(s, format+"\n", a...) }

func (s *svg) text(x, y float64, anchor, text string) {
	s.add(`<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, template.HTMLEscapeString(text))
}

func (s *svg) done() template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %g %g" role="img">`, s.w, s.h) + "\n" + s.String() + "</svg>")
}

// bars draws the four accuracies, their intervals and every seed's value.
func (c *Comparison) bars() template.HTML {
	const left, top, height, wide, gap = 40.0, 12.0, 190.0, 110.0, 70.0
	s := &svg{w: left + float64(len(c.Bars))*(wide+gap), h: top + height + 36}
	y := func(v float64) float64 { return top + height*(1-min(1, max(0, v))) }
	for _, v := range []float64{0, .25, .5, .75, 1} {
		s.add(`<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, left, s.w, y(v), y(v))
		s.text(left-6, y(v)+4, "end", fmt.Sprintf("%.0f %%", 100*v))
	}
	for i, b := range c.Bars {
		x, class := left+gap/2+float64(i)*(wide+gap), "tool"
		if b.Text {
			class = "text"
		}
		e := b.Value
		s.add(`<rect class="%s" fill-opacity=".55" x="%g" y="%.1f" width="%g" height="%.1f"/>`, class, x, y(e.Mean), wide, y(0)-y(e.Mean))
		mid := x + wide/2
		s.add(`<line class="whisker" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, mid, mid, y(e.Low()), y(e.High()))
		for k, v := range e.Values {
			at := x + wide*(float64(k)+1)/(float64(len(e.Values))+1)
			s.add(`<circle class="seed" cx="%.1f" cy="%.1f" r="3"><title>%s: %.1f %%</title></circle>`, at, y(v),
				template.HTMLEscapeString(c.Seeds[k]), 100*v)
		}
		s.text(mid, top+height+16, "middle", b.Name)
		s.text(mid, top+height+30, "middle", fmt.Sprintf("%.1f %%", 100*e.Mean))
	}
	return s.done()
}

// plot draws a curve's lines, each with the range or the interval of its points.
func (c Curve) plot() template.HTML {
	const left, right, top, bottom, width, height = 44.0, 8.0, 8.0, 20.0, 400.0, 190.0
	s := &svg{w: width, h: height}
	last, most := 1, 0.0
	for _, l := range c.Lines {
		for _, p := range l.Points {
			last, most = max(last, p.X), max(most, p.High(), p.top())
		}
	}
	if c.Share || most == 0 {
		most = 1
	}
	x := func(v int) float64 { return left + (width-left-right)*float64(v)/float64(last) }
	y := func(v float64) float64 { return top + (height-top-bottom)*(1-min(1, max(0, v/most))) }
	for i := range 5 {
		v := most * float64(i) / 4
		label := fmt.Sprintf("%.3g", v)
		if c.Share {
			label = fmt.Sprintf("%.0f %%", 100*v)
		}
		s.add(`<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, left, width-right, y(v), y(v))
		s.text(left-5, y(v)+4, "end", label)
	}
	for i := range 5 {
		v := int(math.Round(float64(last*i) / 4))
		s.text(x(v), height-5, "middle", fmt.Sprint(v))
	}
	for _, l := range c.Lines {
		var upper, lower, line strings.Builder
		for i, p := range l.Points {
			q := l.Points[len(l.Points)-1-i]
			fmt.Fprintf(&upper, "%.1f,%.1f ", x(p.X), y(max(p.High(), p.top())))
			fmt.Fprintf(&lower, "%.1f,%.1f ", x(q.X), y(min(q.Low(), q.bottom())))
			fmt.Fprintf(&line, "%.1f,%.1f ", x(p.X), y(p.Mean))
		}
		s.add(`<polygon class="band %s" points="%s%s"/>`, l.Class, &upper, strings.TrimSpace(lower.String()))
		s.add(`<polyline class="%s" points="%s"/>`, l.Class, strings.TrimSpace(line.String()))
		for _, p := range l.Points {
			s.add(`<circle class="%s" cx="%.1f" cy="%.1f" r="2"/>`, l.Class, x(p.X), y(p.Mean))
		}
	}
	return s.done()
}

// top and bottom are the largest and the smallest of the values.
func (e Estimate) top() (v float64) {
	v = math.Inf(-1)
	for _, x := range e.Values {
		v = max(v, x)
	}
	return v
}

func (e Estimate) bottom() (v float64) {
	v = math.Inf(1)
	for _, x := range e.Values {
		v = min(v, x)
	}
	return v
}
