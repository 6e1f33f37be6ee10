package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine/model"
)

// The figures of a 7B model on 8 GPUs with 512 trajectories of 4K tokens an update, and
// of a 32B model's recomputed pass of 16K tokens a GPU.
func TestEstimates(t *testing.T) {
	m, err := model.Shape("q7")
	require.NoError(t, err)
	require.InEpsilon(t, 7.616e9, float64(parameters(m)), 0.001)
	e := estimated(m, 8, 512, 512, 4096, 100, false, false, 0, h200)
	require.InEpsilon(t, 27.6, e.Compute, 0.02)
	require.InEpsilon(t, 27e9, e.Reduce, 0.02)
	require.InEpsilon(t, 13e9, e.Gather, 0.03)
	require.InEpsilon(t, 0.12, e.Exchange, 0.03)
	require.InEpsilon(t, 0.004, e.Exposed, 0.1)
	require.Zero(t, estimated(m, 1, 512, 512, 4096, 100, false, true, 0, h200).Exchange)
	m, err = model.Shape("q32")
	require.NoError(t, err)
	e = estimated(m, 8, 8, 8, 16384, 100, true, true, 1, h200) // a pass a rank, all divided
	require.InEpsilon(t, 12.3, e.Compute, 0.02)
	require.InEpsilon(t, 0.66, e.Exchange, 0.03)
	require.InEpsilon(t, 0.05, e.Exposed, 0.05)
}

// The README's table is the command's.
func TestReadmeHasThePlannedTable(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), retool(t, "plan", "--table"))
}
