package localpg

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// loopback is the only address that servers and proxies listen on.
const loopback = "127.0.0.1"

// defaults are the settings of a node that takes part in a mesh, fit for many
// servers on one small machine.
func defaults(major int, durable bool) map[string]string {
	conf := map[string]string{
		"listen_addresses":        loopback,
		"unix_socket_directories": "",

		// What a mesh and healer's preflight ask for.
		"wal_level":                        "logical",
		"track_commit_timestamp":           "on",
		"max_wal_senders":                  "50",
		"max_replication_slots":            "100",
		"max_logical_replication_workers":  "30",
		"max_worker_processes":             "50",
		"max_connections":                  "100",
		"wal_retrieve_retry_interval":      "500ms", // an apply worker that died comes back after this
		"wal_receiver_status_interval":     "1s",
		"wal_writer_delay":                 "10ms", // an idle apply worker reports what it applied at this pace
		"wal_sender_timeout":               "10s",
		"wal_receiver_timeout":             "10s",
		"max_parallel_workers_per_gather":  "0",
		"max_parallel_maintenance_workers": "0",
		"shared_buffers":                   "32MB",
		"max_wal_size":                     "512MB",
		"huge_pages":                       "off",
		"jit":                              "off",
		"log_line_prefix":                  "%m [%p] %b %q%u@%d %a ",
		"log_timezone":                     "UTC",
		"timezone":                         "UTC",
		"log_checkpoints":                  "off",
		"log_replication_commands":         "on",
		"autovacuum_max_workers":           "1",
		"dynamic_shared_memory_type":       "mmap", // lies in the data directory, so a kill leaks nothing
	}
	if !durable {
		// A killed process loses no page that it wrote: only the machine's own
		// end would, and then the test is over.
		conf["fsync"] = "off"
		conf["full_page_writes"] = "off"
	}
	if major >= 18 {
		conf["max_active_replication_origins"] = "100"
		conf["io_method"] = "sync" // three processes less
	}
	return conf
}

// writeConf replaces postgresql.conf; ALTER SYSTEM still wins over it.
func writeConf(dataDir string, conf map[string]string) error {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(conf)) {
		fmt.Fprintf(&b, "%s = '%s'\n", key, strings.ReplaceAll(conf[key], "'", "''"))
	}
	return os.WriteFile(filepath.Join(dataDir, "postgresql.conf"), []byte(b.String()), 0o600)
}

// writeAccess replaces pg_hba.conf. The superuser is always trusted, so that the
// owner of the servers gets in; others need a password if scram is set.
func writeAccess(dataDir string, scram bool) error {
	method := "trust"
	if scram {
		method = "scram-sha-256"
	}
	lines := []string{
		"host all " + superuser + " " + loopback + "/32 trust",
		"host replication " + superuser + " " + loopback + "/32 trust",
		"host all all " + loopback + "/32 " + method,
		"host replication all " + loopback + "/32 " + method,
	}
	return os.WriteFile(filepath.Join(dataDir, "pg_hba.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// conninfo is a keyword string that pgx and libpq read alike.
func conninfo(port int, database string) string {
	return "host=" + loopback + " port=" + strconv.Itoa(port) +
		" dbname=" + quoteKeyword(database) + " user=" + superuser + " sslmode=disable"
}

// quoteKeyword quotes a value for a keyword string.
func quoteKeyword(v string) string {
	if v != "" && !strings.ContainsAny(v, ` '\`) {
		return v
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}
