package api

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
)

// described are the metrics of an agent with their labels, as they describe themselves.
func described(t *testing.T) map[string][]string {
	t.Helper()
	ch := make(chan *prometheus.Desc, 1000)
	for _, c := range append(newDoors(nil).collectors(), newStatusCollector(nil), NewTally()) {
		c.Describe(ch)
	}
	close(ch)
	form := regexp.MustCompile(`fqName: "([a-z_]+)".*variableLabels: \{([a-z_,]*)\}`)
	out := map[string][]string{}
	for d := range ch {
		m := form.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("what does %s describe?", d)
		}
		out[m[1]] = strings.Split(m[2], ",")
	}
	for name, labels := range out {
		if slices.Contains([]string{"healer_detection_seconds", "healer_recovery_seconds", "healer_step_seconds"}, name) {
			out[name+"_bucket"], out[name+"_sum"], out[name+"_count"] = append(slices.Clone(labels), "le"), labels, labels
		}
	}
	return out
}

// promqlToken is a part of PromQL.
var promqlToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[a-zA-Z_:][a-zA-Z0-9_:]*|[0-9.]+|=~|!~|!=|==|>=|<=|\$[a-z_]+|[-+*/<>=(){},]`)

// checkQuery takes a query apart: every name in it is a metric of an agent with labels that
// it has, a function, an operator or the label of a grouping.
func checkQuery(t *testing.T, known map[string][]string, query string) {
	t.Helper()
	if rest := strings.TrimSpace(promqlToken.ReplaceAllString(query, "")); rest != "" {
		t.Errorf("%s: %q is not understood", query, rest)
		return
	}
	functions := []string{"max", "min", "sum", "count", "time", "absent", "increase", "rate", "histogram_quantile", "vector"}
	words := promqlToken.FindAllString(query, -1)
	usable := []string{"cluster", "instance", "job"}
	grouped, metrics := []string{}, 0
	var open []string
	for i := 0; i < len(words); i++ {
		w := words[i]
		next := strings.Join(words[i+1:min(i+2, len(words))], "")
		switch {
		case w == "(" || w == "{":
			open = append(open, map[string]string{"(": ")", "{": "}"}[w])
		case w == ")" || w == "}":
			if len(open) == 0 || open[len(open)-1] != w {
				t.Errorf("%s: the brackets do not match", query)
				return
			}
			open = open[:len(open)-1]
		case w == "by" || w == "on":
			end := i + slices.Index(words[i:], ")")
			for _, l := range words[i+2 : end] {
				if l != "," {
					grouped = append(grouped, l)
				}
			}
			i = end
		case w == "and" || w == "or" || !regexp.MustCompile(`^[a-z]`).MatchString(w):
		case next == "(" || (slices.Contains(functions, w) && next == "by"):
			if !slices.Contains(functions, w) {
				t.Errorf("%s: no function %s", query, w)
			}
		case slices.Contains(functions, w):
		case len(open) > 0 && open[len(open)-1] == "}":
			if !slices.Contains(usable, w) {
				t.Errorf("%s: the metric has no label %s", query, w)
			}
		default:
			labels, ok := known[w]
			if !ok {
				t.Errorf("%s: no agent has the metric %s", query, w)
			}
			metrics++
			usable = append(usable, labels...)
		}
	}
	for _, l := range grouped {
		if !slices.Contains(usable, l) {
			t.Errorf("%s: nothing in it has the label %s", query, l)
		}
	}
	if metrics == 0 || len(open) > 0 {
		t.Errorf("%s: %d metrics, %d brackets open", query, metrics, len(open))
	}
}

// TestAlerts reads the alerts as Prometheus would.
func TestAlerts(t *testing.T) {
	raw, err := os.ReadFile("../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				For         string            `yaml:"for"`
				Labels      map[string]string `yaml:"labels"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.UnmarshalWithOptions(raw, &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	known, seen := described(t), map[string]bool{}
	template := regexp.MustCompile(`\$labels\.([a-z_]+)`)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			checkQuery(t, known, r.Expr)
			if seen[r.Alert] || r.Annotations["summary"] == "" || r.Annotations["description"] == "" ||
				!slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) ||
				!regexp.MustCompile(`^([0-9]+[smh])?$`).MatchString(r.For) {
				t.Errorf("alert %+v is not whole, or there twice", r)
			}
			seen[r.Alert] = true
			for _, text := range r.Annotations {
				for _, m := range template.FindAllStringSubmatch(text, -1) {
					if !regexp.MustCompile(`by \([^)]*\b` + m[1] + `\b`).MatchString(r.Expr) {
						t.Errorf("%s: %q names the label %s, which its expression does not keep", r.Alert, text, m[1])
					}
				}
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d alerts", len(seen))
	}
}

// TestDashboard reads the dashboard as Grafana would.
func TestDashboard(t *testing.T) {
	raw, err := os.ReadFile("../deploy/grafana/healer.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		UID    string
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	known, ids, queries := described(t), map[int]bool{}, 0
	for i, p := range file.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %+v is not whole, or its id is another's", p)
		}
		ids[p.ID] = true
		for _, o := range file.Panels[:i] {
			a, b := p.GridPos, o.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panels %q and %q lie on each other", p.Title, o.Title)
			}
		}
		for _, q := range p.Targets {
			queries++
			checkQuery(t, known, q.Expr)
		}
	}
	if file.UID == "" || queries < 10 {
		t.Errorf("%d queries of dashboard %q", queries, file.UID)
	}
}

// TestMetricsAreDocumented finds every metric in docs/metrics.md, and no other there.
func TestMetricsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := described(t)
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(healer_[a-z_]+)(?:\\{([a-z_,]*)\\})?` \\|").FindAllStringSubmatch(string(raw), -1) {
		told[m[1]] = true
		if labels, ok := known[m[1]]; !ok || strings.Join(labels, ",") != m[2] {
			t.Errorf("docs/metrics.md has %s: the agents have labels %v", m[0], labels)
		}
	}
	for name := range known {
		if !told[name] && !regexp.MustCompile(`_(bucket|sum|count)$`).MatchString(name) {
			t.Errorf("docs/metrics.md lacks %s%v", name, known[name])
		}
	}
}
