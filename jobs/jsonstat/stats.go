package main

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
)

// stats is what is known of the values of one key.
type stats struct {
	strings, numbers, bools, nulls, objects, arrays int

	min, max float64 // of the numbers, if there were any
	total    total
	distinct distinct
	last     int // the number of the object that had the key last, from 1
}

// add takes a value, of an object or array its first token.
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

// mean is that of the numbers; there must be one. Rounding does not carry it out of their range.
func (s *stats) mean() float64 {
	return max(s.min, min(s.max, s.total.mean(s.numbers)))
}

// numberIn tells whether the text is a number as JSON writes it: "007", "+1" and "1e999" are none.
func numberIn(text string) (float64, bool) {
	if text == "" || text[0] != '-' && (text[0] < '0' || text[0] > '9') || !json.Valid([]byte(text)) {
		return 0, false
	}
	number, err := strconv.ParseFloat(text, 64)
	return number, err == nil
}

// total is a sum that loses next to nothing to rounding (Neumaier's), and does not overflow.
type total struct {
	sum, lost         float64
	hugeSum, hugeLost float64 // of numbers from huge on, scaled down
}

const (
	huge  = 0x1p900
	scale = 0x1p-100 // a power of two: scaling rounds nothing
)

func (t *total) add(number float64) {
	if math.Abs(number) < huge {
		addTo(&t.sum, &t.lost, number)
	} else {
		addTo(&t.hugeSum, &t.hugeLost, number*scale)
	}
}

// addTo adds the number to the sum, and what that lost to rounding to lost.
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
