package report

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"healer/chaos/check"
)

// lags are how many transactions of one node another had not yet, over time.
type lags struct {
	length time.Duration
	names  []string
	points map[string][]lagPoint
	most   int64
}

type lagPoint struct {
	at     time.Duration
	behind int64
}

// lagOf compares what each sample saw with what any sample before it had seen.
func lagOf(r check.Run) *lags {
	l := &lags{length: r.Length, points: map[string][]lagPoint{}, most: 1}
	samples := slices.Clone(r.Samples)
	sort.SliceStable(samples, func(i, j int) bool { return samples[i].At < samples[j].At })
	most := map[string]int64{}
	for _, s := range samples {
		behind := map[string]int64{}
		for client, seen := range s.Seen {
			most[client] = max(most[client], seen)
		}
		for client, known := range most {
			if from, _, _ := strings.Cut(client, "/"); from != s.Node {
				behind[from] += known - s.Seen[client]
			}
		}
		for from, n := range behind {
			name := from + " > " + s.Node
			l.points[name] = append(l.points[name], lagPoint{s.At, n})
			l.most = max(l.most, n)
		}
	}
	for name := range l.points {
		l.names = append(l.names, name)
	}
	slices.Sort(l.names)
	return l
}

// svg has a strip for each pair, all of one scale.
func (l *lags) svg() g.Node {
	const strip = 34.0
	height := strip*float64(len(l.names)) + lane
	return picture("Lag of each pair over time", height, g.Group{
		axis(l.length, height),
		g.Map(indices(l.names), func(i int) g.Node {
			base := strip*float64(i) + strip - 4
			var b strings.Builder
			highest := int64(0)
			for k, p := range l.points[l.names[i]] {
				verb := "L"
				if k == 0 {
					verb = "M"
				}
				fmt.Fprintf(&b, "%s%.1f %.1f", verb, place(p.at, l.length), base-(strip-8)*float64(p.behind)/float64(l.most))
				highest = max(highest, p.behind)
			}
			return g.Group{
				label(0, base-8, fmt.Sprintf("%s, at most %d", l.names[i], highest)),
				g.El("path", g.Attr("d", b.String()), g.Attr("fill", "none"), g.Attr("stroke", "var(--done)"), h.Style("stroke-width:1.5")),
			}
		}),
	})
}
