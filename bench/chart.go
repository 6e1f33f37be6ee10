package bench

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// WriteSVG draws every figure of the profile over time, one panel under the other. The file needs nothing beside itself.
func (p *Profile) WriteSVG(w io.Writer) error {
	const width, left, right, top, height, gap = 960, 90, 20, 60, 80, 34
	all := p.series()
	var b strings.Builder
	total := top + len(all)*(height+gap) + 20
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" `+
		`font-family="system-ui, sans-serif" font-size="12">`, width, total, width, total)
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>`)
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15" font-weight="600">%s</text>`, left, html.EscapeString(strings.Join(p.Command, " ")))
	subtitle := fmt.Sprintf("%.1f s, %d samples", p.Wall, len(p.Samples))
	if len(p.GPUs) > 0 {
		subtitle += ", " + strings.Join(p.GPUs, ", ")
	} else if p.NoGPU != nil {
		subtitle += "; " + p.NoGPU.Error()
	}
	fmt.Fprintf(&b, `<text x="%d" y="40" fill="#555">%s</text>`, left, html.EscapeString(subtitle))
	end := max(p.Wall, 1e-9)
	x := func(t float64) float64 { return left + t/end*(width-left-right) }
	for i, s := range all {
		y0 := float64(top + i*(height+gap) + height) // of zero
		high := 0.0
		for _, v := range s.values {
			if !math.IsNaN(v) {
				high = max(high, v)
			}
		}
		high = roundUp(high)
		y := func(v float64) float64 { return y0 - v/high*height }
		mean, _, _, _ := quantiles(s.values)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" font-weight="600">%s<tspan fill="#555" font-weight="400"> %s, mean %.4g</tspan></text>`,
			left, y0-height-6, html.EscapeString(s.name), html.EscapeString(s.unit), mean)
		for _, v := range []float64{0, high / 2, high} {
			fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>`, left, width-right, y(v), y(v))
			fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end" fill="#555">%.4g</text>`, left-6, y(v)+4, v)
		}
		// A line breaks where there is no figure.
		var path strings.Builder
		drawn := false
		for j, v := range s.values {
			if math.IsNaN(v) {
				drawn = false
				continue
			}
			verb := "L"
			if !drawn {
				verb = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", verb, x(p.Samples[j].Seconds), y(v))
			drawn = true
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="#1f5fbf" stroke-width="1.3" stroke-linejoin="round"/>`, path.String())
		for k := range 6 {
			t := end * float64(k) / 5
			fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="#888" font-size="10">%.3g s</text>`, x(t), y0+13, t)
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// roundUp is the least of 1, 2, 2.5, 5 times a power of ten that is not below v; 1 for 0.
func roundUp(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 2.5, 5} {
		if f*unit >= v {
			return f * unit
		}
	}
	return 10 * unit
}
