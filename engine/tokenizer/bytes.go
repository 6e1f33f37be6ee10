package tokenizer

import "fmt"

// The byte alphabet of GPT-2: a vocabulary file spells each byte as one printable character, so that it is legible JSON. The 188 bytes
// that are printable in Latin-1 stand for themselves, the others, in ascending order, are U+0100, U+0101, ….
var byteOf = func() map[rune]byte {
	m := make(map[rune]byte, 256)
	next := rune(0x100)
	for b := range rune(256) {
		if '!' <= b && b <= '~' || '¡' <= b && b <= '¬' || '®' <= b && b <= 'ÿ' {
			m[b] = byte(b)
			continue
		}
		m[next] = byte(b)
		next++
	}
	return m
}()

// spelledBytes returns the bytes that a vocabulary entry spells.
func spelledBytes(entry string) ([]byte, error) {
	b := make([]byte, 0, len(entry))
	for _, r := range entry {
		c, ok := byteOf[r]
		if !ok {
			return nil, fmt.Errorf("%q holds %q, which is not in the byte alphabet", entry, r)
		}
		b = append(b, c)
	}
	return b, nil
}
