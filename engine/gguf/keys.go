package gguf

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// keys reads metadata, keeps the first error, and remembers what was asked for.
type keys struct {
	f    *File
	read map[string]bool
	err  error
}

func (k *keys) fail(format string, args ...any) {
	if k.err == nil {
		k.err = fmt.Errorf(format, args...)
	}
}

func (k *keys) get(key string) any {
	k.read[key] = true
	return k.f.keys[key]
}

// count reads an integer of any type, or a list of one for each layer, if they are all equal.
func (k *keys) count(key string, absent int) int {
	v := k.get(key)
	if v == nil {
		return absent
	}
	n, ok := integer(v)
	if !ok {
		k.fail("%s is %v (%T), want one non-negative integer", key, abridged(v), v)
	}
	return n
}

// must is count for a key that has to be there.
func (k *keys) must(key string) int {
	if k.f.keys[key] == nil {
		k.fail("%s is missing", key)
	}
	return k.count(key, 0)
}

// same reports a count that is there and is another one than want.
func (k *keys) same(key string, want int, why string) {
	if n := k.count(key, want); n != want {
		k.fail("%s is %d, want %d, %s", key, n, want, why)
	}
}

func (k *keys) number(key string, absent float64) float64 {
	switch v := k.get(key).(type) {
	case nil:
		return absent
	case float32:
		return float64(v)
	case float64:
		return v
	default:
		k.fail("%s is %v (%T), want a number", key, abridged(v), v)
		return absent
	}
}

func (k *keys) mustNumber(key string) float64 {
	if k.f.keys[key] == nil {
		k.fail("%s is missing", key)
	}
	return k.number(key, 0)
}

func (k *keys) flag(key string, absent bool) bool {
	switch v := k.get(key).(type) {
	case nil:
		return absent
	case bool:
		return v
	default:
		k.fail("%s is %v (%T), want a bool", key, abridged(v), v)
		return absent
	}
}

func (k *keys) text(key, absent string) string {
	switch v := k.get(key).(type) {
	case nil:
		return absent
	case string:
		return v
	default:
		k.fail("%s is %v (%T), want a string", key, abridged(v), v)
		return absent
	}
}

// unread reports a key under the prefix that nobody asked for: it may change what the model computes.
func (k *keys) unread(prefix string) error {
	for _, kv := range k.f.Meta {
		if strings.HasPrefix(kv.Key, prefix) && !k.read[kv.Key] {
			return fmt.Errorf("%s is %v, a key that is not supported", kv.Key, abridged(kv.Value))
		}
	}
	return nil
}

// abridged is a value short enough for an error message.
func abridged(v any) string {
	const most = 60
	s := fmt.Sprint(v)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func integer(v any) (int, bool) {
	of := func(n int64) (int, bool) { return int(n), n >= 0 }
	switch v := v.(type) {
	case uint8:
		return int(v), true
	case int8:
		return of(int64(v))
	case uint16:
		return int(v), true
	case int16:
		return of(int64(v))
	case uint32:
		return int(v), true
	case int32:
		return of(int64(v))
	case uint64:
		return int(v), v <= math.MaxInt32
	case int64:
		return of(v)
	case []uint32:
		return equal(v)
	case []int32:
		return equal(v)
	}
	return 0, false
}

func equal[T uint32 | int32](list []T) (int, bool) {
	if len(list) == 0 || slices.ContainsFunc(list, func(v T) bool { return v != list[0] }) {
		return 0, false
	}
	return int(list[0]), list[0] >= 0
}
