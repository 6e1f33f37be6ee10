package bench

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"retool/interp"
)

func TestMain(m *testing.M) {
	interp.Init()
	os.Exit(m.Run())
}

// The four modes stand side by side, and a warm call is cheaper than a cold one: the point of the fork server.
func TestSandboxComparesModes(t *testing.T) {
	cfg := interp.Default()
	cfg.Preload = nil
	report, err := Sandbox(context.Background(),
		SandboxOptions{Config: cfg, Concurrency: []int{1, 4}, Each: 200 * time.Millisecond, Snippets: []Snippet{W1}})
	if errors.Is(err, interp.ErrTier) {
		t.Skipf("no sandbox on this host: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	rows := report.Rows
	if len(rows) != 8 {
		t.Fatalf("want 4 modes × 2 concurrencies, got %d rows", len(rows))
	}
	for i, want := range []string{Naive, Cold, Warm, Stateful} {
		r := rows[i]
		if r.Mode != want || r.Concurrency != 1 || r.PerSecond <= 0 || r.P50ms <= 0 || r.P99ms < r.P50ms {
			t.Errorf("row %d: %+v", i, r)
		}
	}
	if rows[2].P50ms >= rows[1].P50ms || rows[3].P50ms >= rows[2].P50ms {
		t.Errorf("want cold > warm > stateful, got %.2f, %.2f, %.2f ms", rows[1].P50ms, rows[2].P50ms, rows[3].P50ms)
	}
	for _, r := range rows {
		t.Logf("%-20s %2d  %7.0f/s  p50 %8.2f ms  p99 %8.2f ms", r.Mode, r.Concurrency, r.PerSecond, r.P50ms, r.P99ms)
	}
}
