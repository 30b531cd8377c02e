package localpg

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"healer/topology"
)

// fakeInstallation makes a bin directory whose postgres tells a version.
func fakeInstallation(t *testing.T, version string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "bin")
	must(t, os.MkdirAll(bin, 0o755))
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
	for _, name := range []string{"postgres", "initdb"} {
		must(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755))
	}
	return bin
}

// fakePackage makes the tree that npm unpacks below dir.
func fakePackage(t *testing.T, dir, major, version string) string {
	t.Helper()
	pkg := filepath.Join(dir, "third_party", "postgres", "node_modules", "postgres-"+major)
	files := map[string]string{
		"package.json":            `{"version": "` + version + `"}`,
		"native/pg-symlinks.json": `[{"source":"native/lib/libq.so.5.1","target":"native/lib/libq.so.5"}]`,
		"native/bin/postgres":     "program",
		"native/bin/initdb":       "program",
		"native/lib/libq.so.5.1":  "library",
		"native/lib/libq.a":       "archive",
		"native/share/x.sample":   "sample",
	}
	for name, content := range files {
		path := filepath.Join(pkg, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		mode := os.FileMode(0o644)
		if strings.Contains(name, "/bin/") {
			mode = 0o755
		}
		must(t, os.WriteFile(path, []byte(content), mode))
	}
	return filepath.Join(pkg, "native")
}

// elsewhere makes a directory the working one, with nothing on PATH.
func elsewhere(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("PATH", t.TempDir())
	t.Setenv(EnvBinDir, "")
	return dir
}

func TestFind(t *testing.T) {
	t.Run("package above the working directory", func(t *testing.T) {
		top := elsewhere(t)
		native := fakePackage(t, top, "18", "18.4.0-beta.17")
		deep := filepath.Join(top, "a", "b")
		must(t, os.MkdirAll(deep, 0o755))
		t.Chdir(deep)
		inst, err := Find(18)
		must(t, err)
		if inst.BinDir != filepath.Join(native, "bin") || inst.Version != "18.4" || inst.Major != 18 {
			t.Errorf("found %+v, want the package in %s", inst, native)
		}
		if inst.complete() {
			t.Error("a package without its links counts as complete")
		}
	})
	t.Run("newest when none is asked for", func(t *testing.T) {
		top := elsewhere(t)
		fakePackage(t, top, "16", "16.14.0-beta.17")
		fakePackage(t, top, "17", "17.10.0-beta.17")
		inst, err := Find(0)
		must(t, err)
		// The repository's own package may lie above the test's executable.
		if inst.Major < 17 {
			t.Errorf("found %s where 17.10 is there", inst.Version)
		}
	})
	t.Run("the environment's choice goes first", func(t *testing.T) {
		top := elsewhere(t)
		fakePackage(t, top, "18", "18.4.0-beta.17")
		bin := fakeInstallation(t, "16.3 (Debian 16.3-1)")
		t.Setenv(EnvBinDir, filepath.Join(top, "missing")+":"+bin)
		inst, err := Find(0)
		must(t, err)
		if inst.BinDir != bin || inst.Version != "16.3" || inst.Major != 16 {
			t.Errorf("found %+v, want %s", inst, bin)
		}
	})
	t.Run("on PATH, by version", func(t *testing.T) {
		elsewhere(t)
		old, good := fakeInstallation(t, "15.18"), fakeInstallation(t, "99.1")
		t.Setenv("PATH", old+":"+good)
		inst, err := Find(99)
		must(t, err)
		if inst.BinDir != good {
			t.Errorf("found %s, want %s", inst.BinDir, good)
		}
	})
}

func TestFindSaysWhereItLookedAndWhatToDo(t *testing.T) {
	top := elsewhere(t)
	t.Setenv(EnvBinDir, filepath.Join(top, "mine"))
	_, err := Find(98)
	var fault *topology.Fault
	if !errors.As(err, &fault) || fault.Code != "postgres_not_found" {
		t.Fatalf("error %v, want postgres_not_found", err)
	}
	for _, want := range []string{"PostgreSQL 98", filepath.Join(top, "mine"), "third_party/postgres", "make postgres", EnvBinDir} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestFindRefusesReleasesWithoutOriginNone(t *testing.T) {
	_, err := Find(15)
	var fault *topology.Fault
	if !errors.As(err, &fault) || fault.Code != "postgres_too_old" {
		t.Fatalf("error %v, want postgres_too_old", err)
	}
}
