package main

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
)

// More different strings are not counted, but said to be more.
const distinctLimit = 1000

// Hashes of strings, of one seed.
var seed = maphash.MakeSeed()

// distinct counts how many different strings there were. It keeps only their hashes, of 64 bits: two of 1000 strings have the same
// one in about 1 of 37 million million cases.
type distinct struct {
	hashes []uint64 // in order
	isMore bool     // there were more than distinctLimit, and hashes was let go
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
			// By doubling, so that memory is what bytes says. One step holds the limit: 1024.
			d.hashes = append(make([]uint64, 0, max(8, 2*cap(d.hashes))), d.hashes...)
		}
		d.hashes = slices.Insert(d.hashes, at, hash)
	}
}

// bytes is the memory of the hashes.
func (d *distinct) bytes() int { return 8 * cap(d.hashes) }

// count is the number of different strings as JSON: a text where there were more than are counted.
func (d *distinct) count() string {
	if d.isMore {
		return fmt.Sprintf(`"%d+"`, distinctLimit)
	}
	return strconv.Itoa(len(d.hashes))
}
