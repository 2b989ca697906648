// Package archtest keeps the house rules of the layout as tests: who may import whom, which package alone knows a
// vendor, and what a core must not touch. Every rule states its reason in the message with which it fails.
package archtest
