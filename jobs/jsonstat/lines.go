package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lineLimit is the maximum length of a line in bytes, without its line break.
const lineLimit = 1 << 20

// lines splits a stream into lines.
type lines struct {
	from   *bufio.Reader
	number int    // the number of the last line read, from 1
	long   []byte // the part read so far of a line that does not fit into the buffer of from
}

func newLines(from io.Reader) *lines {
	return &lines{from: bufio.NewReaderSize(from, pieceSize)}
}

// next returns the next line without its LF, and io.EOF after the last line. The last line may have no LF. The line is valid until the
// next call.
func (l *lines) next() ([]byte, error) {
	l.number++
	l.long = l.long[:0]
	for {
		piece, err := l.from.ReadSlice('\n')
		if err == nil {
			piece = piece[:len(piece)-1]
		}
		if len(l.long)+len(piece) > lineLimit {
			return nil, fmt.Errorf("the line is longer than %d bytes", lineLimit)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			l.long = append(l.long, piece...)
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case err != nil && len(l.long)+len(piece) == 0:
			return nil, io.EOF
		}
		if len(l.long) > 0 {
			l.long = append(l.long, piece...)
			piece = l.long
		}
		if l.number == 1 {
			piece = bytes.TrimPrefix(piece, []byte("\xEF\xBB\xBF"))
		}
		return piece, nil
	}
}
