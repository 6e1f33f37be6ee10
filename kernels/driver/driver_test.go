package driver

import (
	"strings"
	"testing"
)

func spec() TensorMapSpec {
	return TensorMapSpec{ElemBytes: 2, Base: 0x1000, Dims: []uint64{128, 50}, Strides: []uint64{256},
		Box: []uint32{64, 64}, Swizzle: Swizzle128}
}

func TestTensorMapSaysWhatIsWrong(t *testing.T) {
	if err := spec().Check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		edit func(*TensorMapSpec)
	}{
		{"elements of 3 bytes", func(s *TensorMapSpec) { s.ElemBytes = 3 }},
		{"base 0x1008", func(s *TensorMapSpec) { s.Base += 8 }},
		{"2 dimensions, 0 strides", func(s *TensorMapSpec) { s.Strides = nil }},
		{"stride 250", func(s *TensorMapSpec) { s.Strides[0] = 250 }},
		{"box of 257", func(s *TensorMapSpec) { s.Box[1] = 257 }},
		{"dimension 1 is empty", func(s *TensorMapSpec) { s.Dims[1] = 0 }},
		{"inner box of 144 bytes is wider", func(s *TensorMapSpec) { s.Box[0] = 72 }},
		{"inner box of 12 bytes", func(s *TensorMapSpec) { s.Box[0] = 6 }},
	} {
		s := spec()
		c.edit(&s)
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestErrMemoryNamesTheBudget(t *testing.T) {
	err := &ErrMemory{Asked: 3 << 20, Free: 1 << 20, Total: 8 << 20}
	for _, want := range []string{"3.0 MiB", "1.0 MiB of 8.0 MiB"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
}
