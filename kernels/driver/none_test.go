//go:build !cuda

package driver

import (
	"errors"
	"strings"
	"testing"
)

func TestPlainBuildHasNoGPU(t *testing.T) {
	d, err := Open(0)
	if d != nil || !errors.Is(err, ErrNoGPU) {
		t.Fatalf("got %v, %v", d, err)
	}
	for _, remedy := range []string{"make gpu", "device: cpu"} {
		if !strings.Contains(err.Error(), remedy) {
			t.Errorf("%q lacks the remedy %q", err, remedy)
		}
	}
}
