package dist

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever arrives is a frame that reads back as it was written, or an error; and no more memory than arrived is taken for it.
func FuzzFrame(f *testing.F) {
	var b bytes.Buffer
	for _, g := range []frame{
		{kind: data, call: 7, what: "gradients", body: []byte{1, 2, 3}}, {kind: bye}, {kind: abort, call: 1 << 60, body: make([]byte, 100)},
	} {
		require.NoError(f, writeFrame(&b, g))
		f.Add(bytes.Clone(b.Bytes()))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(append([]byte{byte(data), 4, 0, 255, 255, 255, 127}, make([]byte, 40)...)) // says 2 GiB
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bytes.NewReader(text)
		for {
			before := r.Len()
			g, err := readFrame(r)
			if err != nil {
				if err == io.EOF {
					require.Zero(t, before, "an end within a frame")
				} else {
					require.True(t, errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errFrame), err)
				}
				return
			}
			require.LessOrEqual(t, cap(g.body), 4*len(text)+1<<20)
			var again bytes.Buffer
			require.NoError(t, writeFrame(&again, g))
			require.Equal(t, text[len(text)-before:len(text)-r.Len()], again.Bytes())
		}
	})
}
