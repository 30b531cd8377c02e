package mutants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds a package of the module at root with the mutants in it. Into dir goes
// what stands in the place of the sources; to is the binary.
func Build(ctx context.Context, root, dir, to, pkg string, all ...Mutant) error {
	overlay, err := overlay(root, dir, all)
	if err != nil {
		return err
	}
	args := []string{"build", "-overlay", overlay}
	if to != "" {
		args = append(args, "-o", to)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, strings.Fields(pkg)...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build with %s: %w\n%s", names(all), err, out)
	}
	return nil
}

func names(all []Mutant) string {
	out := make([]string, len(all))
	for i, m := range all {
		out[i] = m.Name
	}
	return strings.Join(out, ", ")
}

// overlay writes the changed sources and the file that tells of them.
func overlay(root, dir string, all []Mutant) (string, error) {
	text := map[string]string{}
	var errs []error
	for _, m := range all {
		for _, e := range m.edits {
			path := filepath.Join(root, e.file)
			if _, ok := text[path]; !ok {
				b, err := os.ReadFile(path)
				if err != nil {
					return "", err
				}
				text[path] = string(b)
			}
			if n := strings.Count(text[path], e.old); n != 1 {
				errs = append(errs, fmt.Errorf("mutant %s: %s has the text %d times, want once: %s", m.Name, e.file, n, e.old))
				continue
			}
			text[path] = strings.Replace(text[path], e.old, e.with, 1)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, t := range text {
		replace[path] = filepath.Join(dir, fmt.Sprintf("%d_%s", len(replace), filepath.Base(path)))
		if err := os.WriteFile(replace[path], []byte(t), 0o600); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, b, 0o600)
}
