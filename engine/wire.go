package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
)

// wire is a trajectory as it goes from one process to another; the tokens follow as bytes, nine each.
type wire struct {
	Key       int64
	Prompt    int
	Calls     []Call
	Finish    Finish
	Err       string
	Overshoot int
	Evicted   int
	Tokens    int
	Version   int32   // of all tokens that the policy chose
	Versions  []int32 // of each token, where they differ
	Sets      []byte
}

// AppendTrajectories appends trajectories to b, for ReadTrajectories of the same program. An Err keeps its text alone.
func AppendTrajectories(b []byte, trs []*Trajectory) ([]byte, error) {
	heads := make([]wire, len(trs))
	tokens := 0
	for i, t := range trs {
		heads[i] = wireOf(t)
		tokens += len(t.tokens)
	}
	var head bytes.Buffer
	if err := gob.NewEncoder(&head).Encode(heads); err != nil {
		return nil, fmt.Errorf("engine: trajectories: %w", err)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(head.Len()))
	b = append(b, head.Bytes()...)
	for _, t := range trs {
		for _, k := range t.tokens {
			b = binary.LittleEndian.AppendUint32(b, uint32(k.ID))
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(k.LogProb))
			b = append(b, byte(k.Source))
		}
	}
	return b, nil
}

const tokenBytes = 9

func wireOf(t *Trajectory) wire {
	w := wire{Key: t.Key, Prompt: t.Prompt, Calls: t.Calls, Finish: t.Finish, Overshoot: t.Overshoot, Evicted: t.Evicted,
		Tokens: len(t.tokens), Sets: t.sets}
	if t.Err != nil {
		w.Err = t.Err.Error()
	}
	versions := make([]int32, len(t.tokens))
	first, alike := true, true
	for i, k := range t.tokens {
		if versions[i] = k.Version; k.Source == Policy && first {
			w.Version, first = k.Version, false
		}
		alike = alike && k.Version == w.versionOf(k.Source)
	}
	if !alike {
		w.Versions = versions
	}
	return w
}

// versionOf is the version of a token of that source, where all are alike.
func (w *wire) versionOf(s Source) int32 {
	if s == Policy {
		return w.Version
	}
	return 0
}

// ReadTrajectories reads what AppendTrajectories appended, to the end of b.
func ReadTrajectories(b []byte) ([]*Trajectory, error) {
	torn := errors.New("engine: trajectories that end early")
	if len(b) < 8 {
		return nil, torn
	}
	n := binary.LittleEndian.Uint64(b)
	if b = b[8:]; n > uint64(len(b)) {
		return nil, torn
	}
	var heads []wire
	if err := gob.NewDecoder(bytes.NewReader(b[:n])).Decode(&heads); err != nil {
		return nil, fmt.Errorf("engine: trajectories: %w", err)
	}
	b = b[n:]
	trs := make([]*Trajectory, len(heads))
	for i := range heads {
		w := &heads[i]
		if w.Tokens < 0 || w.Tokens > len(b)/tokenBytes || w.Versions != nil && len(w.Versions) != w.Tokens {
			return nil, torn
		}
		t := &Trajectory{Key: w.Key, Prompt: w.Prompt, Calls: w.Calls, Finish: w.Finish, Overshoot: w.Overshoot, Evicted: w.Evicted,
			tokens: make([]Token, w.Tokens)}
		if w.Err != "" {
			t.Err = errors.New(w.Err)
		}
		for j := range t.tokens {
			k := Token{
				ID: int32(binary.LittleEndian.Uint32(b)), LogProb: math.Float32frombits(binary.LittleEndian.Uint32(b[4:])), Source: Source(b[8]),
			}
			k.Version = w.versionOf(k.Source)
			if w.Versions != nil {
				k.Version = w.Versions[j]
			}
			t.tokens[j] = k
			b = b[tokenBytes:]
		}
		if err := t.UseSets(w.Sets); err != nil {
			return nil, err
		}
		trs[i] = t
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("engine: %d bytes behind the last trajectory", len(b))
	}
	return trs, nil
}
