package engine

// A wave is the sequences that advance together where all that are ready have more keys and values than the processor's cache holds. A
// decode step reads those of each sequence once: a few sequences find them in the cache, step after step, where many fetch them from memory
// each time. The weights are read more often for it, so it pays only where they are small beside what a wave has of keys and values.
//
// What a sequence draws does not depend on who advances with it, so neither does any result; which sequences wait is a matter of time
// alone: the oldest go on until they end or call a tool, and the next take their places.
type wave struct {
	room  int // bytes for keys and values in the cache; 0: everything that is ready advances
	token int // bytes of one token's
	least int // sequences that are worth waiting for: all advance where fewer have room
}

const (
	cacheShare = 3 // the part of the cache that a wave and the weights count on: others use it too, on a rented machine strangers
	leastWave  = 8 // sequences: for fewer a product takes as long as for so many
)

// newWave is what a machine with so much cache does for a model, all in bytes.
func newWave(cache, weights, token int) wave {
	room := cache/cacheShare - weights
	if room < weights {
		return wave{}
	}
	return wave{room, token, leastWave}
}

// of is how many of the sequences that are ready may advance at once: the oldest, as many as have room; all where that is too few to wait
// for.
func (w wave) of(live []*sequence) int {
	if w.room == 0 {
		return len(live)
	}
	n, left := 0, w.room
	for _, q := range live {
		if q.state != ready {
			continue
		}
		if left -= len(q.ids) * w.token; left < 0 {
			if n < w.least {
				break
			}
			return n
		}
		n++
	}
	return len(live)
}
