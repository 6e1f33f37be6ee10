//go:build linux

package interp

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// denyNamespaces makes the test binary forbid user namespaces below itself, give up root and start its tests again.
var denyNamespaces = flag.Bool("interp.deny-namespaces", false, "internal: forbid user namespaces, become nobody, run the tests again")

func TestMain(m *testing.M) {
	Init()
	flag.Parse()
	if *denyNamespaces {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			fmt.Fprintln(os.Stderr, "deny namespaces:", err)
			os.Exit(3)
		}
		var args []string
		for _, a := range os.Args[1:] {
			if !strings.Contains(a, "deny-namespaces") {
				args = append(args, a)
			}
		}
		cmd := asNobody(args...)
		out, err := cmd.CombinedOutput()
		os.Stdout.Write(out)
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// asNobody is this test binary as uid 65534.
func asNobody(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}

func selfCommand(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Dir = "/"
	return cmd
}

// testPool makes a pool with the bare interpreter and closes it with the test.
func testPool(t testing.TB, change func(*Config)) *Pool {
	t.Helper()
	cfg := Default()
	cfg.Python, cfg.Preload, cfg.Warm = barePython(t), nil, 6
	cfg.Limits.Data = 64 << 20 // the self-test fills it
	if change != nil {
		change(&cfg)
	}
	p, err := New(context.Background(), cfg, nil)
	if isTier(err) {
		t.Skipf("no pool on this host: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// rerun runs tests of this binary again under another identity and holds them to have run and passed.
func rerun(t *testing.T, cmd *exec.Cmd, mustRun string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user: the test itself runs as this user")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "not offered here") {
		t.Skipf("a layer is missing:\n%s", out)
	}
	if !strings.Contains(string(out), mustRun) {
		t.Fatalf("want %q in\n%s", mustRun, out)
	}
	t.Logf("%s", out)
}

// The same claims hold for an ordinary user, who has no cgroups and no users to give away.
func TestAttacksAsNobody(t *testing.T) {
	rerun(t, asNobody("-test.run=^TestAttacksTierB$", "-test.v"), "tier B:")
}

// Without user namespaces only Landlock and seccomp are left.
func TestAttacksWithoutNamespaces(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run=^(TestAttacksTierC2|TestLowerTierIsReported)$", "-test.v", "-interp.deny-namespaces")
	all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: all, GidMappings: all,
		GidMappingsEnableSetgroups: true}
	rerun(t, cmd, "tier C2:")
}

// Below min_tier New refuses in one sentence; at it, the tier is the one reported.
func TestLowerTierIsReported(t *testing.T) {
	for omit, want := range map[string]string{"cgroup": "B", "user namespaces": "C", "landlock": "B", "seccomp": "",
		"user namespaces,landlock": ""} {
		cfg := Default()
		cfg.Python, cfg.Preload, cfg.Warm, cfg.Zygotes = barePython(t), nil, 2, 1
		cfg.omit = strings.Split(omit, ",")
		p, err := New(context.Background(), cfg, nil)
		if err == nil {
			got := p.Info().Tier.String()
			if want == "" {
				t.Errorf("without %s: got tier %s, want a refusal", omit, got)
			} else if !strings.HasPrefix(got, want) && got > "B" && want != "B" {
				t.Errorf("without %s: got tier %s, want %s", omit, got, want)
			} else if got == "A" {
				t.Errorf("without %s: still tier A", omit)
			}
			for _, o := range cfg.omit {
				if layer(p.Info().Layers, o).OK {
					t.Errorf("without %s: the table says it stands", o)
				}
			}
			p.Close()
			continue
		}
		if want == "" {
			if !isTier(err) {
				t.Errorf("without %s: want ErrTier, got %v", omit, err)
			}
		} else if os.Geteuid() == 0 {
			t.Errorf("without %s: %v", omit, err)
		}
	}
	cfg := Default()
	cfg.Python, cfg.Preload, cfg.MinTier = barePython(t), nil, "A"
	cfg.omit = []string{"cgroup"}
	if _, err := New(context.Background(), cfg, nil); !isTier(err) || !strings.Contains(err.Error(), "cgroup") {
		t.Errorf("min_tier A without cgroups: want ErrTier naming cgroups, got %v", err)
	}
}
