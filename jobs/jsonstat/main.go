// A job that reads NDJSON on stdin, one object a line, and writes to stdout, as one JSON object, what is to know of each key: how
// many objects have it, with values of which types, the least, greatest and mean number, and how many different strings.
//
// Only the objects' own keys are looked at, not those of objects within them. An object that has a key twice is an error. Empty
// lines are skipped, a byte order mark too. With --numbers, a string that holds a JSON number counts as that number: so columns of
// numbers are found in what csv2json made, where all values are strings.
//
// Stdin is streamed, and memory is bounded: a line that is too long and a table that is full are errors. After an error nothing is
// on stdout: the statistics of half the input would look like those of the whole.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// A host may copy no more than this at once, and refuse what is larger.
const pieceSize = 64 << 10

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run returns the exit code: 1 for input that cannot be read, 2 for wrong usage.
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

// read takes every line into the table. Its error says in which line it stopped.
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
