package interp

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
)

// Whatever a stream was and however it was cut into writes, its length, head and tail are right and the split loses nothing.
func TestCaptureKeepsHeadTailAndLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(16, 300).Draw(t, "limit")
		var all []byte
		c := capture{limit: limit}
		for range rapid.IntRange(0, 20).Draw(t, "writes") {
			b := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "write")
			all = append(all, b...)
			c.add(b)
			if len(c.head)+len(c.tail) > 2*limit+200 {
				t.Fatalf("kept %d bytes under a limit of %d", len(c.head)+len(c.tail), limit)
			}
		}
		trace := rapid.IntRange(-5, limit/2).Draw(t, "trace")
		body, n, last := c.split(trace)
		if n+int64(len(last)) != int64(len(all)) {
			t.Fatalf("length %d + %d, wrote %d", n, len(last), len(all))
		}
		if want := min(max(trace, 0), len(all)); len(last) != want || !bytes.Equal(last, all[len(all)-want:]) {
			t.Fatalf("trace %q of %q", last, all)
		}
		rest := all[:len(all)-len(last)]
		if len(all) <= limit {
			if !bytes.Equal(body, rest) {
				t.Fatalf("body %q, want %q", body, rest)
			}
		} else if head := all[:limit/2]; !bytes.HasPrefix(body, head) || !bytes.Contains(body, []byte("bytes cut")) {
			t.Fatalf("body %q does not begin with %q", body, head)
		}
	})
}

func TestStripHarnessDropsOnlyItsFrames(t *testing.T) {
	in := "Traceback (most recent call last):\n  File \"<harness>\", line 9, in execute\n    exec(code)\n" +
		"  File \"<cell 1>\", line 1, in <module>\n    1/0\nZeroDivisionError: x\n"
	want := "Traceback (most recent call last):\n  File \"<cell 1>\", line 1, in <module>\n    1/0\nZeroDivisionError: x\n"
	if got := string(stripHarness([]byte(in))); got != want {
		t.Errorf("got %q", got)
	}
}

func TestConfigReadsAndRefuses(t *testing.T) {
	c := Default()
	text := "limits: {cpu: 3s, memory: 1GiB, data: 256MiB}\nsession: trajectory\n"
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if c.Limits.CPU != 3*time.Second || c.Limits.Memory != 1<<30 || c.Limits.Wall != 15*time.Second {
		t.Errorf("%+v", c.Limits)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	out, err := yaml.Marshal(Default())
	if err != nil || !strings.Contains(string(out), "memory: 512MiB") || !strings.Contains(string(out), "cpu: 5s") {
		t.Errorf("%v\n%s", err, out)
	}
	for want, change := range map[string]func(*Config){
		"session":       func(c *Config) { c.Session = "x" },
		"min_tier":      func(c *Config) { c.MinTier = "D" },
		"limits.cpu":    func(c *Config) { c.Limits.CPU = 0 },
		"limits.data":   func(c *Config) { c.Limits.Data = c.Limits.Memory + 1 },
		"checkpoint":    func(c *Config) { c.Checkpoint = true },
		"limits.code":   func(c *Config) { c.Limits.Code = 1 << 20 },
		"limits.files":  func(c *Config) { c.Limits.Files = 3 },
		"isolation":     func(c *Config) { c.Isolation = "none" },
		"echo":          func(c *Config) { c.Echo = "on" },
		"zygotes, conc": func(c *Config) { c.Zygotes = -1 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error naming %q, got %v", want, err)
		}
	}
	var b Bytes
	for _, bad := range []string{"", "x", "-1", "12XB", "9999999999GiB", "1.5MiB"} {
		if err := b.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is a size: %d", bad, b)
		}
	}
}
