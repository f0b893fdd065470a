package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A line has at most this many bytes, its line break not counted.
const lineLimit = 1 << 20

// lines takes a stream apart into lines.
type lines struct {
	from   *bufio.Reader
	number int    // of the line that was read last, from 1
	long   []byte // what was read of a line that does not fit in the buffer of from
}

func newLines(from io.Reader) *lines {
	return &lines{from: bufio.NewReaderSize(from, pieceSize)}
}

// next returns the next line without its LF, and io.EOF after the last one, which may lack it. The line is valid until the next call.
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
