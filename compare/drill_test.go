package compare

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"healer/rescue"
)

// model is a node that sorts its keys by an order of its own.
type model struct {
	keys []string
	rank map[string]int
}

func (m model) behind(a, b string) bool { return m.rank[a] > m.rank[b] }

func (m model) inside(s segment) []string {
	var in []string
	for _, k := range m.keys {
		if (s.after == nil || m.behind(k, s.after[0])) && (s.upTo == nil || !m.behind(k, s.upTo[0])) {
			in = append(in, k)
		}
	}
	slices.SortFunc(in, func(a, b string) int { return m.rank[a] - m.rank[b] })
	return in
}

func (m model) bound(step int) func(segment) (rescue.Key, error) {
	return func(s segment) (rescue.Key, error) {
		in := m.inside(s)
		if len(in) < step {
			return nil, nil
		}
		return rescue.Key{in[step-1]}, nil
	}
}

// TestWalkCoversEveryKey has one node find the bounds and another, which sorts
// otherwise, use them: none of its keys is in no segment, and where both sort alike
// none is in two.
func TestWalkCoversEveryKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "keys")
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("k%02d", i))
		}
		order := func(name string) map[string]int {
			rank := map[string]int{}
			for i, k := range rapid.Permutation(all).Draw(t, name) {
				rank[k] = i
			}
			return rank
		}
		here := model{keys: all, rank: order("one order")}
		there := model{keys: all, rank: here.rank}
		alike := rapid.Bool().Draw(t, "alike")
		if !alike {
			there.rank = order("other order")
		}
		covered := map[string]int{}
		err := segment{}.walk(1, here.bound(rapid.IntRange(1, 10).Draw(t, "step")), func(s segment) error {
			for _, k := range there.inside(s) {
				covered[k]++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range all {
			if covered[k] == 0 || (alike && covered[k] > 1) {
				t.Fatalf("key %s is in %d segments", k, covered[k])
			}
		}
	})
}

// A key whose text is read as a lesser key comes again and again.
func TestWalkEnds(t *testing.T) {
	parts := 0
	stuck := func(segment) (rescue.Key, error) { return rescue.Key{"1.0"}, nil }
	if err := (segment{}).walk(0, stuck, func(segment) error { parts++; return nil }); err != nil || parts != 2 {
		t.Errorf("%d parts, %v", parts, err)
	}
	broken := errors.New("broken")
	if err := (segment{}).walk(0, stuck, func(segment) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestNext(t *testing.T) {
	z := sizesFor(1600) // leaf 100, full 6400
	one := sum{rows: 5000, hi: 1}
	for name, c := range map[string]struct {
		depth int
		sums  []sum
		want  verb
		at    int
		step  int64
	}{
		"empty":              {0, []sum{{}, {}}, leave, 0, 0},
		"equal":              {0, []sum{one, one, one}, leave, 0, 0},
		"equal but full":     {0, []sum{{rows: 6401}, {rows: 6401}}, narrow, 0, 1600},
		"full on the second": {0, []sum{{rows: 3}, {rows: 6401}}, narrow, 1, 1600},
		"large":              {0, []sum{{rows: 1590}, {rows: 1600}}, narrow, 1, 100},
		"one row more":       {0, []sum{{rows: 101}, {rows: 100}}, narrow, 0, 7},
		"small":              {0, []sum{{rows: 100, hi: 1}, {rows: 100}}, list, 0, 0},
		"only the hash":      {0, []sum{{rows: 1, lo: 1}, {rows: 1}}, list, 0, 0},
		"nothing on one":     {0, []sum{{}, {rows: 1600}}, list, 0, 0},
		"more than a block":  {0, []sum{{}, {rows: 1601}}, narrow, 1, 101},
		"cutting is no help": {maxDepth, []sum{{rows: 5000}, {rows: 1}}, list, 0, 0},
		"nor when full":      {maxDepth, []sum{{rows: 6401}, {rows: 1}}, list, 0, 0},
	} {
		v, at, step := z.next(segment{depth: c.depth}, c.sums)
		if v != c.want || (v == narrow && (at != c.at || step != c.step)) {
			t.Errorf("%s: verb %d of node %d by %d, want %d of %d by %d", name, v, at, step, c.want, c.at, c.step)
		}
	}
}

// TestSumsSeeWhatXORHides: two copies of one row here, of another there. Their XOR
// is zero on both sides, and so is that of four copies, and of none.
func TestSumsSeeWhatXORHides(t *testing.T) {
	of := func(rows ...uint64) (s sum, xor uint64) {
		for _, r := range rows {
			s = s.add(sum{rows: 1, hi: r, lo: r * 31})
			xor ^= r
		}
		return s, xor
	}
	a, xa := of(7, 7, 1)
	b, xb := of(9, 9, 1)
	if xa != xb {
		t.Fatal("the case does not show what it should")
	}
	if alike([]sum{a, b}) {
		t.Error("the sums are the same")
	}
}

// TestSum compares with arithmetic on whole numbers: order and parts do not matter.
func TestSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		his := rapid.SliceOf(rapid.Int64()).Draw(t, "hi")
		total, parts := new(big.Int), sum{}
		for _, h := range his {
			total.Add(total, big.NewInt(h))
			p, err := parseSum([]byte("1"), []byte(big.NewInt(h).String()), nil)
			if err != nil {
				t.Fatal(err)
			}
			parts = parts.add(p)
		}
		whole, err := parseSum([]byte(fmt.Sprint(len(his))), []byte(total.String()), nil)
		if err != nil || whole != parts {
			t.Fatalf("%+v of the whole, %+v of the parts, %v", whole, parts, err)
		}
	})
	for _, bad := range []string{"", "x", "1.5", "NaN"} {
		if _, err := parseSum([]byte("1"), []byte(bad), []byte("0")); err == nil {
			t.Errorf("%q is taken for a sum", bad)
		}
	}
}

func TestDiffering(t *testing.T) {
	got := differing([]map[string]string{
		{"same": "x", "other": "x", "first": "x", "not third": "x"},
		{"same": "x", "other": "y", "second": "x", "not third": "x"},
		{"same": "x", "other": "x"},
	})
	if diff := cmp.Diff([]string{"first", "not third", "other", "second"}, got); diff != "" {
		t.Error(diff)
	}
	if got := differing([]map[string]string{{}, {}}); len(got) != 0 {
		t.Errorf("nothing differs: %v", got)
	}
}

func TestSuspects(t *testing.T) {
	got := suspects([]map[int]sum{
		{1: {rows: 5}, 2: {rows: 5, hi: 1}, 3: {rows: 5}, 7: {rows: 20}, 8: {rows: 1}},
		{1: {rows: 5}, 2: {rows: 5, hi: 2}, 3: {rows: 6}, 6: {rows: 1}},
	}, 11)
	if diff := cmp.Diff([][]int{{2, 3}, {6}, {7}, {8}}, got); diff != "" {
		t.Error(diff)
	}
	for rows, want := range map[int64]int{0: 16, 5000: 32, 1 << 40: 1 << 14} {
		if got := buckets(rows); got != want {
			t.Errorf("%d rows in %d buckets, want %d", rows, got, want)
		}
	}
}

// TestChunksCoverAllPages whatever the estimates say.
func TestChunksCoverAllPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &definition{
			Pages: rapid.Int64Range(0, 500).Draw(t, "pages"),
			Rows:  rapid.Float64Range(0, 1e6).Draw(t, "rows"),
		}
		at := int64(0)
		all := d.chunks(rapid.Int64Range(1, 10_000).Draw(t, "chunk"))
		for i, c := range all {
			if c.first != at || c.last != (i == len(all)-1) || (!c.last && c.behind <= c.first) {
				t.Fatalf("chunk %d is %+v, want one from page %d", i, c, at)
			}
			at = c.behind
		}
	})
}

func TestChoose(t *testing.T) {
	def := func(keys ...[]keyColumn) *definition {
		d := &definition{}
		for _, k := range keys {
			d.Keys = append(d.Keys, index{Columns: k})
		}
		return d
	}
	col := func(name, order string, builtin bool) keyColumn {
		return keyColumn{Name: name, Type: "text", Order: order, Builtin: builtin}
	}
	a, b := col("a", "C", true), col("b", "C", true)
	for name, c := range map[string]struct {
		defs []*definition
		key  []string
		want Method
	}{
		"one key":               {[]*definition{def([]keyColumn{a}), def([]keyColumn{a})}, []string{"a"}, Ranges},
		"columns turned round":  {[]*definition{def([]keyColumn{a, b}), def([]keyColumn{b, a})}, []string{"a", "b"}, Ranges},
		"the second is shared":  {[]*definition{def([]keyColumn{a}, []keyColumn{b}), def([]keyColumn{b})}, []string{"b"}, Ranges},
		"none is shared":        {[]*definition{def([]keyColumn{a}), def([]keyColumn{a, b})}, nil, Multiset},
		"no key":                {[]*definition{def(), def([]keyColumn{a})}, nil, Multiset},
		"other order":           {[]*definition{def([]keyColumn{a}), def([]keyColumn{col("a", "de", true)})}, []string{"a"}, Buckets},
		"own operators":         {[]*definition{def([]keyColumn{col("a", "C", false)}), def([]keyColumn{a})}, []string{"a"}, Ranges},
		"own operators of many": {[]*definition{def([]keyColumn{col("a", "C", false), b}), def([]keyColumn{a, b})}, []string{"a", "b"}, Buckets},
	} {
		key := sharedKey(c.defs)
		got, why := choose(c.defs, key)
		if !slices.Equal(key, c.key) || got != c.want || (why == "") != (got == Ranges) {
			t.Errorf("%s: key %v by %s (%s), want %v by %s", name, key, got, why, c.key, c.want)
		}
	}
}

func TestConclude(t *testing.T) {
	for name, c := range map[string]struct {
		tables []Table
		want   Result
	}{
		"nothing compared":    {nil, Incomplete},
		"equal":               {[]Table{{}, {}}, Equal},
		"all repaired":        {[]Table{{Differing: 2, Repaired: 2, Listed: 2}}, Equal},
		"some repaired":       {[]Table{{Differing: 2, Repaired: 1}}, Differ},
		"a problem":           {[]Table{{}, {Problem: "x"}}, Incomplete},
		"unsettled":           {[]Table{{Unsettled: 1}}, Incomplete},
		"differ and problem":  {[]Table{{Differing: 1}, {Problem: "x"}}, Differ},
		"repaired, unsettled": {[]Table{{Differing: 1, Repaired: 1, Unsettled: 1}}, Incomplete},
	} {
		r := Report{Tables: c.tables}
		r.conclude()
		if r.Result != c.want {
			t.Errorf("%s: %s, want %s", name, r.Result, c.want)
		}
	}
}
