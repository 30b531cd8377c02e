package localpg

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"healer/topology"
)

// The engines of a mesh.
const (
	// Native is PostgreSQL's own logical replication.
	Native = "native"
	// Pglogical is the extension of that name.
	Pglogical = "pglogical"
)

// pglogicalMajors are the releases for which Debian 12 and the PostgreSQL project
// have packages of pglogical 2.4, and with which a mesh of it is tried.
func pglogicalMajors() []int { return []int{15} }

// FindPglogical returns an installation that has the library of the extension
// pglogical. It looks where Debian's packages put it, and in HEALER_PG_BINDIR. The
// error is a *topology.Fault that says how to install it.
func FindPglogical() (Installation, error) { return findPglogical(context.Background()) }

func findPglogical(ctx context.Context) (Installation, error) {
	var dirs, looked []string
	dirs = append(dirs, filepath.SplitList(os.Getenv(EnvBinDir))...)
	for _, major := range pglogicalMajors() {
		dirs = append(dirs, fmt.Sprintf("/usr/lib/postgresql/%d/bin", major))
	}
	for _, dir := range dirs {
		library := filepath.Join(filepath.Dir(dir), "lib", "pglogical.so")
		looked = append(looked, library)
		if _, err := os.Stat(library); err != nil {
			continue
		}
		if inst, err := readBinDir(ctx, dir); err == nil {
			return inst, nil
		}
	}
	return Installation{}, &topology.Fault{
		Class: topology.Permanent, Code: "pglogical_not_found",
		Hint: "on Debian 12 run `make pglogical` as root: it is apt-get install postgresql-15-pglogical, without a cluster of the package's own",
		Err:  fmt.Errorf("PostgreSQL 15 with pglogical was not found: there is none of\n  %s", strings.Join(looked, "\n  ")),
	}
}

// pglogical is how its meshes are made.
func pglogical() *extension {
	return &extension{
		name:       "pglogical",
		createNode: `select pglogical.create_node(node_name := $1, dsn := $2)`,
		addTable:   `pglogical.replication_set_add_table`,
		subscribe: `select pglogical.create_subscription(subscription_name := $1, provider_dsn := $2,
			synchronize_structure := false, synchronize_data := false, forward_origins := '{}')`,
		slot:   `select sub_slot_name::text from pglogical.subscription where sub_name = $1`,
		status: `select status from pglogical.show_subscription_status($1)`,
	}
}
