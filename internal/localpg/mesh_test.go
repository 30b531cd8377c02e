package localpg

import (
	"context"
	"testing"
	"time"
)

func TestMesh(t *testing.T) {
	ctx := t.Context()
	b := time.Now()
	if _, err := Prepare(ctx, 0); err != nil {
		t.Fatal(err)
	}
	t.Log("prepare", time.Since(b))
	b = time.Now()
	m, err := StartMesh(ctx, Options{Links: true, Schema: []string{`create table t (id bigint primary key, v text)`}})
	if err != nil {
		t.Fatal(err)
	}
	t.Log("start", time.Since(b))
	for i, n := range m.Names() {
		if err := m.Exec(ctx, n, `insert into t values ($1, $2)`, i, n); err != nil {
			t.Fatal(err)
		}
	}
	b = time.Now()
	if err := m.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	t.Log("caught up", time.Since(b))
	for _, n := range m.Nodes() {
		c, err := Value[int](ctx, n, `select count(*) from t`)
		if c != 3 || err != nil {
			t.Error(n.Name(), c, err)
		}
	}
	b = time.Now()
	if err := m.Kill(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	t.Log("kill", time.Since(b))
	b = time.Now()
	if err := m.Node("n1").Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Log("start again", time.Since(b))
	b = time.Now()
	if err := m.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	t.Log("caught up", time.Since(b))
	b = time.Now()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	t.Log("close", time.Since(b))
	_ = context.Background
}
