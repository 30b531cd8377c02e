package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	// File, Line and Column say where, counted from 1; Line is 0 when the
	// problem has no place in the file, as when it cannot be read.
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Field is the path of the field, such as nodes[1].gossip; empty for the
	// file as a whole.
	Field string `json:"field"`
	// Message says what is wrong, with the offending value.
	Message string `json:"message"`
	// Remedy says what to write instead.
	Remedy string `json:"remedy"`
	// Source is the line itself, with anything secret in it hidden.
	Source string `json:"source,omitempty"`
}

// String renders the problem as a compiler would.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message + "\n")
	if p.Source != "" {
		margin := fmt.Sprintf("%5d", p.Line)
		fmt.Fprintf(&b, "%s | %s\n", margin, p.Source)
		fmt.Fprintf(&b, "%s | %s^\n", strings.Repeat(" ", len(margin)), strings.Repeat(" ", p.Column-1))
	}
	b.WriteString("      fix: " + p.Remedy)
	return b.String()
}

// Error is everything that is wrong with a file, in the order of the file.
type Error struct {
	Problems []Problem
}

// Error implements error: all problems, and how many there are.
func (e *Error) Error() string {
	texts := make([]string, 0, len(e.Problems)+1)
	for _, p := range e.Problems {
		texts = append(texts, p.String())
	}
	if n := len(e.Problems); n > 1 {
		texts = append(texts, fmt.Sprintf("%d problems", n))
	}
	return strings.Join(texts, "\n")
}

func sortProblems(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// secrets finds what a line of the file must not show: the value of dsn, and
// what looks like a password in a line that continues one. It works on text and
// not on the parsed value because a file that does not parse has secrets too.
func secrets() []*regexp.Regexp {
	return []*regexp.Regexp{
		regexp.MustCompile(`\bdsn["']?\s*:\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^"'\s].*|["'].*)`),
		regexp.MustCompile(`://([^@\s]*)@`),
		regexp.MustCompile(`(?i)password\s*=\s*('(?:[^'\\]|\\.)*'?|[^\s"]*)`),
	}
}

// hide replaces the secrets of a line by stars, one for one, so that columns
// still point where they did.
func hide(line string) string {
	for _, re := range secrets() {
		var b strings.Builder
		last := 0
		for _, m := range re.FindAllStringSubmatchIndex(line, -1) {
			b.WriteString(line[last:m[2]])
			b.WriteString(strings.Repeat("*", len([]rune(line[m[2]:m[3]]))))
			last = m[3]
		}
		b.WriteString(line[last:])
		line = b.String()
	}
	return line
}
