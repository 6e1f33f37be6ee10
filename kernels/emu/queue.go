package emu

import (
	"bytes"
	"fmt"
	"unsafe"

	"retool/kernels/driver"
)

// queue is what was issued and has not taken effect, oldest first. All streams share it. A failure stays: everything later returns it.
type queue struct {
	waiting []func() error
	done    int // how many have taken effect
	failed  error
}

func (q *queue) issued() int { return q.done + len(q.waiting) }

// drain carries out operations until n have been in all.
func (q *queue) drain(n int) error {
	for q.failed == nil && q.done < n {
		f := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.done++
		if q.failed = f(); q.failed != nil {
			q.done, q.waiting = q.issued(), nil
		}
	}
	return q.failed
}

// issue queues an operation, or carries it out at once if that is how the device is.
func (d *Device) issue(f func() error) error {
	if !d.opt.Queued {
		return f()
	}
	if d.queue.failed == nil {
		d.queue.waiting = append(d.queue.waiting, f)
	}
	return d.queue.failed
}

// Pinned is ordinary memory that copies accept.
func (d *Device) Pinned(bytes int) ([]byte, error) {
	b := make([]byte, bytes)
	d.pinned = append(d.pinned, b)
	return b, nil
}

// FreePinned ends that.
func (d *Device) FreePinned(b []byte) error {
	for i, p := range d.pinned {
		if unsafe.SliceData(p) == unsafe.SliceData(b) {
			d.pinned = append(d.pinned[:i], d.pinned[i+1:]...)
			return nil
		}
	}
	panic("emu: FreePinned of memory that Pinned did not return")
}

// isPinned says whether b lies in memory of Pinned.
func (d *Device) isPinned(b []byte) bool {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	for _, p := range d.pinned {
		if from := uintptr(unsafe.Pointer(unsafe.SliceData(p))); at >= from && at+uintptr(len(b)) <= from+uintptr(len(p)) {
			return true
		}
	}
	return false
}

// hostRace is a Failure of a copy: no kernel is at fault.
func hostRace(format string, args ...any) error {
	return &Failure{[]Report{{Kind: HostRace, Entry: "a copy", Thread: none, Other: none, Detail: fmt.Sprintf(format, args...)}}}
}

// CopyIn copies to the device when its turn comes. The source must be page-locked, and must not have changed by then.
func (d *Device) CopyIn(s driver.Stream, dst driver.Ptr, src []byte) error {
	if len(src) == 0 {
		return nil
	}
	if !d.isPinned(src) {
		return hostRace("%d bytes from memory that is not page-locked: the copy may be under way when it returns", len(src))
	}
	if _, err := d.host("copy to the device", dst, len(src)); err != nil {
		return err
	}
	d.counters.CopiesIn++
	was := bytes.Clone(src)
	return d.issue(func() error {
		if !bytes.Equal(was, src) {
			return hostRace("%d bytes of page-locked memory were written while their copy to the device was under way", len(src))
		}
		b, err := d.host("copy to the device", dst, len(src))
		if err == nil {
			copy(b, src)
		}
		return err
	})
}

// CopyOut copies to the host when its turn comes. Until then the page-locked destination holds 0xff.
func (d *Device) CopyOut(s driver.Stream, dst []byte, src driver.Ptr) error {
	if len(dst) == 0 {
		return nil
	}
	if !d.isPinned(dst) {
		return hostRace("%d bytes to memory that is not page-locked: the copy may be under way when it returns", len(dst))
	}
	if _, err := d.host("copy from the device", src, len(dst)); err != nil {
		return err
	}
	d.counters.CopiesOut++
	for i := range dst {
		dst[i] = 0xff
	}
	return d.issue(func() error {
		b, err := d.host("copy from the device", src, len(dst))
		if err == nil {
			copy(dst, b)
		}
		return err
	})
}

// Copy copies on the device.
func (d *Device) Copy(s driver.Stream, dst, src driver.Ptr, bytes int) error {
	if bytes == 0 {
		return nil
	}
	return d.issue(func() error {
		to, err := d.host("copy", dst, bytes)
		if err != nil {
			return err
		}
		from, err := d.host("copy", src, bytes)
		if err == nil {
			copy(to, from)
		}
		return err
	})
}

// Fill32 writes n words of v.
func (d *Device) Fill32(s driver.Stream, dst driver.Ptr, v uint32, n int) error {
	if n == 0 {
		return nil
	}
	return d.issue(func() error {
		b, err := d.host("fill", dst, n*4)
		if err != nil {
			return err
		}
		for i := range n {
			put(b[4*i:], 4, uint64(v))
		}
		return nil
	})
}

const looseCopy = "a copy from pageable memory is bringing outside of every stream"

// loose are bytes of the device that a copy outside of every stream is bringing.
type loose struct{ from, to uint64 }

// CopyPageable is cuMemcpyHtoD of pageable memory, which no Driver has: its bytes are on their way when it returns, in the legacy stream,
// for which the streams of a Driver do not wait. Whatever touches them afterwards is a HostRace.
func (d *Device) CopyPageable(dst driver.Ptr, src []byte) error {
	b, err := d.host("copy to the device", dst, len(src))
	if err != nil {
		return err
	}
	copy(b, src)
	d.loose = append(d.loose, loose{uint64(dst), uint64(dst) + uint64(len(src))})
	return nil
}

// isLoose says whether a copy outside of every stream is bringing some of n bytes.
func (d *Device) isLoose(addr uint64, n int) bool {
	for _, l := range d.loose {
		if addr < l.to && addr+uint64(n) > l.from {
			return true
		}
	}
	return false
}
