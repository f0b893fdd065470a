package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	// The maximum size of the table in bytes. It keeps the job within its memory limit. A CSV of 4096 columns, the maximum of csv2json, fits
	// with any strings.
	tableLimit = 36 << 20
	// The memory of a key in addition to its own bytes: its statistics, and its share of the growing map.
	keyBytes = 384
)

// table has the statistics of all keys.
type table struct {
	objects      int
	keys         map[string]*stats
	bytes        int  // estimated memory of the keys and the different strings, for tableLimit
	parseNumbers bool // whether strings that contain a number count as numbers
}

func newTable(parseNumbers bool) *table {
	return &table{keys: map[string]*stats{}, parseNumbers: parseNumbers}
}

// add adds a line, which is an object or only white space. It reads tokens instead of values, so that nested objects do not need a deep
// stack.
func (t *table) add(line []byte) error {
	text := bytes.Trim(line, " \t\r")
	if len(text) == 0 {
		return nil
	}
	tokens := json.NewDecoder(bytes.NewReader(text))
	tokens.UseNumber()
	token, err := tokens.Token()
	if err != nil {
		return malformed(err)
	}
	if token != json.Delim('{') {
		return errors.New("the line is JSON, but not an object")
	}
	t.objects++
	if err := t.addMembers(tokens); err != nil {
		return err
	}
	if _, err := tokens.Token(); !errors.Is(err, io.EOF) {
		return errors.New("malformed JSON: the line goes on after the object")
	}
	return nil
}

func (t *table) addMembers(tokens *json.Decoder) error {
	for {
		token, err := tokens.Token()
		if err != nil {
			return malformed(err)
		}
		key, isKey := token.(string)
		if !isKey {
			return nil // the brace that closes the object: the decoder rejects anything else
		}
		value, err := tokens.Token()
		if err != nil {
			return malformed(err)
		}
		if err := t.addMember(key, value); err != nil {
			return err
		}
		if _, isOpen := value.(json.Delim); isOpen {
			if err := skip(tokens); err != nil {
				return malformed(err)
			}
		}
	}
}

// addMember adds a key and its value. For an object or array, value is its first token.
func (t *table) addMember(key string, value json.Token) error {
	found := t.keys[key]
	if found == nil {
		found = &stats{}
		t.keys[key] = found
		t.bytes += keyBytes + len(key)
	}
	if found.last == t.objects {
		return fmt.Errorf("the key %.80q is there twice", key)
	}
	found.last = t.objects
	before := found.distinct.bytes()
	if err := found.add(value, t.parseNumbers); err != nil {
		return fmt.Errorf("key %.80q: %w", key, err)
	}
	t.bytes += found.distinct.bytes() - before
	if t.bytes > tableLimit {
		return fmt.Errorf("too many different keys and strings: the table is full at %d keys", len(t.keys))
	}
	return nil
}

// skip reads to the end of the object or array that was just opened.
func skip(tokens *json.Decoder) error {
	for depth := 1; depth > 0; {
		token, err := tokens.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

func malformed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("malformed JSON: the line ends within the object")
	}
	return fmt.Errorf("malformed JSON: %w", err)
}
