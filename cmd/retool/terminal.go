package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"retool/engine/model"
	"retool/interp"
	"retool/kernels"
	"retool/trainer/trace"
)

// terminal prints a run: one line per step, a progress bar under them where the output is a terminal.
type terminal struct {
	out      io.Writer
	progress *mpb.Progress // nil without a terminal
	bar      *mpb.Bar
	work     *meter        // rollouts of a step or an evaluation, its update, weights of a checkpoint
	groups   *meter        // what a step's resampling has found, over all its rollouts
	every    int           // of SFT steps, which are many and say little, print one in so many,
	patience time.Duration // and one whenever so long has passed since the last
	last     time.Time     // an SFT step was printed
	after    int           // the last step before the phase,
	end      int           // and the one that it ends with
}

func newTerminal() *terminal {
	t := &terminal{out: os.Stdout, every: 25, patience: 10 * time.Second}
	if isTerminal(os.Stdout) {
		t.progress = mpb.New(mpb.WithOutput(os.Stdout), mpb.WithWidth(48))
		t.out = t.progress
	}
	t.work = &meter{out: t.out, bars: t.progress, now: time.Now}
	t.groups = &meter{out: t.out, bars: t.progress, now: time.Now}
	return t
}

// Close ends the bar.
func (t *terminal) Close() {
	t.work.end()
	t.groups.end()
	t.endBar()
	if t.progress != nil {
		t.progress.Shutdown()
		t.progress, t.out = nil, os.Stdout
	}
}

func (t *terminal) endBar() {
	if t.bar != nil {
		t.bar.Abort(true)
		t.bar.Wait()
		t.bar = nil
	}
}

// Phase begins a bar of its steps.
func (t *terminal) Phase(name string, after, last int) {
	t.endBar()
	t.after, t.end = after, last
	if t.progress != nil && last > after {
		count := func(s decor.Statistics) string { return fmt.Sprintf("%d/%d", int(s.Current)+after, last) }
		t.bar = t.progress.AddBar(int64(last-after), mpb.BarRemoveOnComplete(),
			mpb.PrependDecorators(decor.Name(name+" "), decor.Any(count)),
			mpb.AppendDecorators(decor.AverageETA(decor.ET_STYLE_GO)))
	}
}

// Step prints the step's line.
func (t *terminal) Step(m trace.Metrics) {
	if t.bar != nil {
		t.bar.SetCurrent(int64(m.Step - t.after))
	}
	width := len(fmt.Sprint(t.end))
	skipped := ""
	if m.Skip > 0 {
		skipped = fmt.Sprintf("  %d updates skipped: not finite", m.Skip)
	}
	if m.RL != nil && m.Unjudged > 0 {
		skipped += fmt.Sprintf("  %d responses (%.1f%%) without a verdict: verifier error", m.Unjudged, 100*m.UnjudgedShare)
	}
	if m.RL != nil && m.Kept > 0 {
		skipped += fmt.Sprintf("  of %.2f ids a token", m.Kept)
	}
	if m.RL != nil {
		skipped += leftOut(m.RL)
	}
	if m.RL == nil {
		if now := time.Now(); m.Step%t.every == 0 || m.Step == 1 || m.Step == t.end || now.Sub(t.last) >= t.patience {
			t.last = now
			fmt.Fprintf(t.out, "sft   %*d/%d  loss %6.3f  grad %5.2f  lr %.1e  %6.0f tok/s%s\n", width, m.Step, t.end, m.Loss, m.Norm, m.LR, m.Speed,
				skipped)
		}
		return
	}
	fmt.Fprintf(t.out,
		"step  %*d/%d  reward %+.2f  accuracy %3.0f%%  code %3.0f%%  calls %.2f ok %3.0f%%  length %4.1f  kl %.1e  clip %4.1f%%  grad %5.2f  "+
			"entropy %.3f  |Δlogp| %g  %5.0f tok/s  rollout %2.0f%% train %2.0f%% tool wait %2.0f%%%s\n",
		width, m.Step, t.end, m.Reward, 100*m.Accuracy, 100*m.CodeRatio, m.Calls, 100*m.CallsOK, m.Length, m.KL, 100*m.Clip, m.Norm, m.RL.Entropy,
		m.Difference, m.Speed, 100*m.Rollout, 100*(m.Train+m.Score), 100*m.ToolWait, skipped)
}

// leftOut says what a step sampled and did not learn from.
func leftOut(m *trace.RL) (text string) {
	if m.Resampled > 0 {
		text += fmt.Sprintf("  %d fresh prompts, %d tokens in vain", m.Resampled, m.ResampledIn)
	}
	if f := m.Filtered; f != (trace.Filtered{}) {
		text += fmt.Sprintf("  filtered %d", f.VoidTurns+f.Overlong+f.Repetition+f.Spread)
	}
	return text
}

// Evaluated prints a line of accuracy and behaviour.
func (t *terminal) Evaluated(e trace.Evaluation) {
	b := e.Behaviour
	again := ""
	if e.Samples > 1 { // one sample a problem says nothing of how samples vary
		again = fmt.Sprintf(" ±%.1f (these sampled again)", 196*e.Sampling)
	}
	lost := ""
	if e.Lost > 0 {
		lost = fmt.Sprintf("  without a verdict %d responses (%d not judged), %d problems", e.Lost, e.Unjudged, e.NoVerdict)
	}
	fmt.Fprintf(t.out,
		"eval  %-10s step %d  avg@%d %5.1f%%%s ±%.1f (other %d problems)  code %.0f%%  with code %.1f%% right  length %.1f%s  (%s, %.1f s)\n",
		e.Name, e.Step, e.Samples, 100*e.Accuracy, again, 196*e.Population, e.Problems, 100*b.CodeRatio, 100*e.AccuracyCode, b.ResponseLength,
		lost, e.Rules, e.Seconds)
}

// watch shows how far a program's rollouts, and its reading of weights, are.
func (t *terminal) watch(p *program) {
	p.engine.Progress = func(done, all int) { t.work.of("rollout", "trajectories", int64(done), int64(all)) }
	p.engine.Prefilling = func(done, all int) { t.work.of("prefill", "tokens", int64(done), int64(all)) }
	for _, m := range []*model.Model{p.policy, p.critic, p.ref} {
		if m != nil {
			m.Options.Progress = func(done, all int64) { t.work.of("load", "parameters", done, all) }
		}
	}
}

// doing shows how far a step is.
func (t *terminal) doing(what, unit string, done, all int) {
	if what == "resample" { // goes on over many rollouts
		t.groups.of(what, unit, int64(done), int64(all))
		return
	}
	t.groups.end()
	t.work.of(what, unit, int64(done), int64(all))
}

// Note prints a sentence.
func (t *terminal) Note(text string) { fmt.Fprintln(t.out, text) }

// header prints what a run is about to do.
func (p *program) header(t *terminal, dir string) {
	line := func(name, format string, a ...any) { fmt.Fprintf(t.out, "%-10s%s\n", name, fmt.Sprintf(format, a...)) }
	line("device", "%s", p.deviceLine())
	line("contract", "%s", p.contract())
	line("model", "%s", p.modelLine())
	if p.sandbox != nil {
		line("protocol", "%s", p.proto.Contract())
	}
	line("engine", "%d KV pages of 64 tokens, trajectories of at most %d tokens, %d turns", p.engine.Pages(), p.cfg.Engine.MaxTokens,
		p.cfg.Engine.Turns)
	if p.cfg.RL.Steps > 0 {
		line("batch", "%s", p.cfg.RL.Batches())
	}
	line("run", "%s", dir)
}

// footer prints what is known of a GPU's kernels once they have run: how long the driver compiled, and what it made otherwise.
func (p *program) footer(t *terminal) {
	g, ok := p.dev.(*kernels.GPU)
	if !ok {
		return
	}
	how := "compiled by the driver"
	if p.cfg.Device == "emu" {
		how = "read by the emulator"
	}
	t.Note(fmt.Sprintf("kernels   %s in %.1f s", how, g.Info().Compile.Seconds()))
	for _, note := range g.Notes() {
		t.Note("note      " + note)
	}
}

func (p *program) deviceLine() string { return deviceText(p.dev.Info()) }

// deviceText is a device as headings show it.
func deviceText(d kernels.Info) string {
	unit := "thread"
	if strings.HasPrefix(d.Variant, "sm") {
		unit = "multiprocessor"
	}
	if d.Threads != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%s, %d %s, %s kernels", d.Name, d.Threads, unit, d.Variant)
}

func (p *program) modelLine() string {
	line := fmt.Sprintf("%v, %.2f M parameters, %s", p.policy.Config, float64(p.policy.Parameters())/1e6, endsLine(p.tok, p.ends))
	if p.policy.Master != nil {
		line += ", bf16 with a float32 master copy"
	}
	if l := p.policy.Options.LoRA; p.policy.Adapter != nil {
		line += fmt.Sprintf(", an adapter of rank %d, %d numbers, learnt beside it", l.Rank, p.policy.Adapter.All.Len())
	}
	return line
}

// pythonLine says which Python runs, and behind which fences.
func pythonLine(i interp.Info) string {
	if i.Unsafe {
		return fmt.Sprintf("%s, NOT ISOLATED (interp.isolation unsafe-subprocess): model code runs with your rights", i.Python)
	}
	return fmt.Sprintf("%s, sandbox tier %v, Landlock ABI %d, seccomp filter of %d instructions, cgroup %s, %d warm sessions", i.Python,
		i.Tier, i.Landlock, i.Seccomp, i.Cgroup, i.Sessions)
}

// grid draws a table with a header row.
func grid(header []string, rows [][]string) string {
	style := func(row, col int) lipgloss.Style {
		s := lipgloss.NewStyle().PaddingRight(3)
		if col > 0 {
			return s.Align(lipgloss.Right)
		}
		return s
	}
	t := table.New().Border(lipgloss.NormalBorder()).BorderRow(false).BorderColumn(false).
		BorderLeft(false).BorderRight(false).BorderTop(false).BorderBottom(false).
		Headers(header...).StyleFunc(style).Rows(rows...)
	return strings.TrimRight(t.String(), "\n")
}
