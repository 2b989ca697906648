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

// confirm asks whoever typed the command, after saying what it does. Without an answer, as in a script, it is not meant.
func (f confirmFlag) confirm(p *process, what string) error {
	if f.Yes {
		return nil
	}
	fmt.Fprintf(p.stderr, "%s Go on? [y/N] ", what)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "y" || answer == "yes" {
		return nil
	}
	if err != nil {
		fmt.Fprintln(p.stderr)
		return errors.New("nothing was changed: nobody answered; --yes is the answer of a script")
	}
	return errors.New("nothing was changed")
}
