package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// confirmFlag is for commands that take something away for good.
type confirmFlag struct {
	Yes bool `help:"Do not ask whether it is meant." env:"-"`
}

// confirm asks whoever typed the command to type a word, after saying what it does. Without an answer, as in a script, it
// is not meant.
func (f confirmFlag) confirm(p *process, what, word string) error {
	if f.Yes {
		return nil
	}
	fmt.Fprintf(p.stderr, "%s Type %s to go on: ", what, word)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	switch {
	case strings.TrimSpace(answer) == word:
		return nil
	case err != nil:
		fmt.Fprintln(p.stderr)
		return errors.New("nothing was changed: nobody answered; --yes is the answer of a script")
	}
	return errors.New("nothing was changed")
}
