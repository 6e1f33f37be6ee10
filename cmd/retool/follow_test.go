package main

import (
	"bufio"
	"bytes"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"retool/trainer/trace"
)

// A run that trains can be scraped, at the address that it prints.
func TestARunIsScrapedWhileItTrains(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	c, _, errs := command(short(run, "follow.prometheus=127.0.0.1:0", "rl.steps=1000000", "checkpoint.every=1000000")...)
	c.Stdout = nil
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	defer c.Process.Kill()
	lines := bufio.NewScanner(out)
	address := ""
	for address == "" && lines.Scan() {
		address, _ = strings.CutPrefix(lines.Text(), "metrics   ")
		if !strings.HasPrefix(address, "http://") {
			address = ""
		}
	}
	require.NotEmpty(t, address, errs)
	go io.Copy(io.Discard, out)
	var text string
	for !strings.Contains(text, `retool_steps_total{phase="rl"}`) {
		res, err := http.Get(address)
		require.NoError(t, err)
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		require.NoError(t, err)
		require.Equal(t, 200, res.StatusCode, "%s", b)
		text = string(b)
	}
	for _, want := range []string{
		`retool_steps_total{phase="sft"} 2`, "\nretool_sft_loss ", "\nretool_rl_reward ", "\nretool_rl_rewards_paper ", `retool_rl_finish{key="`,
		"\nretool_rl_max_difference 0\n",
		`retool_tokens_total{kind="sampled"} `, `retool_tokens_total{kind="trained"} `, "\nretool_eval_accuracy ", "\nretool_eval_step 2\n",
		"\nretool_lost_trajectories_total 0\n", "\nretool_skipped_updates_total 0\n", "\nretool_heartbeat_timestamp_seconds ",
		"\nretool_calls_running ",
		`retool_phase_last_step{phase="rl"} 1.000002e+06`, "\ngo_goroutines ",
	} {
		require.Contains(t, text, want)
	}
	require.NoError(t, c.Process.Signal(syscall.SIGINT))
	c.Wait()
	require.Contains(t, errs.String(), "interrupted")
}

func TestAnAddressThatIsTakenIsRefusedBeforeTheRunBegins(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	run := filepath.Join(t.TempDir(), "run")
	require.Contains(t, refused(t, short(run, "follow.prometheus="+l.Addr().String())...),
		"follow.prometheus: "+l.Addr().String()+" cannot be served")
	_, err = os.Stat(filepath.Join(run, "metrics.jsonl"))
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, bad := range []string{"9400", "localhost", "localhost:x", "localhost:70000", "a:b:c"} {
		require.Contains(t, refused(t, short(run, "follow.prometheus="+bad)...), "follow.prometheus: want HOST:PORT")
	}
}

// Counters add up what steps report, gauges hold the latest; numbers that are not finite are shown as they are.
func TestTheExporterCountsWhatItHears(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	e, err := openExporter("127.0.0.1:0", prometheus.NewRegistry())
	require.NoError(t, err)
	defer e.Close()
	require.NoError(t, reg.Register(e))
	e.Phase("rl", 2, 10)
	e.Step(trace.Metrics{Step: 3, Phase: "rl", Loss: 1, Tokens: 5, Skip: 1,
		RL: &trace.RL{Sampled: 3, Finish: map[string]int{"sandbox_error": 2}}})
	e.Step(trace.Metrics{Step: 4, Phase: "rl", Loss: math.NaN(), Tokens: 6, RL: &trace.RL{Sampled: 4}})
	e.Evaluated(trace.Evaluation{Name: "rl", Step: 4, Accuracy: 0.5,
		Behaviour: trace.Behaviour{Finish: map[string]int{"sandbox_error": 1}, Families: map[string]trace.Sum{"add": {Correct: 1, All: 2}}}})
	for name, want := range map[string]string{
		"lost_trajectories_total":           "counter\nretool_lost_trajectories_total 3",
		"skipped_updates_total":             "counter\nretool_skipped_updates_total 1",
		"steps_total":                       "counter\nretool_steps_total{phase=\"rl\"} 2",
		"rl_loss":                           "gauge\nretool_rl_loss NaN",
		"rl_sampled":                        "gauge\nretool_rl_sampled 4",
		"step":                              "gauge\nretool_step 4",
		"phase_last_step":                   "gauge\nretool_phase_last_step{phase=\"rl\"} 10",
		"eval_accuracy":                     "gauge\nretool_eval_accuracy 0.5",
		"eval_behaviour_families_all":       "gauge\nretool_eval_behaviour_families_all{key=\"add\"} 2",
		"eval_behaviour_correct_code_count": "gauge\nretool_eval_behaviour_correct_code_count 0",
	} {
		families, err := reg.Gather()
		require.NoError(t, err)
		help := ""
		for _, f := range families {
			if f.GetName() == "retool_"+name {
				help = f.GetHelp()
			}
		}
		require.NotEmpty(t, help, name)
		text := "# HELP retool_" + name + " " + help + "\n# TYPE retool_" + name + " " + want + "\n"
		require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(text), "retool_"+name))
	}
}

// A run leaves TensorBoard one point a step and tag, whatever interrupted it.
func TestATensorBoardHasEveryStepOnce(t *testing.T) {
	dir := t.TempDir()
	once, again := filepath.Join(dir, "once"), filepath.Join(dir, "again")
	retool(t, short(once, "rl.steps=4")...)
	retool(t, short(again, "rl.steps=2")...)
	retool(t, short(again, "rl.steps=2")...) // there is nothing left to do
	retool(t, short(again, "rl.steps=4")...)
	tags := func(run string) []byte {
		files, err := filepath.Glob(filepath.Join(run, "tensorboard", "events.out.tfevents.*"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		text, err := os.ReadFile(files[0])
		require.NoError(t, err)
		return text
	}
	a, b := tags(once), tags(again)
	for _, tag := range []string{"sft/loss", "rl/reward", "rl/max_difference", "eval/accuracy", "eval/behaviour/code_ratio"} {
		require.Positive(t, bytes.Count(a, []byte(tag)), tag)
	}
	require.Equal(t, 4, bytes.Count(b, []byte("rl/max_difference")))
	require.Equal(t, bytes.Count(a, []byte("sft/loss")), bytes.Count(b, []byte("sft/loss")))
	off := filepath.Join(dir, "off")
	retool(t, short(off, "follow.tensorboard=false")...)
	_, err := os.Stat(filepath.Join(off, "tensorboard"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Of many SFT steps the terminal shows the first, the last, every 25th, and one whenever ten seconds have passed.
func TestALongColdStartIsHeardOf(t *testing.T) {
	var out bytes.Buffer
	term := &terminal{out: &out, every: 25, patience: time.Hour}
	term.Phase("sft", 0, 60)
	for i := 1; i <= 60; i++ {
		term.Step(trace.Metrics{Phase: "sft", Step: i})
	}
	require.Equal(t, 4, strings.Count(out.String(), "\n"), out.String()) // 1, 25, 50, 60
	out.Reset()
	term.patience = 0
	for i := 1; i <= 60; i++ {
		term.Step(trace.Metrics{Phase: "sft", Step: i})
	}
	require.Equal(t, 60, strings.Count(out.String(), "\n"))
}
