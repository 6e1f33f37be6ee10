package trace

import (
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

// point is one scalar as a reader of the file finds it.
type point struct {
	step  int64
	tag   string
	value float32
}

// fields splits a message into its fields, in order.
func fields(t require.TestingT, message []byte, each func(field protowire.Number, kind protowire.Type, value []byte)) {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		require.Positive(t, n)
		message = message[n:]
		n = protowire.ConsumeFieldValue(field, kind, message)
		require.Positive(t, n)
		value := message[:n]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		each(field, kind, value)
		message = message[n:]
	}
}

// readEvents reads the only event file of a folder, checksums and all.
func readEvents(t require.TestingT, dir string) (points []point) {
	files, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	r := bytes.NewReader(text)
	for n := 0; ; n++ {
		event, err := readRecord(r)
		if err == io.EOF {
			return points
		}
		require.NoError(t, err)
		var step int64
		version := ""
		fields(t, event, func(field protowire.Number, _ protowire.Type, v []byte) {
			switch field {
			case 2:
				u, _ := protowire.ConsumeVarint(v)
				step = int64(u)
			case 3:
				version = string(v)
			case 5:
				fields(t, v, func(_ protowire.Number, _ protowire.Type, v []byte) {
					p := point{step: step}
					fields(t, v, func(field protowire.Number, _ protowire.Type, v []byte) {
						if field == 1 {
							p.tag = string(v)
							return
						}
						u, _ := protowire.ConsumeFixed32(v)
						p.value = math.Float32frombits(u)
					})
					points = append(points, p)
				})
			}
		})
		require.Equal(t, n == 0, version == "brain.Event:2")
	}
}

func TestChecksumsAreTensorFlows(t *testing.T) {
	// The header of a record of 24 bytes, as TensorFlow's own writer begins its files.
	require.Equal(t, []byte{0xa3, 0x7f, 0x4b, 0x22}, record(make([]byte, 24))[8:12])
	require.EqualValues(t, 0xa282ead8, masked(nil))
}

func TestScalarsAreTheNumbersOfAStep(t *testing.T) {
	m := Metrics{Step: 3, Phase: "rl", Loss: math.NaN(),
		RL: &RL{Reward: -1, Rewards: Rewards{Paper: 0.5}, Finish: map[string]int{"eos": 7, "budget": 1}}}
	got := map[string]float64{}
	for _, s := range Scalars(m, "step") {
		got[s.Name+"|"+s.Key] = s.Value
	}
	require.NotContains(t, got, "step|")
	require.NotContains(t, got, "phase|")
	require.True(t, math.IsNaN(got["loss|"]))
	delete(got, "loss|")
	for name, want := range map[string]float64{"reward|": -1, "rewards/paper|": 0.5, "finish|eos": 7, "finish|budget": 1, "tokens|": 0} {
		require.Contains(t, got, name)
		require.Equal(t, want, got[name])
	}
	names := func(v any) (n int) { return len(Scalars(v)) }
	require.Less(t, names(Metrics{}), names(m), "fields of the other phase are absent")
	require.Equal(t, []Scalar{{"families/correct", "add", 1}, {"families/all", "add", 2}},
		Scalars(struct {
			Families map[string]Sum `json:"families"`
		}{map[string]Sum{"add": {1, 2}}}))
}

// However often a run is cut and goes on, at whatever byte a crash cut its file, the file holds each step once.
func TestResumedRunsRepeatNoStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "events")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		reached := 0 // steps whose events are surely in the file
		want := map[int]float32{}
		for range rapid.IntRange(1, 5).Draw(t, "processes") {
			e, err := OpenEvents(dir)
			require.NoError(t, err)
			from := rapid.IntRange(0, reached).Draw(t, "checkpoint")
			n := rapid.IntRange(0, 6).Draw(t, "steps")
			for step := from + 1; step <= from+n; step++ {
				want[step] = rapid.Float32().Draw(t, "value")
				require.NoError(t, e.Write(step, time.Unix(5, 0), "rl", []Scalar{{"loss", "", float64(want[step])}, {"finish", "eos", float64(step)}}))
			}
			require.NoError(t, e.Close())
			if n > 0 {
				reached = from + n
				for step := range want {
					if step > reached {
						delete(want, step)
					}
				}
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 && rapid.Bool().Draw(t, "crash") {
				f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0o644)
				require.NoError(t, err)
				_, err = f.Write(record([]byte("half of a record"))[:rapid.IntRange(1, 31).Draw(t, "torn")])
				require.NoError(t, err)
				require.NoError(t, f.Close())
				// What is torn is cut off by the step that follows.
				e, err := OpenEvents(dir)
				require.NoError(t, err)
				reached++
				want[reached] = 0
				require.NoError(t, e.Write(reached, time.Unix(6, 0), "rl", []Scalar{{"loss", "", 0}, {"finish", "eos", float64(reached)}}))
				require.NoError(t, e.Close())
			}
		}
		if reached == 0 {
			return
		}
		var points []point
		for step := 1; step <= reached; step++ {
			points = append(points, point{int64(step), "rl/loss", want[step]}, point{int64(step), "rl/finish/eos", float32(step)})
		}
		require.Equal(t, points, readEvents(t, dir))
	})
}

func TestNumbersThatAreNotFiniteAreWrittenAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	e, err := OpenEvents(dir)
	require.NoError(t, err)
	require.NoError(t, e.Write(0, time.Now(), "sft", []Scalar{{"loss", "", math.NaN()}, {"grad_norm", "", math.Inf(1)}}))
	require.NoError(t, e.Close())
	got := readEvents(t, dir)
	require.True(t, math.IsNaN(float64(got[0].value)))
	require.True(t, math.IsInf(float64(got[1].value), 1))
}
