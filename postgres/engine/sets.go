package engine

import (
	"context"
	"fmt"
	"slices"

	"healer/postgres"
	"healer/topology"
)

// sameSets refuses a source that does not get from the lost node all that the target
// does: what it never got cannot be carried from it.
func (e *Engine) sameSets(ctx context.Context, source, target, lost string) error {
	_, theirs, err := e.reading(ctx, target, lost)
	if err != nil {
		return err
	}
	_, own, err := e.reading(ctx, source, lost)
	if err != nil {
		return err
	}
	for _, set := range theirs.Publications {
		if !slices.Contains(own.Publications, set) {
			return &topology.Fault{
				Class: topology.Permanent, Code: "sets_differ", Node: source,
				Hint: "subscribe all nodes to the same sets; " + target + " needs a rebuild",
				Err:  fmt.Errorf("%s receives the set %q from %s, and %s does not", target, set, lost, source),
			}
		}
	}
	return nil
}

// Filters are the conditions, over a table's columns, that a change of the lost node
// fulfils to be the target's business, where the source's log is decoded without them. They
// are those of the source's own sets: the lost node cannot be asked.
func (e *Engine) Filters(ctx context.Context, source, target, lost string) (map[topology.TableName]string, error) {
	s, err := e.server(source)
	if err != nil {
		return nil, err
	}
	t, err := e.tongue(ctx, s)
	if err != nil || t.Decodable() || t.plugged() != nil {
		return nil, err
	}
	_, sub, err := e.reading(ctx, target, lost)
	if err != nil {
		return nil, err
	}
	lines, err := e.sends(ctx, source, sub.Publications)
	if err != nil {
		return nil, err
	}
	out := map[topology.TableName]string{}
	for _, l := range lines {
		if l.Filter != "" {
			out[l.TableName] = l.Filter
		}
	}
	return out, nil
}

// Queue is the table through which the node's provider sends what is no change of a row;
// zero when there is none. It is nobody's business to change or to compare.
func (e *Engine) Queue(ctx context.Context, node string) (topology.TableName, error) {
	return with(e, node, func(s *postgres.Server) (topology.TableName, error) {
		t, err := e.tongue(ctx, s)
		if err != nil {
			return topology.TableName{}, err
		}
		return t.Dialect.Queue(), nil
	})
}

// Command says what a row of the queue asks of the node, which got it from the provider.
func (e *Engine) Command(ctx context.Context, node, provider string, row map[string]string) (Command, error) {
	s, sub, err := e.reading(ctx, node, provider)
	if err != nil {
		return Command{}, err
	}
	t, err := e.tongue(ctx, s)
	if err != nil {
		return Command{}, err
	}
	return t.Dialect.Command(row, sub.Publications), nil
}

// Conflicts is what the apply workers of the nodes do about two writes of one row, in the
// words of recovery.conflicts; empty when their engine does nothing. A fault
// "conflicts_differ" when they do not do the same.
func (e *Engine) Conflicts(ctx context.Context, nodes ...string) (string, error) {
	said, by := "", ""
	for _, node := range nodes {
		s, t, err := e.at(ctx, node)
		if err != nil {
			return "", err
		}
		if t.Dialect.Conflicts() == "" {
			continue
		}
		var now string
		if err := s.JSON(ctx, &now, "SELECT to_jsonb("+t.Dialect.Conflicts()+")"); err != nil {
			return "", err
		}
		if by != "" && now != said {
			return "", &topology.Fault{
				Class: topology.Permanent, Code: "conflicts_differ", Node: node,
				Hint: "set pglogical.conflict_resolution alike on all nodes: ALTER SYSTEM SET, pg_reload_conf()",
				Err:  fmt.Errorf("conflicts end by %s on %s and by %s on %s", said, by, now, node),
			}
		}
		said, by = now, node
	}
	return said, nil
}
