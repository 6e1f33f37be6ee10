//go:build unix

package trainer

import (
	"os"
	"os/exec"
	"testing"
)

// again runs the test in a process of its own, which a limit may be put on.
func again(t *testing.T, env string) {
	c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	c.Env = append(os.Environ(), env)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
