package bench

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// scripted is a GPU whose counters are known.
type scripted struct{ reads int }

func (s *scripted) names() []string { return []string{"Scripted"} }
func (s *scripted) close()          {}
func (s *scripted) memory() []int64 { return nil }

func (s *scripted) read() []GPUSample {
	s.reads++
	g := noSample() // it has no memory clock, say
	g.Power, g.SMClock, g.Busy, g.Throttle = 300, 1980, 50, 0x1
	if s.reads%2 == 0 {
		g.Power, g.Throttle = 500, 0x4|0x40
	}
	return []GPUSample{g}
}

// A shell that works for a while, starts a child, and writes two steps like a training run does: late, in one block.
func TestProfileOfACommand(t *testing.T) {
	dir := t.TempDir()
	script := `
mkdir -p ` + dir + `/run
i=0; while [ $i -lt 40000 ]; do i=$((i+1)); done
sleep 0.5 & wait
echo '{"step":1,"phase":"sft","tokens_per_second":1000,"seconds":0.2,"elapsed":0.25}
{"step":2,"phase":"rl","tokens_per_second":70,"seconds":0.15,"elapsed":0.45}' >>` + dir + `/run/metrics.jsonl
exit 3`
	o := ProfileOptions{Command: []string{"sh", "-c", script, "run=" + dir + "/run"}, Every: 10 * time.Millisecond}
	p, err := profileWith(t.Context(), o, &scripted{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Exit != 3 || p.Wall < 0.5 || p.CPU <= 0 || len(p.Samples) < 5 {
		t.Fatalf("exit %d, wall %v, cpu %v, %d samples", p.Exit, p.Wall, p.CPU, len(p.Samples))
	}
	seen := map[float64]int{}
	most := 0
	for _, s := range p.Samples {
		most = max(most, s.Processes)
		if !math.IsNaN(s.Tokens) {
			seen[s.Tokens]++
		}
	}
	if seen[1000] == 0 || seen[70] == 0 || len(seen) != 2 {
		t.Errorf("samples by tokens a second: %v, want some at 1000 and at 70", seen)
	}
	if most < 2 {
		t.Errorf("at most %d processes were seen, the shell had a child", most)
	}
	n := float64(len(p.Samples))
	if j, d := p.Energy(), p.Samples[len(p.Samples)-1].Seconds-p.Samples[0].Seconds; j < 390*d || j > 410*d {
		t.Errorf("%v J in %v s at 300 and 500 W by turns", j, d)
	}

	var text strings.Builder
	if err := p.WriteCSV(&text); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(text.String())).ReadAll()
	if err != nil || len(rows) != len(p.Samples)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	at := func(name string) int { return slices.Index(rows[0], name) }
	if at("gpu memory clock MHz") >= 0 || at("gpu power W") < 0 {
		t.Errorf("columns are %q", rows[0])
	}
	if got := rows[2][at("gpu 0 throttled by")]; got != "power cap+hardware thermal" {
		t.Errorf("second sample is throttled by %q", got)
	}
	if x, err := strconv.ParseFloat(rows[1][at("gpu power W")], 64); err != nil || x != 300 {
		t.Errorf("power is %q", rows[1][at("gpu power W")])
	}

	text.Reset()
	p.Print(&text)
	for _, want := range []string{"exit code 3", "throughput", "resident", "power cap in ", "energy: "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the summary lacks %q:\n%s", want, text.String())
		}
	}
	text.Reset()
	if err := p.WriteSVG(&text); err != nil {
		t.Fatal(err)
	}
	paths := 0
	for d := xml.NewDecoder(strings.NewReader(text.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the chart is not XML: %v", err)
		}
		if s, ok := token.(xml.StartElement); ok && s.Name.Local == "path" {
			paths++
		}
	}
	if paths != len(p.series()) || strings.Contains(text.String(), "NaN") {
		t.Errorf("%d lines are drawn of %d figures over %v samples", paths, len(p.series()), n)
	}
}

func TestProfileWithoutCounters(t *testing.T) {
	p, err := profileWith(t.Context(), ProfileOptions{Command: []string{"sh", "-c", "kill -9 $$"}}, nil)
	if err != nil || p.Exit != 137 || !strings.Contains(p.NoTokens, "names no run=") {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := profileWith(t.Context(), ProfileOptions{Command: []string{"/no/such"}}, nil); err == nil ||
		!strings.Contains(err.Error(), "/no/such") {
		t.Errorf("error is %v", err)
	}
	if _, err := profileWith(t.Context(), ProfileOptions{}, nil); err == nil {
		t.Error("no command is no error")
	}
}

// A machine without NVIDIA's driver, such as this one unless it has a GPU, says so.
func TestNoCountersIsOneSentence(t *testing.T) {
	c, err := openCounters()
	if err == nil {
		for _, s := range c.read() {
			if math.IsNaN(s.Power) && math.IsNaN(s.Memory) && math.IsNaN(s.SMClock) {
				t.Errorf("a GPU without counters: %+v", s)
			}
		}
		c.close()
		return
	}
	if !strings.HasPrefix(err.Error(), "no GPU counters: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error is %q", err)
	}
}

// A log that is cut back, as when a run goes on from a checkpoint, is followed from its new end.
func TestMetricsLogFollowsACutLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	line := func(step string) string {
		return `{"step":` + step + `,"tokens_per_second":5,"seconds":1,"elapsed":2}` + "\n"
	}
	write(line("1") + line("2"))
	l := newMetricsLog(path)
	l.read(0)
	write(line("1"))
	l.read(1)
	write(line("1") + line("3")[:20])
	l.read(2)
	if len(l.steps) != 0 {
		t.Fatalf("steps %+v before any was written", l.steps)
	}
	write(line("1") + line("3"))
	l.read(3)
	if len(l.steps) != 1 || l.steps[0].Step != 3 || l.offset != 1 {
		t.Errorf("steps %+v, begun at %v", l.steps, l.offset)
	}
}
