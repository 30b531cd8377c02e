package config

import (
	"cmp"
	"fmt"
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
