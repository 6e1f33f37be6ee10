package interp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// maxFrame bounds every frame a session may send.
const maxFrame = 4096

// A frame from a session. All of it is hostile.
type frame struct {
	T     string `json:"t"`
	ID    int64  `json:"id"`
	OK    bool   `json:"ok"`
	Exc   string `json:"exc"`
	Exit  int    `json:"exit"`
	TB    int    `json:"tb"`
	St    int    `json:"st"`
	Stage string `json:"stage"`
	Errno int    `json:"errno"`
}

// parseFrame accepts exactly one JSON object of known keys and sane values.
func parseFrame(b []byte) (frame, error) {
	var f frame
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return frame{}, err
	}
	if d.More() || len(bytes.TrimSpace(b[d.InputOffset():])) != 0 {
		return frame{}, errors.New("more than one object")
	}
	switch f.T {
	case "ready", "done", "runs", "rolled", "fail":
	default:
		return frame{}, fmt.Errorf("type %q", f.T)
	}
	if f.TB < 0 || f.TB > 1<<20 || f.Exit < -1 || f.Exit > 255 || len(f.Exc) > 100 {
		return frame{}, errors.New("value out of range")
	}
	for _, c := range f.Exc {
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return frame{}, errors.New("exception name")
		}
	}
	return f, nil
}

var (
	errAgain  = errors.New("nothing to read")
	errHangup = errors.New("the control socket was closed")
	errForged = errors.New("not a frame")
)

// receive reads one frame without waiting. No room is given for descriptors: the kernel drops any that are sent and says so.
// sender is the host pid the kernel saw, if the socket reports it.
func (s *session) receive(buf []byte) (f frame, sender int, err error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	var n, oobn, flags int
	for {
		n, oobn, flags, _, err = unix.Recvmsg(s.ctl, buf, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			break
		}
	}
	switch {
	case err == unix.EAGAIN:
		return f, 0, errAgain
	case err != nil:
		return f, 0, errHangup
	}
	foreign := flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0
	if msgs, e := unix.ParseSocketControlMessage(oob[:oobn]); e == nil {
		for i := range msgs {
			if u, e := unix.ParseUnixCredentials(&msgs[i]); e == nil {
				sender = int(u.Pid)
				continue
			}
			foreign = true
			if fds, e := unix.ParseUnixRights(&msgs[i]); e == nil {
				for _, fd := range fds {
					unix.Close(fd)
				}
			}
		}
	}
	switch {
	case n == 0 && oobn == 0:
		return f, 0, errHangup
	case foreign || n == 0 || n > maxFrame:
		return f, sender, errForged
	}
	if f, err = parseFrame(buf[:n]); err != nil {
		return f, sender, errForged
	}
	return f, sender, nil
}

// awaitReady reads the first frame of a new session.
func (s *session) awaitReady(deadline time.Time) error {
	buf := make([]byte, maxFrame+1)
	fds := []unix.PollFd{{Fd: int32(s.ctl), Events: unix.POLLIN}}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errors.New("no ready frame in time")
		}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return err
		}
		f, _, err := s.receive(buf)
		switch {
		case err == errAgain:
			continue
		case err != nil:
			return err
		case f.T == "fail":
			return fmt.Errorf("%s: %w", f.Stage, unix.Errno(f.Errno))
		case f.T != "ready":
			return errForged
		}
		return nil
	}
}
