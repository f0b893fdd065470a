// A job that reads NDJSON on stdin, one object per line, and writes statistics of each key to stdout, as one JSON object: how many
// objects have the key, the types of its values, the minimum, maximum and mean of its numbers, and the number of different strings.
//
// It considers only the keys of the objects themselves, not those of nested objects. An object with a duplicate key is an error. Empty
// lines and a byte order mark are skipped. With --numbers, a string that contains a JSON number counts as a number. This finds numeric
// columns in the output of csv2json, where all values are strings.
//
// Stdin is streamed and memory is bounded: a line that is too long and a full table are errors. After an error, stdout is empty, because
// statistics of a part of the input would look like statistics of all of it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// pieceSize is the maximum number of bytes per host call. A host may limit how much it copies at once, and reject more.
const pieceSize = 64 << 10

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the job and returns its exit code: 1 for invalid input, 2 for wrong usage.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	parseNumbers := false
	for _, arg := range args {
		if arg != "--numbers" {
			fmt.Fprintf(stderr, "error: unknown argument %q\n", arg)
			return 2
		}
		parseNumbers = true
	}

	table := newTable(parseNumbers)
	if err := read(stdin, table); err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 1
	}
	if err := table.report(stdout); err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 1
	}
	return 0
}

// read adds every line to the table. An error contains the number of the line.
func read(stdin io.Reader, table *table) error {
	lines := newLines(stdin)
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = table.add(line)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", lines.number, err)
		}
	}
}
