package main

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"retool/engine"
	"retool/interp"
	"retool/trainer/trace"
)

// exporter serves a run's state to Prometheus: every number of the latest step of a phase and of the latest evaluation as a gauge, what
// this process has done as counters. Its collector makes the metrics at each scrape, for the numbers of a step are known when it ends.
type exporter struct {
	listener net.Listener
	server   *http.Server

	mu      sync.Mutex
	latest  map[string][]trace.Scalar // by phase, or "eval"
	steps   map[string]float64        // by phase
	tokens  map[string]float64        // by kind
	lost    float64
	skipped float64
	beat    time.Time
	phase   string
	step    int
	last    int
	pool    *interp.Pool // nil: no code runs
}

// openExporter takes an address and registers with a registry. Serving begins at once: until the run has begun there is little to see.
func openExporter(addr string, reg *prometheus.Registry) (*exporter, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("follow.prometheus: %s cannot be served: %w", addr, err)
	}
	e := &exporter{listener: l, beat: time.Now()}
	e.latest, e.steps, e.tokens = map[string][]trace.Scalar{}, map[string]float64{}, map[string]float64{}
	process := collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
	for _, c := range []prometheus.Collector{e, collectors.NewGoCollector(), process} {
		if err := reg.Register(c); err != nil {
			l.Close()
			return nil, fmt.Errorf("follow.prometheus: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	e.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go e.server.Serve(l) // until Close
	return e, nil
}

// Close ends the service and gives the address back.
func (e *exporter) Close() { _ = e.server.Close() }

// address is where the metrics are.
func (e *exporter) address() string { return fmt.Sprintf("http://%s/metrics", e.listener.Addr()) }

// heard notes a sign of life and changes what a scrape sees.
func (e *exporter) heard(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.beat = time.Now()
	change()
}

// sandbox names the pool whose calls are counted.
func (e *exporter) sandbox(p *interp.Pool) { e.heard(func() { e.pool = p }) }

// rolling hears that trajectories of a rollout ended.
func (e *exporter) rolling(int, int) { e.heard(func() {}) }

func (e *exporter) Phase(name string, after, last int) {
	e.heard(func() { e.phase, e.step, e.last = name, after, last })
}

func (e *exporter) Note(string) { e.heard(func() {}) }

func (e *exporter) Step(m trace.Metrics) {
	e.heard(func() {
		e.latest[m.Phase] = trace.Scalars(m, "step")
		e.steps[m.Phase]++
		e.step = m.Step
		e.skipped += float64(m.Skip)
		e.tokens["trained"] += float64(m.Tokens)
		if m.RL != nil {
			e.tokens["sampled"] += float64(m.Sampled)
			e.tokens["prefilled"] += float64(m.Prefilled)
			e.tokens["recomputed"] += float64(m.Recomputed)
			e.lost += float64(m.RL.Finish[engine.Lost.String()])
		}
	})
}

func (e *exporter) Evaluated(v trace.Evaluation) {
	e.heard(func() {
		e.latest["eval"] = append(trace.Scalars(v, "step"), trace.Scalar{Name: "step", Value: float64(v.Step)})
		e.lost += float64(v.Behaviour.Finish[engine.Lost.String()])
	})
}

// Describe says nothing: which metrics there are shows as the run goes on.
func (e *exporter) Describe(chan<- *prometheus.Desc) {}

// Collect makes the metrics of one scrape.
func (e *exporter) Collect(out chan<- prometheus.Metric) {
	e.mu.Lock()
	defer e.mu.Unlock()
	put := func(kind prometheus.ValueType, name, help string, value float64, labels ...string) { // labels: name, value, …
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("retool_"+name, help, names, nil), kind, value, values...)
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	put(gauge, "heartbeat_timestamp_seconds", "When the run last reported anything, in seconds since 1970.", float64(e.beat.UnixMilli())/1e3)
	if e.phase != "" {
		put(gauge, "step", "Steps that the run has made, of both phases, as checkpoints count them.", float64(e.step))
		put(gauge, "phase_last_step", "The step that the phase ends with.", float64(e.last), "phase", e.phase)
	}
	for _, phase := range slices.Sorted(maps.Keys(e.steps)) {
		put(counter, "steps_total", "Steps made by this process.", e.steps[phase], "phase", phase)
	}
	for _, kind := range slices.Sorted(maps.Keys(e.tokens)) {
		put(counter, "tokens_total", "Tokens of training steps, by what was done with them.", e.tokens[kind], "kind", kind)
	}
	put(counter, "skipped_updates_total", "Updates left out because loss or gradient was not finite.", e.skipped)
	put(counter, "lost_trajectories_total", "Trajectories lost to the sandbox.", e.lost)
	if e.pool != nil {
		s := e.pool.Stats()
		for _, status := range slices.Sorted(maps.Keys(s.Statuses)) {
			put(counter, "calls_total", "Executions of code, by how they ended.", float64(s.Statuses[status]), "status", string(status))
		}
		put(counter, "call_errors_total", "Executions lost to a fault of the sandbox.", float64(s.Errors))
		put(gauge, "calls_running", "Executions at this moment.", float64(s.Running))
		put(gauge, "calls_waiting", "Executions that wait for a session.", float64(s.Waiting))
	}
	for _, group := range slices.Sorted(maps.Keys(e.latest)) {
		what := "Of the latest step of phase " + group + "; see metrics.jsonl."
		if group == "eval" {
			what = "Of the latest evaluation."
		}
		for _, s := range e.latest[group] {
			name := group + "_" + strings.ReplaceAll(s.Name, "/", "_")
			if s.Key != "" {
				put(gauge, name, what, s.Value, "key", s.Key)
				continue
			}
			put(gauge, name, what, s.Value)
		}
	}
}
