package spock_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"healer/postgres/engine"
	"healer/postgres/spock"
	"healer/topology"
)

func TestAuthorsOfOrigins(t *testing.T) {
	subs := []engine.Subscription{{ID: 1, Origin: "spk_app_n1_s"}, {ID: 2, Origin: "spk_app_n1_s2"}}
	for origin, want := range map[string]uint32{
		"spk_app_n1_s": 1, "spk_app_n1_s_0a1b2c3d": 1, "spk_app_n1_s2": 2, "spk_app_n1_s2_00000001": 2,
		"spk_app_n1_s_1": 0, "spk_app_n1": 0, "pg_16394": 0, "healer:repair:n1": 0,
	} {
		if got, ok := (spock.Dialect{}).Author(origin, subs); got != want || ok != (want != 0) {
			t.Errorf("%s is of subscription %d, %v; want %d", origin, got, ok, want)
		}
	}
}

func TestRests(t *testing.T) {
	for event, want := range map[string]engine.Rest{
		"Extension": engine.Listening, "connecting": engine.Connecting, "": engine.Working, "transactionid": engine.Working, "DataFileRead": engine.Working,
	} {
		if got := (spock.Dialect{}).Rests(event); got != want {
			t.Errorf("a worker in %q is taken for %d, want %d", event, got, want)
		}
	}
}

// TestCommands has what a row of spock.queue asks for.
func TestCommands(t *testing.T) {
	sets := []string{"default", "ddl_sql"}
	for name, c := range map[string]struct {
		sets, kind, message string
		sql, stop           string
	}{
		"SQL":               {"{ddl_sql}", "Q", `"ALTER TABLE t ADD c int"`, "", "ALTER TABLE t ADD c int"},
		"DDL":               {"{default,ddl_sql}", "D", `"CREATE TABLE t ()"`, "", "CREATE TABLE t ()"},
		"for other sets":    {"{other}", "D", `"CREATE TABLE t ()"`, "", ""},
		"for everybody":     {"", "Q", `"SELECT 1"`, "", "SELECT 1"},
		"a copy of a table": {"{default}", "A", `{"schema_name": "public","table_name": "t"}`, "", `"t"`},
		"a sequence": {
			"{default}", "S", `{"schema_name": "public","sequence_name": "Se\"q","last_value": "42"}`,
			`SELECT setval('"public"."Se""q"', greatest((SELECT last_value FROM "public"."Se""q"), '42'::bigint))`, "",
		},
		"what is not known": {"{default}", "X", `1`, "", "unknown type"},
	} {
		got := spock.Dialect{}.Command(map[string]string{
			"replication_sets": c.sets, "message_type": c.kind, "message": c.message, "role": "app",
		}, sets)
		if got.SQL != c.sql || (c.stop == "") != (got.Stop == "") || !strings.Contains(got.Stop, c.stop) || (got.Stop == "") != (got.By == "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestSurveyed names what a node lacks by what it says of itself.
func TestSurveyed(t *testing.T) {
	good := map[string]any{
		"node": "n2", "self": 54967, "version": 60000, "release": "6.0.0", "libraries": nil, "behaviour": "sub_disable",
		"readonly": "off", "standbys": "", "deltas": []string{}, "empty": []string{},
		"origins": []any{map[string]any{"id": 49676, "name": "spk_app_n1_s"}, map[string]any{"id": 1, "name": "spk_app_n1_s"}},
	}
	for name, c := range map[string]struct {
		with map[string]any
		code string
		free bool
	}{
		"nothing":                      {nil, "", false},
		"the library is listed":        {map[string]any{"libraries": `pgoutput, "spock_output"`}, "", false},
		"the library is not listed":    {map[string]any{"libraries": "pgoutput, test_decoding"}, "output_plugin_libraries", false},
		"a version that is not known":  {map[string]any{"version": 70000}, "spock_version", false},
		"one before":                   {map[string]any{"version": 40010}, "spock_version", false},
		"failures are passed over":     {map[string]any{"behaviour": "transdiscard"}, "exception_behaviour", true},
		"nothing is applied":           {map[string]any{"readonly": "all"}, "readonly", false},
		"standbys":                     {map[string]any{"standbys": "s1"}, "synchronous_standby_names", true},
		"columns that are added up":    {map[string]any{"deltas": []string{"public.acc"}}, engine.UncarriedTables, true},
		"a slot that holds nothing":    {map[string]any{"empty": []string{"spk_recovery_app"}}, "recovery_slot_empty", true},
		"an id of two origins":         {map[string]any{"origins": []any{map[string]any{"id": 1, "name": "a"}, map[string]any{"id": 1, "name": "b"}}}, "origin_ambiguous", false},
		"an id that is the node's own": {map[string]any{"origins": []any{map[string]any{"id": 54967, "name": "a"}}}, "origin_ambiguous", false},
		"an id of more than 16 bits":   {map[string]any{"origins": []any{map[string]any{"id": 70000, "name": "a"}}}, "origin_ambiguous", false},
	} {
		said := map[string]any{}
		for _, m := range []map[string]any{good, c.with} {
			for k, v := range m {
				said[k] = v
			}
		}
		raw, err := json.Marshal(said)
		if err != nil {
			t.Fatal(err)
		}
		got, err := spock.Dialect{}.Surveyed(raw)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(got, func(f topology.Finding) bool { return f.Code == c.code })
		if (c.code == "") != (len(got) == 0) || (c.code != "" && (at < 0 || got[at].Blocking == c.free)) {
			t.Errorf("%s: findings %+v, want %q", name, got, c.code)
		}
	}
	if _, err := (spock.Dialect{}).Surveyed([]byte(`{`)); err == nil {
		t.Error("an answer that is none was read")
	}
}
