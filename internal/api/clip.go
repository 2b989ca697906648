package api

import (
	"slices"
	"strconv"
	"unicode/utf8"
)

// MessageBytesMax bounds an error's message, and each piece of input in it. What is wrong may be
// megabytes of one word: it must fit into an answer (one that is too large for NATS is never sent,
// and its writer never told), into a header and into a log line.
const MessageBytesMax = 1000

// Clip shortens text to about bytesMax bytes, in its middle: a message begins with the place and
// ends with the reason. Characters stay whole.
func Clip(text string, bytesMax int) string {
	if len(text) <= bytesMax {
		return text
	}
	head, tail := bytesMax/2, len(text)-bytesMax/2
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return text[:head] + " … " + text[tail:]
}

// Quote quotes input for an error, as %q does, in at most about MessageBytesMax bytes.
func Quote[T ~string | ~[]byte](input T) string {
	return Clip(strconv.Quote(clipped(input)), MessageBytesMax)
}

// clipped is Clip without a copy of all of input.
func clipped[T ~string | ~[]byte](input T) string {
	if len(input) <= MessageBytesMax {
		return string(input)
	}
	// The ends are all that Clip looks at: half of the bound at each, and a byte between them.
	const half = MessageBytesMax/2 + utf8.UTFMax
	return Clip(string(input[:half])+string(input[len(input)-half:]), MessageBytesMax)
}

// clipArgs shortens what a message is made of, before it is made: formatting would copy it.
func clipArgs(args []any) []any {
	out := slices.Clone(args)
	for i := range out {
		switch v := out[i].(type) {
		case string:
			out[i] = clipped(v)
		case []byte:
			out[i] = clipped(v)
		}
	}
	return out
}
