package main

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// stats has the statistics of the values of one key.
type stats struct {
	strings, numbers, bools, nulls, objects, arrays int

	min, max float64 // of the numbers, if there are any
	total    total
	distinct distinct
	last     int // the number of the last object with the key, from 1
}

// add adds a value. For an object or array, value is its first token.
func (s *stats) add(value json.Token, parseNumbers bool) error {
	switch value := value.(type) {
	case nil:
		s.nulls++
	case bool:
		s.bools++
	case string:
		if parseNumbers {
			if number, isNumber := numberIn(value); isNumber {
				s.addNumber(number)
				return nil
			}
		}
		s.strings++
		s.distinct.add(value)
	case json.Number:
		number, err := value.Float64()
		if err != nil {
			return errors.New("the number is too large for 64-bit floating point")
		}
		s.addNumber(number)
	case json.Delim:
		if value == '{' {
			s.objects++
		} else {
			s.arrays++
		}
	}
	return nil
}

func (s *stats) addNumber(number float64) {
	if s.numbers == 0 {
		s.min, s.max = number, number
	}
	s.min, s.max = min(s.min, number), max(s.max, number)
	s.numbers++
	s.total.add(number)
}

func (s *stats) count() int {
	return s.strings + s.numbers + s.bools + s.nulls + s.objects + s.arrays
}

// mean returns the mean of the numbers, of which there must be at least one. It stays within their range despite rounding.
func (s *stats) mean() float64 {
	return max(s.min, min(s.max, s.total.mean(s.numbers)))
}

// numberIn parses the text as a JSON number. "007", "+1" and "1e999" are not JSON numbers.
func numberIn(text string) (float64, bool) {
	if text == "" || text[0] != '-' && (text[0] < '0' || text[0] > '9') || !json.Valid([]byte(text)) {
		return 0, false
	}
	number, err := strconv.ParseFloat(text, 64)
	return number, err == nil
}

// total is a compensated sum (Neumaier's algorithm), which loses almost nothing to rounding and does not overflow.
type total struct {
	sum, lost         float64
	hugeSum, hugeLost float64 // of numbers of at least huge, scaled down
}

const (
	huge  = 0x1p900
	scale = 0x1p-100 // a power of two, so that scaling is exact
)

func (t *total) add(number float64) {
	if math.Abs(number) < huge {
		addTo(&t.sum, &t.lost, number)
	} else {
		addTo(&t.hugeSum, &t.hugeLost, number*scale)
	}
}

// addTo adds the number to sum, and the rounding error to lost.
func addTo(sum, lost *float64, number float64) {
	next := *sum + number
	if math.Abs(*sum) >= math.Abs(number) {
		*lost += (*sum - next) + number
	} else {
		*lost += (number - next) + *sum
	}
	*sum = next
}

func (t *total) mean(count int) float64 {
	return (t.hugeSum+t.hugeLost)/float64(count)/scale + (t.sum+t.lost)/float64(count)
}
