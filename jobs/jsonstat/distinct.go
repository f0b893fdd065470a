package main

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
)

// distinctLimit is the largest number of different strings to count exactly.
const distinctLimit = 1000

// seed is the seed of all string hashes.
var seed = maphash.MakeSeed()

// distinct counts different strings. It keeps only their 64-bit hashes. The probability that two of 1000 strings have the same hash
// is about 1 in 37 trillion.
type distinct struct {
	hashes []uint64 // sorted
	isMore bool     // there were more than distinctLimit; hashes is nil
}

func (d *distinct) add(text string) {
	if d.isMore {
		return
	}
	hash := maphash.String(seed, text)
	at, isKnown := slices.BinarySearch(d.hashes, hash)
	switch {
	case isKnown:
	case len(d.hashes) == distinctLimit:
		d.hashes, d.isMore = nil, true
	default:
		if len(d.hashes) == cap(d.hashes) {
			// Doubles the capacity explicitly, so that bytes reports the real memory. The last step, 1024, exceeds the limit.
			d.hashes = append(make([]uint64, 0, max(8, 2*cap(d.hashes))), d.hashes...)
		}
		d.hashes = slices.Insert(d.hashes, at, hash)
	}
}

// bytes returns the memory of the hashes in bytes.
func (d *distinct) bytes() int { return 8 * cap(d.hashes) }

// count returns the number of different strings as JSON: a number, or a string if there were more than the limit.
func (d *distinct) count() string {
	if d.isMore {
		return fmt.Sprintf(`"%d+"`, distinctLimit)
	}
	return strconv.Itoa(len(d.hashes))
}
