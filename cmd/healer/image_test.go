package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// accepts reports what the program says against a command line, without running it: that
// it asks for help ends it once its flags were read.
func accepts(t *testing.T, args []string) string {
	t.Helper()
	app := newApp()
	var say bytes.Buffer
	app.Stdout, app.Stderr = io.Discard, &say
	if len(args) == 0 || app.Run(t.Context(), []string{args[0], "--help"}) != 0 {
		return "there is no such command"
	}
	if code := app.Run(t.Context(), append(slices.Clone(args), "--help")); code != 0 {
		return say.String()
	}
	return ""
}

// instruction is one of a Dockerfile, in the stage that it belongs to.
type instruction struct{ stage, word, rest string }

// dockerfile takes the image's file apart.
func dockerfile(t *testing.T) []instruction {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/container/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(raw), "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, " ")
	var out []instruction
	stage := ""
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "":
			continue
		case "FROM":
			fields := strings.Fields(rest)
			stage = fields[len(fields)-1]
		case "WORKDIR", "COPY", "ARG", "RUN", "USER", "EXPOSE", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD", "HEALTHCHECK":
		default:
			t.Errorf("%s: there is no instruction %s", line, word)
		}
		out = append(out, instruction{stage, word, rest})
	}
	return out
}

// array reads the form of an instruction that needs no shell.
func array(t *testing.T, rest string) []string {
	t.Helper()
	var words []string
	if err := json.Unmarshal([]byte(rest), &words); err != nil {
		t.Fatalf("%s is not an array of words: an image without a shell runs nothing else", rest)
	}
	return words
}

// TestImage: the image is built of what is there, the way the packages are, and what it
// runs is a command of the program, as nobody and without a shell.
func TestImage(t *testing.T) {
	last := map[string]string{}
	stages := map[string]bool{}
	for _, i := range dockerfile(t) {
		switch i.word {
		case "FROM":
			stages[i.stage] = true
		case "COPY":
			checkCopy(t, stages, i)
		}
		if i.stage == "scratch" {
			last[i.word] = i.rest
		} else if i.word == "RUN" && strings.Contains(i.rest, "go build") {
			checkBuild(t, i.rest)
		}
	}
	if !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(last["USER"]) {
		t.Errorf("USER %s: it has to be the number of somebody who is not root", last["USER"])
	}
	if got := array(t, last["ENTRYPOINT"]); len(got) != 1 || path.Base(got[0]) != "healer" {
		t.Errorf("ENTRYPOINT %q", got)
	}
	if said := accepts(t, array(t, last["CMD"])); said != "" {
		t.Errorf("CMD %s: %s", last["CMD"], said)
	}
	_, check, _ := strings.Cut(last["HEALTHCHECK"], "CMD ")
	if run := array(t, check); run[0] != array(t, last["ENTRYPOINT"])[0] || accepts(t, run[1:]) != "" {
		t.Errorf("HEALTHCHECK %q: %s", run, accepts(t, run[1:]))
	}
	if dir := array(t, last["VOLUME"]); !slices.Contains(array(t, last["CMD"]), dir[0]) {
		t.Errorf("VOLUME %q is not where the agent keeps its data", dir)
	}
	for _, word := range []string{"USER", "ENTRYPOINT", "CMD", "HEALTHCHECK", "VOLUME", "EXPOSE"} {
		if last[word] == "" {
			t.Errorf("the image has no %s", word)
		}
	}
	if last["RUN"] != "" {
		t.Errorf("nothing runs in an image of nothing: RUN %s", last["RUN"])
	}
}

// checkCopy: what is copied is in the repository, or comes from an earlier stage.
func checkCopy(t *testing.T, stages map[string]bool, i instruction) {
	t.Helper()
	words := strings.Fields(i.rest)
	if from, is := strings.CutPrefix(words[0], "--from="); is {
		if !stages[from] || from == i.stage {
			t.Errorf("COPY %s: there is no such stage before it", i.rest)
		}
		return
	}
	for _, file := range words[:len(words)-1] {
		if _, err := os.Stat(filepath.Join("../..", file)); err != nil {
			t.Errorf("COPY %s: %v", i.rest, err)
		}
	}
}

// checkBuild compares how the image is built with how the packages are.
func checkBuild(t *testing.T, run string) {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/package/dist.sh")
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`-trimpath|-buildvcs=\w+|-ldflags "[^"]*"`)
	var packaged []string
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "GOOS=linux go build") {
			packaged = flags.FindAllString(line, -1)
		}
	}
	if got := flags.FindAllString(run, -1); !slices.Equal(got, packaged) || !strings.Contains(run, "CGO_ENABLED=0") {
		t.Errorf("the image is built with %q, the packages with %q", got, packaged)
	}
}

// TestImageContext: nothing that the program is built of is kept from the build.
func TestImageContext(t *testing.T) {
	raw, err := os.ReadFile("../../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	ignored := []string{}
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			ignored = append(ignored, line)
		}
	}
	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		`{{$p := .}}{{if not .Standard}}{{range .GoFiles}}{{$p.ImportPath}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$p.ImportPath}}/{{.}}{{"\n"}}{{end}}{{end}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	own := 0
	for line := range strings.Lines(string(list)) {
		file, is := strings.CutPrefix(strings.TrimSpace(line), "healer/")
		if !is {
			continue
		}
		own++
		for _, pattern := range ignored {
			name, anywhere := strings.CutPrefix(pattern, "**/")
			parts := strings.Split(file, "/")
			if parts[0] == name || (anywhere && slices.Contains(parts, name)) {
				t.Errorf("%s is needed, and %q keeps it out", file, pattern)
			}
		}
	}
	if own < 100 {
		t.Errorf("the program is built of %d files of its own", own)
	}
}

// TestUnit: what the systemd unit starts is a command of the program.
func TestUnit(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/package/healer-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/healer (.*) \$HEALER_ARGS$`).FindStringSubmatch(string(raw))
	if m == nil {
		t.Fatal("it starts nothing")
	}
	if said := accepts(t, strings.Fields(m[1])); said != "" {
		t.Errorf("%s: %s", m[1], said)
	}
}
