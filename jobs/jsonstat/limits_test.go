package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
)

func TestNumbers(t *testing.T) {
	key(t, `{"count": 1, "types": {"number": 1}, "min": 3, "max": 3, "mean": 3}`, "3")
	key(t, `{"count": 3, "types": {"number": 3}, "min": -2, "max": 1, "mean": -0.5}`, "1", "-2", "-0.5e0")
	key(t, `{"count": 2, "types": {"number": 2}, "min": 1e-09, "max": 12345678901, "mean": 6172839450.5}`, "1e-9", "12345678901")
	key(t, `{"count": 1, "types": {"number": 1}, "min": 1e+21, "max": 1e+21, "mean": 1e+21}`, "1000000000000000000000")
}

func TestMeanIsNotLostToRoundingOrOverflow(t *testing.T) {
	key(t, `{"count": 4, "types": {"number": 4}, "min": -1e+100, "max": 1e+100, "mean": 0.5}`, "1", "1e100", "1", "-1e100")
	most := fmt.Sprint(math.MaxFloat64)
	key(t, fmt.Sprintf(`{"count": 3, "types": {"number": 3}, "min": %[1]s, "max": %[1]s, "mean": %[1]s}`, most), most, most, most)
	key(t, fmt.Sprintf(`{"count": 4, "types": {"number": 4}, "min": -%[1]s, "max": %[1]s, "mean": 0.75}`, most),
		most, "3", "0", "-"+most)
}

func TestStringsThatHoldNumbers(t *testing.T) {
	input := "{\"k\":\"1\"}\n{\"k\":\"-2.5e1\"}\n{\"k\":3}\n"
	for _, text := range []string{"", "007", "+1", "1e999", " 1", "1 ", "0x10", "1_0", "NaN", "-", "1.", "1,5", "٣"} {
		input += fmt.Sprintf("{\"k\":%q}\n", text)
	}
	reports(t, "{\n  \"objects\": 16,\n  \"keys\": {\n    \"k\": {\"count\": 16, \"types\": {\"string\": 13, \"number\": 3}, "+
		"\"min\": -25, \"max\": 3, \"mean\": -7, \"distinct_strings\": 13}\n  }\n}\n", input, "--numbers")
}

func TestDistinctStrings(t *testing.T) {
	key(t, `{"count": 4, "types": {"string": 4}, "distinct_strings": 2}`, `"a"`, `"\u0061"`, `""`, `"a"`)
	// Ill-formed UTF-8 and a lone surrogate both become U+FFFD.
	key(t, `{"count": 3, "types": {"string": 3}, "distinct_strings": 1}`, "\"\xFF\"", `"\ud800"`, `"\ufffd"`)

	var values []string
	for i := 0; i < 1000; i++ {
		values = append(values, fmt.Sprintf("\"%d\"", i), fmt.Sprintf("\"%d\"", i/2))
	}
	key(t, `{"count": 2000, "types": {"string": 2000}, "distinct_strings": 1000}`, values...)
	key(t, `{"count": 2002, "types": {"string": 2002}, "distinct_strings": "1000+"}`, append(values, `"x"`, `"0"`)...)
}

func TestTheLongestLine(t *testing.T) {
	long := "{\"k\":\"" + strings.Repeat("x", lineLimit-8) + "\"}"
	one := `{"count": 1, "types": {"string": 1}, "distinct_strings": 1}`
	key(t, one, long[5:len(long)-1])
	for _, end := range []string{"", "\n", "\n\n"} {
		reports(t, "{\n  \"objects\": 1,\n  \"keys\": {\n    \"k\": "+one+"\n  }\n}\n", long+end)
		fails(t, "error: line 2: the line is longer than 1048576 bytes", "{}\n"+long+" "+end)
	}
	// The line is rejected before its end.
	code, _, stderr := call(io.MultiReader(strings.NewReader(long+long), iotest.ErrReader(io.ErrNoProgress)))
	if code != 1 || stderr != "error: line 1: the line is longer than 1048576 bytes\n" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestTheLineIsTheSameHoweverItArrives(t *testing.T) {
	input := "{\"k\":\"" + strings.Repeat("y", 3*pieceSize) + "\"}\n{\"k\":1}\n{\"k\":[]}"
	_, want, _ := call(strings.NewReader(input))
	for _, stdin := range []io.Reader{
		iotest.OneByteReader(strings.NewReader(input)),
		iotest.HalfReader(strings.NewReader(input)),
		iotest.DataErrReader(strings.NewReader(input)),
	} {
		if code, got, stderr := call(stdin); code != 0 || got != want {
			t.Errorf("exit code %d, stderr %q:\n%s\nand not\n%s", code, stderr, got, want)
		}
	}
}

func TestNestingTakesNoStack(t *testing.T) {
	key(t, `{"count": 1, "types": {"array": 1}}`, strings.Repeat(`[{"k":`, 4000)+"0"+strings.Repeat("}]", 4000))
}

// columns returns an object with count keys, which all have the same value.
func columns(count, value int) []byte {
	var line bytes.Buffer
	for column := 0; column < count; column++ {
		fmt.Fprintf(&line, ",\"column %d\":\"%d\"", column, value)
	}
	line.WriteByte('}')
	line.Bytes()[0] = '{'
	return line.Bytes()
}

func TestTheWidestTableFits(t *testing.T) {
	table := newTable(false)
	for row := 0; row < distinctLimit; row++ {
		if err := table.add(columns(4096, row)); err != nil {
			t.Fatalf("row %d: %v", row, err)
		}
	}
	full := table.bytes
	if err := table.add(columns(4096, distinctLimit)); err != nil || table.bytes > full/10 {
		t.Errorf("%d bytes of %d are left where strings are counted no more, %v", table.bytes, full, err)
	}
}

func TestTheTableHasALimit(t *testing.T) {
	line := "{\"k%d" + strings.Repeat("k", lineLimit/2) + "\":0}\n"
	var fits, tooMany strings.Builder
	for i := 0; i <= 2*tableLimit/lineLimit; i++ {
		fmt.Fprintf(&tooMany, line, i)
		if i < 2*tableLimit/lineLimit-1 {
			fmt.Fprintf(&fits, line, i)
		}
	}
	if code, _, stderr := call(strings.NewReader(fits.String())); code != 0 {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	fails(t, "error: line 72: too many different keys and strings: the table is full at 72 keys", tooMany.String())
}

// inPieces fails if a write is larger than pieceSize.
type inPieces struct {
	t   *testing.T
	all bytes.Buffer
}

func (p *inPieces) Write(piece []byte) (int, error) {
	if len(piece) > pieceSize {
		p.t.Errorf("%d bytes at once", len(piece))
	}
	return p.all.Write(piece)
}

func TestAReportIsWrittenInPieces(t *testing.T) {
	key := strings.Repeat("\x01\"ü", lineLimit/16)
	out := &inPieces{t: t}
	var stderr bytes.Buffer
	line := fmt.Sprintf("{%s:0}", strings.ReplaceAll(fmt.Sprintf("%q", key), `\x01`, `\u0001`))
	if code := run(nil, strings.NewReader(line), out, &stderr); code != 0 {
		t.Fatalf("exit code %d, stderr %q", code, stderr.String())
	}
	if want := strings.Repeat("\\u0001\\\"ü", lineLimit/16); !strings.Contains(out.all.String(), want) {
		t.Error("the key is not in the report")
	}
}
