package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// report writes the statistics as JSON, one key per line, sorted by bytes.
//
// It does not use the encoder of the standard library, which would double the size of the program, and so the time to compile it when it is
// pushed.
func (t *table) report(to io.Writer) error {
	keys := make([]string, 0, len(t.keys))
	for key := range t.keys {
		keys = append(keys, key)
	}
	slices.Sort(keys)

	// The writer stores its first error, and Flush returns it.
	out := bufio.NewWriterSize(pieces{to}, pieceSize)
	fmt.Fprintf(out, "{\n  \"objects\": %d,\n  \"keys\": {", t.objects)
	for at, key := range keys {
		if at > 0 {
			out.WriteByte(',')
		}
		out.WriteString("\n    ")
		quote(out, key)
		out.WriteString(": ")
		t.keys[key].report(out)
	}
	if len(keys) > 0 {
		out.WriteString("\n  ")
	}
	out.WriteString("}\n}\n")
	return out.Flush()
}

// report writes one object. It omits minimum, maximum and mean if there are no numbers.
func (s *stats) report(out *bufio.Writer) {
	fmt.Fprintf(out, `{"count": %d, "types": {`, s.count())
	separator := ""
	for _, kind := range []struct {
		name  string
		count int
	}{
		{"string", s.strings}, {"number", s.numbers}, {"bool", s.bools},
		{"null", s.nulls}, {"object", s.objects}, {"array", s.arrays},
	} {
		if kind.count > 0 {
			fmt.Fprintf(out, `%s"%s": %d`, separator, kind.name, kind.count)
			separator = ", "
		}
	}
	out.WriteByte('}')
	if s.numbers > 0 {
		fmt.Fprintf(out, `, "min": %s, "max": %s, "mean": %s`, number(s.min), number(s.max), number(s.mean()))
	}
	if s.strings > 0 {
		fmt.Fprintf(out, `, "distinct_strings": %s`, s.distinct.count())
	}
	out.WriteByte('}')
}

// quote writes a JSON string. The text is valid UTF-8, because it comes from a decoder.
func quote(out *bufio.Writer, text string) {
	out.WriteByte('"')
	for _, char := range text {
		switch {
		case char == '"' || char == '\\':
			out.WriteByte('\\')
			out.WriteByte(byte(char))
		case char < ' ':
			fmt.Fprintf(out, `\u%04x`, char)
		default:
			out.WriteRune(char)
		}
	}
	out.WriteByte('"')
}

// number formats a number, without an exponent if that is readable.
func number(value float64) string {
	format := byte('f')
	if abs := math.Abs(value); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.FormatFloat(value, format, -1, 64)
}

// pieces splits writes into pieces of at most pieceSize.
type pieces struct{ to io.Writer }

func (p pieces) Write(all []byte) (int, error) {
	done := 0
	for done < len(all) {
		written, err := p.to.Write(all[done:min(done+pieceSize, len(all))])
		done += written
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
