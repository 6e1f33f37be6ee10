package dist

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ports is how many ports of the launcher's host ranks try, from its own on. Its own is never free: torchrun's store holds it.
const ports = 16

// place is where rank 0 is, as its file says.
type place struct {
	Host      string   `json:"host"`
	Addresses []string `json:"addresses"`
	Port      int      `json:"port"`
	Token     string   `json:"token"` // of this start
}

// placeFile is the file's name for a run's job.
func placeFile(dir, job string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, job)
	return filepath.Join(dir, ".rank0-"+safe)
}

// write puts the file in place whole, readable by its owner alone.
func (p place) write(path string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func readPlace(path string) (place, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return place{}, err
	}
	var p place
	if err := json.Unmarshal(text, &p); err != nil {
		return place{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// newToken is 32 random bytes, as text.
func newToken() (string, error) {
	b := make([]byte, 32)
	_, err := rand.Read(b)
	return hex.EncodeToString(b), err
}

// addresses are those under which other hosts may know this one, loopback last.
func addresses() []string {
	var far, near []string
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		ip, ok := a.(*net.IPNet)
		switch {
		case !ok || ip.IP.IsLinkLocalUnicast():
		case ip.IP.IsLoopback():
			near = append(near, ip.IP.String())
		default:
			far = append(far, ip.IP.String())
		}
	}
	return append(far, near...)
}

// reach opens a conversation with whoever knows the key at one of the addresses: all are tried at once, the first that shows it wins. The
// others are closed.
func reach(ctx context.Context, c credentials, where []string, port int) (*secured, *counted, error) {
	type reached struct {
		s   *secured
		raw *counted
		err error
	}
	ctx, cancel := context.WithTimeout(ctx, handshake)
	defer cancel()
	got := make(chan reached, len(where))
	for _, a := range where {
		go func() {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a, strconv.Itoa(port)))
			if err != nil {
				got <- reached{err: err}
				return
			}
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			s, raw, err := secure(conn, c, false)
			if err == nil && !stop() {
				err = context.Cause(ctx)
			}
			if err != nil {
				conn.Close()
			}
			got <- reached{s, raw, err}
		}()
	}
	var last error
	for i := range where {
		r := <-got
		if r.err != nil {
			last = r.err
			continue
		}
		go func() { // a second one that got through
			for range len(where) - i - 1 {
				if r := <-got; r.err == nil {
					r.raw.Close()
				}
			}
		}()
		return r.s, r.raw, nil
	}
	return nil, nil, last
}

// door is a listener, and what callers there have to know.
type door struct {
	net.Listener
	credentials
	blind bool // whoever comes here has not seen the run directory
}

// open makes rank 0 known: it listens, and says where. The file is removed when all have come.
func (n *network) open() (doors []door, tidy func(), err error) {
	defer func() {
		if err != nil {
			for _, d := range doors {
				d.Close()
			}
		}
	}()
	tidy = func() {}
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return nil, nil, err
	}
	doors = []door{{Listener: l, credentials: n.key}}
	n.self.Addresses, n.self.Port = addresses(), l.Addr().(*net.TCPAddr).Port
	if n.id.At != "" && n.id.Port > 0 {
		for port := n.id.Port; port < n.id.Port+ports; port++ {
			if l, err := net.Listen("tcp", ":"+strconv.Itoa(port)); err == nil {
				doors = append(doors, door{Listener: l, credentials: n.key, blind: n.o.Dir != ""})
				break
			}
		}
		if len(doors) == 1 && n.o.Dir == "" {
			return doors, nil, fmt.Errorf("rank 0: none of the ports %d to %d is free: choose another MASTER_PORT", n.id.Port, n.id.Port+ports-1)
		}
	}
	if n.o.Dir == "" {
		return doors, tidy, nil
	}
	token, err := newToken()
	if err != nil {
		return doors, nil, err
	}
	if n.key, err = n.credentials(newKey("file", n.id.Secret, n.id.Job, []byte(token))); err != nil {
		return doors, nil, err
	}
	doors[0].credentials = n.key
	file := placeFile(n.o.Dir, n.id.Job)
	if err := (place{n.self.Host, n.self.Addresses, n.self.Port, token}).write(file); err != nil {
		return doors, nil, fmt.Errorf("rank 0 cannot say where it is: %w", err)
	}
	return doors, func() {
		if p, err := readPlace(file); err == nil && p.Token == token {
			os.Remove(file)
		}
	}, nil
}

// find opens a conversation with rank 0, wherever it turns out to be, until the deadline. Files of earlier starts name ports that nobody
// answers, or that answer without knowing their token. A rank that sees no file goes to the launcher's address after a while, to be told
// that it is blind.
func (n *network) find(ctx context.Context) (*secured, *counted, error) {
	atAddress := n.key
	var why string
	start := time.Now()
	for again, pause := start.Add(patience), 5*time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		var s *secured
		var raw *counted
		var err error
		seen := false
		if n.o.Dir != "" {
			s, raw, seen, err = n.findByFile(ctx)
		}
		if n.o.Dir == "" || !seen && n.id.At != "" && n.id.Port > 0 && time.Since(start) > blindness {
			var other error
			if s, raw, other = n.findByAddress(ctx, atAddress); err == nil || other == nil {
				err = other
			}
		}
		if err == nil {
			return s, raw, nil
		}
		if ctx.Err() == nil || why == "" { // one that the deadline cut short says less
			why = err.Error()
		}
		if now := time.Now(); n.id.LocalRank == 0 && now.After(again) && ctx.Err() == nil {
			n.o.Log(waits(ctx, start, fmt.Sprintf("rank 0 to come, rank %d has not found it (%s)", n.id.Rank, why)))
			again = now.Add(now.Sub(start))
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("rank %d has not found rank 0 within %v: %s", n.id.Rank, n.o.Wait, why)
		case <-time.After(pause):
		}
	}
}

// blindness is how long a rank looks for the file of rank 0 before it asks elsewhere.
var blindness = 10 * time.Second

func (n *network) findByFile(ctx context.Context) (s *secured, raw *counted, seen bool, err error) {
	file := placeFile(n.o.Dir, n.id.Job)
	p, err := readPlace(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, false, fmt.Errorf("%s is not there: does this host see rank 0's run directory, and was rank 0 started?", file)
	}
	if err != nil {
		return nil, nil, false, err
	}
	c, err := n.credentials(newKey("file", n.id.Secret, n.id.Job, []byte(p.Token)))
	if err != nil {
		return nil, nil, true, err
	}
	where := p.Addresses
	if p.Host == n.self.Host {
		where = append([]string{"127.0.0.1"}, where...)
	}
	if s, raw, err = reach(ctx, c, where, p.Port); err != nil {
		return nil, nil, true, fmt.Errorf("nobody at %s %v port %d, where %s says it is, answers for this start (%w)", p.Host,
			p.Addresses, p.Port, file, err)
	}
	n.key = c
	return s, raw, true, nil
}

func (n *network) findByAddress(ctx context.Context, c credentials) (*secured, *counted, error) {
	var last error
	for port := n.id.Port; port < n.id.Port+ports; port++ {
		s, raw, err := reach(ctx, c, []string{n.id.At}, port)
		if err == nil {
			n.key = c
			return s, raw, nil
		}
		last = err
	}
	return nil, nil, fmt.Errorf("none of the ports %d to %d of %s answers for this run (%w)", n.id.Port, n.id.Port+ports-1, n.id.At, last)
}
