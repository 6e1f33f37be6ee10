package trainer

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"retool/engine/atomicfile"
	"retool/engine/model"
	"retool/engine/safetensors"
	"retool/trainer/trace"
)

// State is everything of a run that is not weights or moments. Random draws are keyed by seed and step, so the cursor is all there
// is to know of them.
type State struct {
	Phase       string             `json:"phase"` // sft, rl, done
	Step        int                `json:"step"`  // steps made in the phase
	Updates     int                `json:"updates"`
	CriticSteps int                `json:"critic_updates"`
	Skipped     int                `json:"skipped"`                // updates in a row left out
	Fresh       int                `json:"fresh_prompts,omitzero"` // drawn beyond rl.prompts a step, for groups that taught nothing
	Evaluations []trace.Evaluation `json:"evaluations"`
	Evaluated   int                `json:"evaluated"` // how many evaluations were begun; keys their draws
	Seconds     float64            `json:"seconds"`   // since the run began, interruptions left out
	Metrics     int64              `json:"metrics_bytes"`
	Records     int64              `json:"trajectories_bytes"`
	Reference   int                `json:"reference"`         // checkpoint that RL began with
	Revision    int                `json:"revision,omitzero"` // of the algorithm, that made the steps of RL; 0: they were not counted yet
	Slices      int                `json:"slices,omitzero"`
	Ranks       int                `json:"ranks,omitzero"` // that made the last steps
	Shard       string             `json:"shard,omitzero"` // dist.shard, where it was not optimizer
	Contract    string             `json:"contract"`       // what fixes the bits of log-probabilities: device, kernels
	Protocol    string             `json:"protocol"`       // what fixes the token stream
	Tokenizer   string             `json:"tokenizer"`      // hash

	// Data is what the run learns from: the setting that names a file, and the SHA-256 of what it held.
	Data map[string]string `json:"data,omitempty"`

	// Files are the SHA-256 of the checkpoint's files but weights and moments, by their names: see [Altered].
	Files map[string]string `json:"files,omitempty"`
}

// A checkpoint is a folder, named for the steps made, SFT's and RL's together:
//
//	model.safetensors … config.json     the policy, as Hugging Face lays it out
//	tokenizer.json …                    Run.Files: what stood beside the weights that the run began with, byte for byte
//	adapter/                            with LoRA: the adapter, as PEFT lays it out; model.safetensors is base and adapter, merged
//	value_head.safetensors              the value head of a trunk that policy and critic share
//	critic/                             weights and value head of a critic with a trunk of its own
//	optimizer-000.safetensors …         AdamW's moments, a file a rank
//	config.yaml state.json              settings, cursor
//
// It is written under another name and renamed when all of it is on disk, on all ranks: a reader, or a run that resumes, never sees half
// of one. Rank 0 writes what is whole, every rank its moments; nothing in it but State.Ranks says how many there were.
const partial = ".partial-"

// save writes a checkpoint. Nothing of an earlier one is touched before the new one is in place; on an error, of any rank, the partial
// folder is removed and all ranks return it.
func (r *Run) save(pin bool) (err error) {
	root := filepath.Join(r.Dir, "checkpoints")
	name := strconv.Itoa(r.global())
	tmp, final := filepath.Join(root, partial+name), filepath.Join(root, name)
	defer func() {
		if err != nil {
			if r.ranks.leads() {
				os.RemoveAll(tmp)
			}
			err = fmt.Errorf("trainer: checkpoint %s: %w; the checkpoints before it are intact", final, err)
		}
	}()
	part := func(what string, do func() error) error {
		r.ranks.did("checkpoint %s: %s", name, what)
		return r.ranks.agree(fmt.Sprintf("checkpoint %s: %s", name, what), do())
	}
	if err := part("begun", func() error { return r.saveBegin(tmp) }); err != nil {
		return err
	}
	if err := r.ppo.Learns(); err != nil {
		return err
	}
	for _, l := range r.ppo.learners() { // all ranks take part in it
		if err := l.opt.whole(); err != nil {
			return err
		}
	}
	if err := part("written", func() error { return r.savePart(tmp) }); err != nil {
		return err
	}
	return part("in place", func() error { return r.saveEnd(root, tmp, final, pin) })
}

// saveBegin makes the partial folder, after the logs that the state counts are on disk.
func (r *Run) saveBegin(tmp string) error {
	r.state.Updates, r.state.Skipped = r.ppo.policy.Updates(), r.ppo.skipped
	if r.ppo.critic != nil {
		r.state.CriticSteps = r.ppo.critic.Updates()
	}
	r.state.Slices, r.state.Ranks, r.state.Shard = r.ranks.Slices, r.ranks.Size(), ""
	if r.ranks.divides() {
		r.state.Shard = r.ranks.Shard
	}
	r.state.Seconds = r.elapsed()
	if !r.ranks.leads() {
		return nil
	}
	var e1, e2 error
	r.state.Metrics, e1 = r.metrics.Sync()
	r.state.Records, e2 = r.records.Sync()
	if err := errors.Join(e1, e2, os.RemoveAll(tmp)); err != nil {
		return err
	}
	return os.MkdirAll(tmp, 0o755)
}

// savePart writes what this rank has. Models that are divided are given to rank 0 whatever else fails: it waits for them.
func (r *Run) savePart(tmp string) error {
	err := r.saveModels(tmp)
	moments := r.ppo.policy.moments("", &r.through)
	if r.ppo.critic != nil {
		moments = append(moments, r.ppo.critic.moments("critic.", &r.through)...)
	}
	if len(moments) > 0 {
		err = errors.Join(err, safetensors.Write(filepath.Join(tmp, optimizerFile(r.ranks.Rank())), moments, nil))
	}
	if err != nil || !r.ranks.leads() {
		return err
	}
	for file, content := range r.Files {
		if err := atomicfile.WriteBytes(filepath.Join(tmp, file), content); err != nil {
			return err
		}
	}
	return nil
}

// saveModels writes policy and critic, on rank 0; of divided ones the others give what they have.
func (r *Run) saveModels(tmp string) (err error) {
	for _, m := range []struct {
		*model.Model
		dir string
	}{{r.Policy, tmp}, {r.Critic, filepath.Join(tmp, "critic")}} {
		switch {
		case m.Model == nil:
		case r.ranks.leads():
			err = errors.Join(err, r.saveModel(m.Model, m.dir)) // which makes the folder
		case m.Units() != nil:
			err = errors.Join(err, m.Save(""))
		}
	}
	return err
}

// adapterFolder is the adapter's in that of its model. It is not beside the merged weights: transformers loads an adapter that it finds
// there on top of them.
const adapterFolder = "adapter"

// saveModel writes a model; of one with an adapter, that too.
func (r *Run) saveModel(m *model.Model, dir string) error {
	if err := m.Save(dir); err != nil || m.Adapter == nil {
		return err
	}
	return m.SaveAdapter(filepath.Join(dir, adapterFolder), r.Base)
}

// readModel reads what saveModel wrote: of a model with an adapter, the adapter, for its base is there.
func readModel(m *model.Model, dir string) error {
	if m.Adapter != nil {
		return m.ReadAdapter(filepath.Join(dir, adapterFolder))
	}
	return m.ReadWeights(dir)
}

// saveEnd puts a checkpoint that all ranks have written in its place.
func (r *Run) saveEnd(root, tmp, final string, pin bool) error {
	if !r.ranks.leads() {
		return nil
	}
	var err error
	if r.state.Files, err = digests(tmp); err != nil {
		return err
	}
	text, err := trace.MarshalIndent(r.state)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(tmp, "state.json"), text); err != nil {
		return err
	}
	if err := atomicfile.SyncFolder(tmp); err != nil {
		return err
	}
	if err := os.RemoveAll(final); err != nil { // of a run that was killed between this rename and its next step
		return err
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	if err := atomicfile.SyncFolder(root); err != nil {
		return err
	}
	return r.prune(root, pin)
}

// prune removes all but the newest checkpoints; pinned ones, the ends of phases, stay.
func (r *Run) prune(root string, pin bool) error {
	if pin {
		if err := atomicfile.WriteBytes(filepath.Join(root, strconv.Itoa(r.global()), "keep"), nil); err != nil {
			return err
		}
	}
	var loose []int
	for _, n := range checkpoints(root) {
		if n == r.state.Reference && r.state.Phase != "sft" { // read again by a run that goes on
			continue
		}
		if _, err := os.Stat(filepath.Join(root, strconv.Itoa(n), "keep")); err != nil {
			loose = append(loose, n)
		}
	}
	for _, n := range loose[:max(0, len(loose)-r.Config.Checkpoint.Keep)] {
		if err := os.RemoveAll(filepath.Join(root, strconv.Itoa(n))); err != nil {
			return err
		}
	}
	return nil
}

// checkpoints lists the complete checkpoints under root, oldest first: folders called as save calls them.
func checkpoints(root string) []int {
	entries, _ := os.ReadDir(root)
	var out []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && e.IsDir() && n >= 0 && strconv.Itoa(n) == e.Name() {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// Latest is the newest checkpoint of a run directory, or "".
func Latest(run string) string {
	root := filepath.Join(run, "checkpoints")
	all := checkpoints(root)
	if len(all) == 0 {
		return ""
	}
	return filepath.Join(root, strconv.Itoa(all[len(all)-1]))
}

// ReadState reads the state of a checkpoint folder.
func ReadState(dir string) (State, error) {
	var s State
	text, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return s, fmt.Errorf("trainer: checkpoint %s: %w", dir, err)
	}
	if err = trace.Unmarshal(text, &s); err == nil {
		err = s.validate()
	}
	if err != nil {
		return s, fmt.Errorf("trainer: checkpoint %s: state.json: %w", dir, err)
	}
	return s, nil
}

// validate refuses a cursor that no run writes.
func (s *State) validate() error {
	if !slices.Contains([]string{"sft", "rl", "done"}, s.Phase) {
		return fmt.Errorf("phase is %q (known: sft, rl, done)", s.Phase)
	}
	for _, n := range []struct {
		key string
		n   int64
	}{
		{"step", int64(s.Step)}, {"updates", int64(s.Updates)}, {"critic_updates", int64(s.CriticSteps)}, {"skipped", int64(s.Skipped)},
		{"fresh_prompts", int64(s.Fresh)}, {"evaluated", int64(s.Evaluated)}, {"metrics_bytes", s.Metrics},
		{"trajectories_bytes", s.Records}, {"reference", int64(s.Reference)},
	} {
		if n.n < 0 {
			return fmt.Errorf("%s is %d: want 0 or more", n.key, n.n)
		}
	}
	return nil
}

// restore goes on from the newest checkpoint of the run directory; it reports false if there is none.
func (r *Run) restore() (bool, error) {
	dir := Latest(r.Dir)
	if dir == "" {
		return false, nil
	}
	s, err := ReadState(dir)
	if err != nil {
		return false, err
	}
	for _, c := range []struct{ what, there, here string }{
		{"the protocol", s.Protocol, r.state.Protocol}, {"the tokenizer", s.Tokenizer, r.state.Tokenizer},
	} {
		if c.there != c.here {
			return false, fmt.Errorf("trainer: checkpoint %s was made with another form of %s (%s, now %s)", dir, c.what, c.there, c.here)
		}
	}
	if err := sameData(s.Data, r.state.Data); err != nil {
		return false, fmt.Errorf("trainer: %s goes on from checkpoint %s: %w", r.Dir, dir, err)
	}
	if s.Contract != r.state.Contract {
		r.Report.Note(fmt.Sprintf("the run began on %q and goes on on %q: "+
			"from here on its bits differ from an uninterrupted run's", s.Contract, r.state.Contract))
		s.Contract = r.state.Contract
	}
	if err := r.sameRevision(&s); err != nil {
		return false, fmt.Errorf("trainer: checkpoint %s %w", dir, err)
	}
	r.noteAltered(dir, &s)
	if err := readModel(r.Policy, dir); err != nil {
		return false, err
	}
	r.ppo.policy.opt.adopt()
	r.state = s
	if err := r.extend(); err != nil {
		return false, err
	}
	r.before = s.Seconds
	r.ppo.skipped = s.Skipped
	if s.Phase != "sft" && s.Step == 0 { // reinforcement learning begins: moments are zero, and a cold start alone saved no critic
		return true, r.beginCritic()
	}
	return true, r.restoreLearners(dir)
}

// beginCritic makes a critic with a trunk of its own of the policy.
func (r *Run) beginCritic() error {
	if r.Critic == nil {
		return nil
	}
	if err := r.ppo.Learns(); err != nil {
		return err
	}
	if err := r.ppo.policy.opt.whole(); err != nil {
		return err
	}
	if err := r.Critic.CopyFrom(r.Policy); err != nil {
		return err
	}
	r.ppo.critic.opt.adopt()
	return nil
}

// restoreLearners reads the critic and the optimizers' moments.
func (r *Run) restoreLearners(dir string) error {
	f, err := openOptimizer(dir)
	if err != nil {
		return err
	}
	defer f.close()
	if err := r.ppo.policy.restore(f, "", r.state.Updates); err != nil || r.Critic == nil {
		return err
	}
	if err := readModel(r.Critic, filepath.Join(dir, "critic")); err != nil {
		return err
	}
	r.ppo.critic.opt.adopt()
	return r.ppo.critic.restore(f, "critic.", r.state.CriticSteps)
}

// sameData refuses to go on with other rows: the cursor of a run counts those it began with.
func sameData(there, here map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(there)) {
		if there[key] != here[key] {
			return fmt.Errorf("%s holds other rows than the run began with (SHA-256 %.12s…, now %.12s…): "+
				"restore the file, or choose another run=", key, there[key], here[key])
		}
	}
	return nil
}

// sameRevision refuses to go on with steps of reinforcement learning that another revision of the algorithm made, or notes it. A run that
// has ended is only read.
func (r *Run) sameRevision(s *State) error {
	if s.Phase == "done" && r.Config.RL.Steps <= s.Step {
		return nil
	}
	if s.Phase != "sft" && s.Step > 0 {
		note, err := r.ppo.method.goesOn(r.Config.RL, s.Revision)
		if err != nil {
			return err
		}
		if note != "" {
			r.Report.Note(note)
		}
	}
	s.Revision = r.ppo.method.revision()
	return nil
}

// extend goes on with a run that had ended, if it now asks for more steps of reinforcement learning.
func (r *Run) extend() error {
	if err := r.state.Reaches(r.Dir, r.Config.RL.Steps); err != nil {
		return err
	}
	if r.state.Phase == "done" && r.Config.RL.Steps > r.state.Step {
		r.state.Phase = "rl"
	}
	return nil
}

// Reaches refuses fewer steps of reinforcement learning than the run in dir has made.
func (s *State) Reaches(dir string, steps int) error {
	if s.Phase != "sft" && steps < s.Step {
		return fmt.Errorf("trainer: %s has made %d steps of reinforcement learning, rl.steps is %d: want at least as many, or another run=",
			dir, s.Step, steps)
	}
	return nil
}
