package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// pieces cuts a text into pieces of whole rows, for one write each. What is a row stands in rowEnds: line protocol may
// have line breaks inside of strings.
type pieces struct {
	in       *bufio.Reader
	rowsMax  int
	bytesMax int
	inString func(line []byte, open bool) bool // whether a string is open behind the line; nil: lines are rows
	line     int                               // physical lines that were read
}

// piece is some rows, and the physical line where they begin.
type piece struct {
	data  []byte
	rows  int
	first int
}

// lineBytesMax bounds a row: more than any write may have.
const lineBytesMax = 64 << 20

// next returns the next piece that has rows, io.EOF behind the last one.
func (p *pieces) next() (piece, error) {
	out := piece{first: p.line + 1}
	for open := false; open || out.rows < p.rowsMax && len(out.data) < p.bytesMax; {
		line, err := p.readLine()
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil && err != io.EOF {
			return piece{}, fmt.Errorf("line %d: %w", p.line+1, err)
		}
		p.line++
		began := !open
		if p.inString != nil {
			open = p.inString(line, open)
		}
		out.data = append(out.data, line...)
		if text := bytes.TrimSpace(line); began && len(text) > 0 && (text[0] != '#' || p.inString == nil) {
			out.rows++
		}
		if err == io.EOF {
			break
		}
	}
	if len(out.data) == 0 {
		return piece{}, io.EOF
	}
	return out, nil
}

// readLine reads a line with its end.
func (p *pieces) readLine() (line []byte, err error) {
	for {
		part, err := p.in.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > lineBytesMax {
			return nil, fmt.Errorf("it is longer than %d MB", lineBytesMax>>20)
		}
	}
}

// lineProtocolString says whether a line of line protocol leaves a string open, which was open in front of it or not.
// Quotes count in fields only: behind the first space that no backslash escapes.
func lineProtocolString(line []byte, open bool) bool {
	fields := open
	if text := bytes.TrimLeft(line, " \t"); !open && len(text) > 0 && text[0] == '#' {
		return false
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == ' ' && !fields:
			fields = true
		case c == '"' && fields:
			open = !open
		}
	}
	return open
}
