package trainer

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/trainer/trace"
)

// A run whose steps another revision of its algorithm made is refused by name, or goes on by today's where rl.revision asks for that and
// says so; one that has made no such step goes on, as does one of an algorithm that never changed.
func TestARunOfAnotherRevisionIsNamed(t *testing.T) {
	lab := func(steps int, algorithm string, revision int) *lab {
		return newLab(t, func(c *Config) {
			c.RL.Algorithm, c.RL.Prompts, c.RL.Group, c.RL.Steps, c.RL.Revision = algorithm, 8, 8, steps, revision
		})
	}
	// begun is a run of so many steps, by a program that had that revision.
	begun := func(steps int, algorithm string, revision int) string {
		dir := t.TempDir()
		run, _ := lab(steps, algorithm, 0).run(dir)
		_, err := run.Train(context.Background())
		require.NoError(t, err)
		s, err := ReadState(Latest(dir))
		require.NoError(t, err)
		require.Positive(t, s.Revision)
		s.Revision = revision
		text, err := trace.MarshalIndent(s)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(Latest(dir), "state.json"), text, 0o644))
		return dir
	}
	goTo := func(steps int, dir, algorithm string, revision int) (*State, []string, error) {
		run, heard := lab(steps, algorithm, revision).run(dir)
		s, err := run.Train(context.Background())
		return s, heard.notes, err
	}
	goOn := func(dir, algorithm string, revision int) (*State, []string, error) {
		return goTo(3, dir, algorithm, revision)
	}
	for _, old := range []int{0, 1} {
		dir := begun(2, "grpo", old)
		ended, _, err := goTo(2, dir, "grpo", 0)
		require.NoError(t, err, "what has ended is only read")
		require.Equal(t, old, ended.Revision)
		_, _, err = goOn(dir, "grpo", 0)
		require.ErrorContains(t, err, map[int]string{0: "was made by a program that did not count the revisions of grpo",
			1: "was made by revision 1 of grpo"}[old]+", where this one has revision 2: its loss is the mean over responses")
		require.ErrorContains(t, err, "want rl.revision 2 to go on by that")
		s, notes, err := goOn(dir, "grpo", 2)
		require.NoError(t, err)
		require.Contains(t, notes[0], "the run was begun by ")
		require.Contains(t, notes[0], "of grpo, where this one has revision 2: its loss")
		require.Equal(t, 2, s.Revision)
		_, notes, err = goOn(dir, "grpo", 0)
		require.NoError(t, err)
		require.NotContains(t, notes[0], "revision", "it is today's by now")
	}
	_, _, err := goOn(begun(2, "grpo", 3), "grpo", 0)
	require.ErrorContains(t, err, "was made by revision 3 of grpo, where this one has revision 2; want", "a newer program's")
	for _, c := range []struct {
		algorithm string
		steps     int
	}{{"ppo", 2}, {"grpo", 0}} {
		_, notes, err := goOn(begun(c.steps, c.algorithm, 0), c.algorithm, 0)
		require.NoError(t, err)
		require.NotContains(t, notes[0], "revision")
	}

	rl := settingsOf(t, "{algorithm: grpo, revision: 1}")
	require.ErrorContains(t, rl.validate(), "rl.revision: want 0, or 2, which this program has of grpo, got 1")
}
