package build

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFill(t *testing.T) {
	t.Parallel()
	recorded := func(version string) *debug.BuildInfo {
		return &debug.BuildInfo{
			Main: debug.Module{Version: version},
			Settings: []debug.BuildSetting{
				{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"},
				{Key: "vcs.modified", Value: "true"},
			},
		}
	}
	for _, tc := range []struct{ name, stamped, recorded, version string }{
		{"stamped", "v1.2.3", "v0.0.1", "v1.2.3"},
		{"recorded", "", "v0.0.1", "v0.0.1"},
		{"neither", "", "(devel)", ""},
	} {
		i := Info{Version: tc.stamped}
		i.fill(recorded(tc.recorded))
		want := Info{Version: tc.version, Revision: "0123456789abcdef0123456789abcdef01234567", Modified: true}
		if d := cmp.Diff(want, i); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	i := Info{Version: "v1.2.3", Revision: "0123456789abcdef", Modified: true, Go: "go1", Platform: "os/arch"}
	if got, want := i.String(), "v1.2.3 (0123456789ab, modified) go1 os/arch"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	i.Revision = ""
	if got, want := i.String(), "v1.2.3 go1 os/arch"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	if i := Read("v9"); i.Version != "v9" || i.Go != runtime.Version() || i.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("got %+v", i)
	}
	if i := Read(""); i.Version == "" {
		t.Error("a build without a version says nothing")
	}
}
