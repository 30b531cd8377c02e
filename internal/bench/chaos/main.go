// Command chaos puts the results of a chaos soak into the documentation: from JSON
// lines, as healer chaos soak -o json prints them, the tables and the plots.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"healer/chaos/report"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	docs := flags.String("docs", "", "the document whose tables are rewritten; empty: they are printed")
	svg := flags.String("svg", "", "where the plots are written; empty: nowhere")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var all []report.Result
	for _, path := range flags.Args() {
		got, err := read(path)
		if err != nil {
			return err
		}
		all = append(all, got...)
	}
	if len(all) == 0 {
		return errors.New("no results: name files of JSON lines, as healer chaos soak -o json prints them")
	}
	if *svg != "" {
		if err := os.WriteFile(*svg, report.SVG(all), 0o600); err != nil {
			return err
		}
	}
	if *docs == "" {
		_, err := io.WriteString(out, report.Markdown(all))
		return err
	}
	return report.Rewrite(*docs, all)
}

func read(path string) ([]report.Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	all, err := report.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}
