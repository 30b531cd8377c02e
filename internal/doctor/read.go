package doctor

import (
	"context"
	"sync"
	"time"

	"healer/config"
	"healer/internal/reach"
	"healer/postgres"
	"healer/topology"
)

const (
	// clockLooks is how often a clock is read: the shortest answer tells most.
	clockLooks = 5
	// extraWithin bounds what is asked of one server.
	extraWithin = 10 * time.Second
	// agentsWithin bounds the asking of the agents, of which none has to run.
	agentsWithin = 2 * time.Second
)

// reading is what was read of a cluster.
type reading struct {
	obs topology.Observation
	// noWitness is set when two nodes have nobody who breaks the tie.
	noWitness bool
	extras    map[string]extra
	// builds are the versions of the agents that answer, by name.
	builds map[string]string
}

// extra is what only this command asks of a server.
type extra struct {
	clock clock
	// keyless are the replicated tables whose rows cannot be told apart.
	keyless []keyless
	// partial are the publications that leave out kinds of changes.
	partial []partial
	// patroni is set when Patroni manages the server.
	patroni bool
	// options are what may not work between majors.
	options options
	// problem says why it could not be asked.
	problem string
}

// clock is how far a server's clock is ahead of this machine's, give or take.
type clock struct {
	offset, give time.Duration
	known        bool
}

// partial is a publication that leaves out kinds of changes, named as its option has them.
type partial struct {
	Publication string `json:"publication"`
	LeavesOut   string `json:"leaves_out"`
}

type keyless struct {
	Table    string `json:"table"`
	Identity string `json:"identity"`
}

// extraQuery asks for published tables without a usable key, for publications that do not
// send every kind of change, for Patroni, and for options.
// The publications that Healer makes repeat what the mesh's have.
func extraQuery(version int) string {
	return `
SELECT json_build_object(
 'options', ` + optionsSQL(version) + `,
 'keyless', (SELECT coalesce(json_agg(json_build_object('table', k.name, 'identity', k.ident) ORDER BY k.name), '[]') FROM (
  SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS name,
   CASE c.relreplident WHEN 'n' THEN 'nothing' ELSE 'default' END AS ident
  FROM pg_catalog.pg_publication p
  CROSS JOIN LATERAL pg_catalog.pg_get_publication_tables(p.pubname::text) t
  JOIN pg_catalog.pg_class c ON c.oid = t.relid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE p.pubname NOT IN ('healer', 'healer_inserts') AND (p.pubupdate OR p.pubdelete)
   AND (c.relreplident = 'n' OR (c.relreplident = 'd' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)))) k),
 'partial', (SELECT coalesce(json_agg(json_build_object('publication', p.pubname, 'leaves_out', concat_ws(', ',
   CASE WHEN NOT p.pubinsert THEN 'insert' END, CASE WHEN NOT p.pubupdate THEN 'update' END,
   CASE WHEN NOT p.pubdelete THEN 'delete' END, CASE WHEN NOT p.pubtruncate THEN 'truncate' END)) ORDER BY p.pubname), '[]')
  FROM pg_catalog.pg_publication p WHERE NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate)),
 'patroni', EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE application_name LIKE 'Patroni%'))`
}

const clockQuery = `SELECT to_json((extract(epoch FROM clock_timestamp()) * 1000000)::bigint)`

// read asks all servers at once.
func read(ctx context.Context, c *config.Config, r *reach.Cluster) reading {
	out := reading{obs: r.Observe(ctx, nil), extras: map[string]extra{}}
	out.builds = buildsOf(ctx, c)
	out.noWitness = len(c.Nodes) == 2 && len(c.Witnesses) == 0
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, n := range out.obs.Nodes {
		if !n.Reachable {
			continue
		}
		wg.Go(func() {
			x := ask(ctx, r.Servers[n.Name], n.Version)
			mu.Lock()
			defer mu.Unlock()
			out.extras[n.Name] = x
		})
	}
	wg.Wait()
	return out
}

// buildsOf asks the agents, where some run.
func buildsOf(ctx context.Context, c *config.Config) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, agentsWithin)
	defer cancel()
	out := map[string]string{}
	for name, s := range reach.Agents(ctx, c) {
		out[name] = s.Version
	}
	return out
}

func ask(ctx context.Context, s *postgres.Server, version int) (x extra) {
	ctx, cancel := context.WithTimeout(ctx, extraWithin)
	defer cancel()
	var got struct {
		Keyless []keyless `json:"keyless"`
		Partial []partial `json:"partial"`
		Patroni bool      `json:"patroni"`
		Options options   `json:"options"`
	}
	if err := s.JSON(ctx, &got, extraQuery(version)); err != nil {
		return extra{problem: err.Error()}
	}
	x.keyless, x.partial, x.patroni, x.options = got.Keyless, got.Partial, got.Patroni, got.Options
	for range clockLooks {
		var micros int64
		began := time.Now()
		if err := s.JSON(ctx, &micros, clockQuery); err != nil {
			x.problem = err.Error()
			return x
		}
		give := time.Since(began) / 2
		if offset := time.UnixMicro(micros).Sub(began.Add(give)); !x.clock.known || give < x.clock.give {
			x.clock = clock{offset: offset, give: give, known: true}
		}
	}
	return x
}
