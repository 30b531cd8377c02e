package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"healer/chaos/fault"
	"healer/internal/chaoslab"
	"healer/internal/localpg"
)

// staged runs `healer chaos run` on the cluster as one of a user's.
func (d *drill) staged(ctx context.Context, schedule string, more ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	d.Helper()
	dir := d.TempDir()
	file, script := filepath.Join(dir, "cluster.yaml"), filepath.Join(dir, "drill.yaml")
	door, release, err := localpg.LeaseAddr(ctx)
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(release)
	text := "name: drill\nproxies:\n  - {name: door, listen: \"" + door + "\", upstream: \"" + d.Mesh().Node("n1").Addr() + "\"}\nschedule:\n" + schedule
	for path, text := range map[string]string{file: d.File(), script: text} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			d.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, "healer", append([]string{"chaos", "run", script, "--config", file, "--confirm", chaoslab.Cluster}, more...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, dir
	return cmd, &out, &errs
}

// staging makes what a staging cluster can have, and all is healed and healthy at the end.
func (d *drill) staging() {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 2*time.Minute)
	defer cancel()
	sub := d.Subscription("n3", "n1")
	cmd, out, errs := d.staged(ctx, `
  - {for: 300ms, fault: link_cut, node: door, link: sql}
  - {at: 400ms, for: 300ms, fault: link_refuse, node: door, link: sql}
  - {at: 800ms, for: 300ms, fault: link_slow, node: door, link: replication, delay: 20ms}
  - {fault: backends_terminate, node: n2}
  - {for: 500ms, fault: subscription_disable, node: n3, subscription: `+sub+`}
  - {for: 500ms, fault: command, node: n2, run: [touch, made], undo: [rm, made]}
`, "-o", "json", "--settle", "90s")
	if err := cmd.Run(); err != nil {
		d.Fatalf("healer chaos run: %v\n%s%s", err, out, errs)
	}
	var told struct {
		Faults []struct {
			Kind  string `json:"kind"`
			Until int64  `json:"until"`
			Note  string `json:"note"`
		} `json:"faults"`
	}
	if err := json.Unmarshal(out.Bytes(), &told); err != nil {
		d.Fatalf("%v: %s", err, out)
	}
	if len(told.Faults) != 6 {
		d.Errorf("%d faults were made, want 6: %s", len(told.Faults), out)
	}
	for _, f := range told.Faults {
		if f.Until == 0 && f.Kind != string(fault.BackendsTerminate) || f.Note == "" {
			d.Errorf("%s: ended at %d, proof %q", f.Kind, f.Until, f.Note)
		}
	}
	d.healed(cmd.Dir, sub)
}

// healed checks that nothing is left of the faults.
func (d *drill) healed(dir, sub string) {
	d.Helper()
	if _, err := os.Stat(filepath.Join(dir, "made")); !os.IsNotExist(err) {
		d.Errorf("what the command made is left: %v", err)
	}
	if err := d.says("n3", `select subenabled::text from pg_subscription where subname = '`+sub+`'`, "true")(d.Context()); err != nil {
		d.Error(err)
	}
}

// interrupted: a real SIGINT in the middle, and every fault is healed before the program
// ends.
func (d *drill) interrupted() {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 2*time.Minute)
	defer cancel()
	sub := d.Subscription("n3", "n1")
	cmd, out, errs := d.staged(ctx, `
  - {for: 10m, fault: link_cut, node: door, link: sql}
  - {for: 10m, fault: subscription_disable, node: n3, subscription: `+sub+`}
  - {for: 10m, fault: command, node: n2, run: [touch, made], undo: [rm, made]}
`)
	if err := cmd.Start(); err != nil {
		d.Fatal(err)
	}
	d.await("the faults are made", func(ctx context.Context) error {
		if _, err := os.Stat(filepath.Join(cmd.Dir, "made")); err != nil {
			return err
		}
		return d.says("n3", `select subenabled::text from pg_subscription where subname = '`+sub+`'`, "false")(ctx)
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		d.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(errs.String(), "every fault was healed") {
		d.Errorf("exit code %d, want 130:\n%s%s", code, out, errs)
	}
	d.healed(cmd.Dir, sub)
}
