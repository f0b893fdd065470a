package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// call runs the job.
func call(stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(args, stdin, &out, &err)
	return code, out.String(), err.String()
}

// reports checks the complete report for this input.
func reports(t *testing.T, want, input string, args ...string) {
	t.Helper()
	code, stdout, stderr := call(strings.NewReader(input), args...)
	if code != 0 || stderr != "" {
		t.Fatalf("%.100q: exit code %d, stderr %q", input, code, stderr)
	}
	if stdout != want {
		t.Errorf("%.100q:\n%s\nand not\n%s", input, stdout, want)
	}
}

// key checks the report for the values of one key, each on its own line.
func key(t *testing.T, want string, values ...string) {
	t.Helper()
	var input strings.Builder
	for _, value := range values {
		fmt.Fprintf(&input, "{\"k\":%s}\n", value)
	}
	reports(t, fmt.Sprintf("{\n  \"objects\": %d,\n  \"keys\": {\n    \"k\": %s\n  }\n}\n", len(values), want), input.String())
}

// fails checks that the job rejects the input, with an empty stdout and want as the only line of stderr. If want ends in "…", the rest of
// the line comes from the standard library and depends on its version.
func fails(t *testing.T, want, input string) {
	t.Helper()
	code, stdout, stderr := call(strings.NewReader(input))
	begin, isBegin := strings.CutSuffix(want, "…")
	line, hasLine := strings.CutSuffix(stderr, "\n")
	isRight := line == want || isBegin && strings.HasPrefix(line, begin) && len(line) > len(begin)
	if code != 1 || stdout != "" || !isRight || !hasLine || strings.Contains(line, "\n") {
		t.Errorf("%.100q: exit code %d, stdout %q, stderr %q and not %q", input, code, stdout, stderr, want)
	}
}

func TestReportsOnFiles(t *testing.T) {
	for _, test := range []struct{ input, want, arg string }{
		{"mixed.ndjson", "mixed.json", ""},
		{"cities.ndjson", "cities.json", "--numbers"},
	} {
		input, err := os.ReadFile(filepath.Join("testdata", test.input))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", test.want))
		if err != nil {
			t.Fatal(err)
		}
		reports(t, string(want), string(input), strings.Fields(test.arg)...)
	}
}

func TestNothingIsAnEmptyReport(t *testing.T) {
	for _, input := range []string{"", "\n", " \t\r\n\n", "\xEF\xBB\xBF"} {
		reports(t, "{\n  \"objects\": 0,\n  \"keys\": {}\n}\n", input)
	}
}

func TestLineBreaksAndByteOrderMark(t *testing.T) {
	want := "{\n  \"objects\": 2,\n  \"keys\": {\n    \"a\": {\"count\": 2, \"types\": {\"null\": 2}}\n  }\n}\n"
	for _, input := range []string{"{\"a\":null}\n{\"a\":null}", "\xEF\xBB\xBF{\"a\":null}\r\n\r\n {\"a\" : null} \r\n"} {
		reports(t, want, input)
	}
}

func TestKeysAreInOrder(t *testing.T) {
	_, one, _ := call(strings.NewReader("{\"b\":1,\"ä\":1,\"a\":1,\"B\":1,\"\":1}\n"))
	_, other, _ := call(strings.NewReader("{\"a\":1}\n{\"ä\":1,\"\":1,\"b\":1,\"B\":1}\n"))
	if strings.ReplaceAll(one, `"objects": 1`, `"objects": 2`) != other {
		t.Errorf("%s\n%s", one, other)
	}
	last := -1
	for _, key := range []string{`""`, `"B"`, `"a"`, `"b"`, `"ä"`} {
		at := strings.Index(one, "\n    "+key+": {")
		if at <= last {
			t.Errorf("%s is at %d in %s", key, at, one)
		}
		last = at
	}
}

func TestMalformedInput(t *testing.T) {
	for _, text := range []string{
		`{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":[1,{"b":"`, `{"a":"x`, `{"a":[`,
	} {
		fails(t, "error: line 2: malformed JSON: the line ends within the object", "{}\n"+text+"\n{}\n")
	}
	for _, text := range []string{
		`nope`, `{a:1}`, `{"a":1,}`, `{,}`, `{"a" 1}`, `{"a":}`, `{1:2}`, `{"a":01}`, `{"a":+1}`, `{"a":.5}`, `{"a":"\x"}`,
		`{"a":[1,]}`, `{"a":{"b"}}`, `{"a":[}`, `{"a":nul1}`, `}`, "{\"a\":\"\x01\"}", `{"a":1 "b":2}`, `{[]:1}`,
	} {
		fails(t, "error: line 3: malformed JSON: …", "{}\n\n"+text+"\n")
	}
	for _, text := range []string{`{} {}`, `{}x`, `{}}`, `{},`} {
		fails(t, "error: line 1: malformed JSON: the line goes on after the object", text)
	}
	for _, text := range []string{`[1]`, `"a"`, `1`, `true`, `null`} {
		fails(t, "error: line 1: the line is JSON, but not an object", text)
	}
	fails(t, `error: line 1: the key "a" is there twice`, `{"a":1,"b":2,"\u0061":3}`)
	fails(t, `error: line 2: key "n": the number is too large for 64-bit floating point`, "{\"n\":1e308}\n{\"n\":1e309}\n")
}

func TestUnknownArguments(t *testing.T) {
	for _, args := range [][]string{{"--colour"}, {"--numbers", "in.ndjson"}, {""}, {"-numbers"}} {
		code, stdout, stderr := call(strings.NewReader("{}\n"), args...)
		want := fmt.Sprintf("error: unknown argument %q\n", args[len(args)-1])
		if code != 2 || stdout != "" || stderr != want {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

func TestStreamsThatFail(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("{}\n{}\n"), iotest.ErrReader(errors.New("the wire was cut")))
	code, stdout, stderr := call(broken)
	if code != 1 || stdout != "" || stderr != "error: line 3: the wire was cut\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}

	var said bytes.Buffer
	closed, writer := io.Pipe()
	closed.Close()
	code = run(nil, strings.NewReader("{}\n"), writer, &said)
	if code != 1 || said.String() != "error: "+io.ErrClosedPipe.Error()+"\n" {
		t.Errorf("exit code %d, stderr %q", code, said.String())
	}
}
