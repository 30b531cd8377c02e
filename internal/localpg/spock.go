package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"healer/topology"
)

// Spock is the extension of that name, of which no package registry has a server.
const Spock = "spock"

// EnvSpockBinDir names the environment variable with the directory of the programs of a
// PostgreSQL that has Spock.
const EnvSpockBinDir = "HEALER_SPOCK_BINDIR"

// FindSpock returns the installation in HEALER_SPOCK_BINDIR. The error is a
// *topology.Fault that says what it has to be.
func FindSpock() (Installation, error) { return findSpock(context.Background()) }

func findSpock(ctx context.Context) (Installation, error) {
	dir, why := os.Getenv(EnvSpockBinDir), errors.New(EnvSpockBinDir+" is not set")
	if dir != "" {
		inst, err := readBinDir(ctx, dir)
		if err == nil {
			err = hasExtension(ctx, inst, Spock)
		}
		if err == nil {
			return inst, nil
		}
		why = err
	}
	return Installation{}, &topology.Fault{
		Class: topology.Permanent, Code: "spock_not_found",
		Hint: "build PostgreSQL with the patches of github.com/pgEdge/spock and Spock itself, and set " + EnvSpockBinDir + " to its bin",
		Err:  fmt.Errorf("PostgreSQL with Spock was not found: %w", why),
	}
}

// hasExtension looks for the extension where the installation's pg_config says that
// extensions are. An installation without pg_config is believed.
func hasExtension(ctx context.Context, inst Installation, name string) error {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, inst.program("pg_config"), "--sharedir").Output()
	if err != nil {
		return nil // the server will tell
	}
	_, err = os.Stat(filepath.Join(strings.TrimSpace(string(out)), "extension", name+".control"))
	return err
}

// spock is how its meshes are made. The names of the parameters are those of
// sql/spock--5.0.0.sql and sql/spock--6.0.0.sql.
func spock() *extension {
	return &extension{
		name:       "spock",
		createNode: `select spock.node_create(node_name := $1, dsn := $2)`,
		addTable:   `spock.repset_add_table`,
		subscribe: `select spock.sub_create(subscription_name := $1, provider_dsn := $2,
			synchronize_structure := false, synchronize_data := false, forward_origins := '{}')`,
		slot:   `select sub_slot_name::text from spock.subscription where sub_name = $1`,
		status: `select status from spock.sub_show_status($1)`,
	}
}

// spockSettings are what a server needs for Spock. Newer minor releases load no output
// plugin that is not listed; older ones do not start with a setting that they do not know.
func spockSettings(ctx context.Context) (map[string]string, error) {
	inst, err := findSpock(ctx)
	if err != nil {
		return nil, err
	}
	// A transaction that fails is not to be taken for applied.
	conf := map[string]string{
		"shared_preload_libraries": Spock, "spock.exception_behaviour": "sub_disable",
		"spock.restart_delay_default": "500", // an apply worker that died comes back after so many milliseconds
	}
	known, err := exec.CommandContext(ctx, inst.program("postgres"), "--describe-config").Output()
	if err != nil {
		return nil, fmt.Errorf("settings of %s: %w", inst.BinDir, err)
	}
	if strings.Contains("\n"+string(known), "\noutput_plugin_libraries") {
		conf["output_plugin_libraries"] = "pgoutput, test_decoding, spock_output"
	}
	return conf, nil
}
