package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Long work says how far it is, and how long it will take: by a bar on a terminal, elsewhere by a line now and then, for a log is read
// afterwards. Work that is over soon says nothing.
const (
	quiet     = 2 * time.Second
	lineEvery = 15 * time.Second
)

// A meter shows how far one piece of work is. Its methods may be called from any goroutine.
type meter struct {
	name string
	unit string // of what is counted: bytes, or a plural such as trajectories
	out  io.Writer
	tty  *os.File      // a terminal, which gets a bar; nil: lines
	bars *mpb.Progress // of the terminal, from the first bar on
	now  func() time.Time

	mu          sync.Mutex
	begun       time.Time
	first       int64 // what was done when the work began: a download that goes on
	started     bool
	line        time.Time // of the last line printed
	bar         *mpb.Bar
	done, total int64

	counted, left atomic.Value // string: what stands before and after the bar, which draws itself when it likes
}

// meterOn begins a meter on a file: a bar if it is a terminal, lines if not. finish ends it.
func meterOn(f *os.File, name, unit string) (m *meter, finish func()) {
	m = &meter{name: name, unit: unit, out: f, now: time.Now, begun: time.Now()}
	if isTerminal(f) {
		m.tty = f
	}
	return m, sync.OnceFunc(func() {
		m.end()
		if m.bars != nil {
			m.bars.Shutdown()
		}
	})
}

// meteredFile is a file that shows how far it has been read.
func meteredFile(f *os.File, name string) (r io.Reader, finish func()) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() { // a pipe has no length
		return f, func() {}
	}
	m, finish := meterOn(os.Stderr, name, "bytes")
	var done int64
	return readerFunc(func(b []byte) (int, error) {
		n, err := f.Read(b)
		done += int64(n)
		m.set(done, info.Size())
		return n, err
	}), finish
}

type readerFunc func(b []byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// set says that done of all is done. The first call counts as the beginning.
func (m *meter) set(done, all int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if !m.started {
		m.started, m.first, m.begun = true, done, now
	}
	m.done, m.total = done, all
	if now.Sub(m.begun) < quiet {
		return
	}
	if m.bars != nil || m.tty != nil {
		m.draw(now)
		return
	}
	if done < all && now.Sub(m.line) >= lineEvery && now.Sub(m.begun) >= lineEvery {
		m.line = now
		fmt.Fprintln(m.out, m.text(now))
	}
}

// of is set for a meter that serves one work after another: a name for each, and what is done ends it.
func (m *meter) of(name, unit string, done, total int64) {
	m.mu.Lock()
	m.name, m.unit = name, unit
	m.mu.Unlock()
	if m.set(done, total); done >= total {
		m.end()
	}
}

// text is the line: what, how much of how much, how long yet.
func (m *meter) text(now time.Time) string {
	left := m.estimate(now)
	if left != "" {
		left = ", " + left + " left"
	}
	return fmt.Sprintf("%-9s %s (%.0f %%)%s", m.name, m.counts(), 100*float64(m.done)/float64(max(1, m.total)), left)
}

// counts is done of all with their unit.
func (m *meter) counts() string {
	if m.unit == "bytes" {
		return fmt.Sprintf("%s of %s", bytesText(m.done), bytesText(m.total))
	}
	return strings.TrimSpace(fmt.Sprintf("%d of %d %s", m.done, m.total, m.unit))
}

// draw brings the bar to where the work is.
func (m *meter) draw(now time.Time) {
	if m.bars == nil {
		m.bars = mpb.New(mpb.WithOutput(m.tty), mpb.WithWidth(48))
	}
	if m.bar == nil {
		text := func(v *atomic.Value) decor.Decorator {
			return decor.Any(func(decor.Statistics) string { s, _ := v.Load().(string); return s })
		}
		m.bar = m.bars.AddBar(m.total, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(text(&m.counted)), mpb.AppendDecorators(text(&m.left)))
	}
	m.counted.Store(m.name + " " + m.counts())
	m.left.Store(m.estimate(now))
	if m.total > 0 {
		m.bar.SetTotal(m.total, false)
	}
	m.bar.SetCurrent(m.done)
}

// note prints a sentence above the bar.
func (m *meter) note(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.out
	if m.bars != nil {
		out = m.bars
	}
	fmt.Fprintln(out, text)
}

// estimate is the time left at the rate so far; "" before anything is done.
func (m *meter) estimate(now time.Time) string {
	made := m.done - m.first
	if made <= 0 {
		return ""
	}
	return roughly(time.Duration(float64(now.Sub(m.begun)) * float64(m.total-m.done) / float64(made)))
}

// end takes the bar away. A meter that has ended may begin again.
func (m *meter) end() {
	m.mu.Lock()
	bar := m.bar
	m.bar, m.started, m.line = nil, false, time.Time{}
	m.mu.Unlock()
	if bar != nil {
		bar.Abort(true)
		bar.Wait()
	}
}

// roughly writes a duration as an estimate deserves.
func roughly(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// bytesText writes a size as people do.
func bytesText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}
