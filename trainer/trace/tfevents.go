package trace

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of the messages Event, Summary and Summary.Value (tensorflow/core/util/event.proto, framework/summary.proto).
const (
	eventWallTime = 1 // double, seconds since 1970
	eventStep     = 2 // int64
	eventVersion  = 3 // string, of the first event alone
	eventSummary  = 5
	summaryValue  = 1
	valueTag      = 1 // string
	valueSimple   = 2 // float
)

const eventFiles = "events.out.tfevents."

// Events appends scalars to a folder's TensorBoard event file. A file is a sequence of records: the length of an Event (8 bytes, little
// endian), its checksum, the Event, its checksum.
//
// Steps never fall: the first step that is written says where the run goes on, and what the file holds of that step and of later ones
// is cut off, as Open cuts metrics.jsonl. It is used by one goroutine; TensorBoard may follow the file.
type Events struct {
	path string
	f    *os.File // nil until the first step
}

// OpenEvents continues the event file of a folder, or will begin one.
func OpenEvents(dir string) (*Events, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	there, err := filepath.Glob(filepath.Join(dir, eventFiles+"*"))
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	if len(there) > 0 {
		return &Events{path: slices.Max(there)}, nil
	}
	host, _ := os.Hostname()
	return &Events{path: filepath.Join(dir, fmt.Sprintf("%s%010d.%s", eventFiles, time.Now().Unix(), host))}, nil
}

// Write appends the scalars of a step under the tags GROUP/name and GROUP/name/key.
func (e *Events) Write(step int, at time.Time, group string, scalars []Scalar) error {
	if e.f == nil {
		if err := e.begin(int64(step), at); err != nil {
			return fmt.Errorf("trace: %s: %w", e.path, err)
		}
	}
	var summary []byte
	for _, s := range scalars {
		tag := group + "/" + s.Name
		if s.Key != "" {
			tag += "/" + s.Key
		}
		var value []byte
		value = protowire.AppendTag(value, valueTag, protowire.BytesType)
		value = protowire.AppendString(value, tag)
		value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(s.Value)))
		summary = protowire.AppendTag(summary, summaryValue, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	event := newEvent(at)
	event = protowire.AppendTag(event, eventStep, protowire.VarintType)
	event = protowire.AppendVarint(event, uint64(step))
	event = protowire.AppendTag(event, eventSummary, protowire.BytesType)
	event = protowire.AppendBytes(event, summary)
	if _, err := e.f.Write(record(event)); err != nil {
		return fmt.Errorf("trace: %s: %w", e.path, err)
	}
	return nil
}

// begin opens the file behind the last event before a step.
func (e *Events) begin(step int64, at time.Time) (err error) {
	f, err := os.OpenFile(e.path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	end, err := eventsBefore(f, step)
	if err != nil {
		return err
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil {
		return err
	}
	if end == 0 {
		version := protowire.AppendTag(newEvent(at), eventVersion, protowire.BytesType)
		if _, err := f.Write(record(protowire.AppendString(version, "brain.Event:2"))); err != nil {
			return err
		}
	}
	e.f = f
	return nil
}

// Close ends the file.
func (e *Events) Close() error {
	if e.f == nil {
		return nil
	}
	return e.f.Close()
}

func newEvent(at time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type),
		math.Float64bits(float64(at.UnixNano())/1e9))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is TensorFlow's checksum: CRC-32C, turned and shifted, for a checksum of data that holds checksums is a poor one.
func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// record frames an event.
func record(event []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(event)))
	b = binary.LittleEndian.AppendUint32(b, masked(b))
	b = append(b, event...)
	return binary.LittleEndian.AppendUint32(b, masked(event))
}

var errTorn = errors.New("a record is cut off or damaged")

// readRecord reads one event: io.EOF at the end, errTorn within or behind a damaged one.
func readRecord(r io.Reader) ([]byte, error) {
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.ErrUnexpectedEOF {
			err = errTorn
		}
		return nil, err
	}
	n := binary.LittleEndian.Uint64(head[:])
	if masked(head[:8]) != binary.LittleEndian.Uint32(head[8:]) || n > 1<<30 {
		return nil, errTorn
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(n)+4); err != nil {
		if err == io.EOF {
			err = errTorn
		}
		return nil, err
	}
	event := body.Bytes()[:n]
	if masked(event) != binary.LittleEndian.Uint32(body.Bytes()[n:]) {
		return nil, errTorn
	}
	return event, nil
}

// eventsBefore is the length of what a file holds of steps before one. A torn record, as a crash leaves it, ends it too.
func eventsBefore(f io.Reader, step int64) (end int64, err error) {
	r := bufio.NewReader(f)
	for {
		event, err := readRecord(r)
		switch {
		case err == io.EOF || err == errTorn:
			return end, nil
		case err != nil:
			return 0, err
		case end > 0 && stepOf(event) >= step: // the first event is the file's version
			return end, nil
		}
		end += int64(len(event)) + 16
	}
}

// stepOf is the step of an event; 0 where it has none, as the format says.
func stepOf(event []byte) int64 {
	for len(event) > 0 {
		field, kind, n := protowire.ConsumeTag(event)
		if n < 0 {
			return 0
		}
		event = event[n:]
		if field == eventStep && kind == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(event)
			return int64(v)
		}
		if n = protowire.ConsumeFieldValue(field, kind, event); n < 0 {
			return 0
		}
		event = event[n:]
	}
	return 0
}
