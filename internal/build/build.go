// Package build says what was built. It imports only the standard library.
package build

import (
	"runtime"
	"runtime/debug"
)

// Info is what a binary knows of itself.
type Info struct {
	// Version is the release, such as v1.2.3; "devel" for a build that is of
	// none.
	Version string `json:"version"`
	// Revision is the commit, empty when the build was not made in a checkout;
	// Modified is true when the checkout differed from it.
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	// Go is the toolchain, Platform the operating system and architecture.
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Read returns what this binary is. A stamped version, given by the linker, goes
// before the one that the toolchain recorded.
func Read(stamped string) Info {
	info := Info{Version: stamped, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if b, ok := debug.ReadBuildInfo(); ok {
		info.fill(b)
	}
	if info.Version == "" {
		info.Version = "devel"
	}
	return info
}

func (i *Info) fill(b *debug.BuildInfo) {
	if v := b.Main.Version; i.Version == "" && v != "(devel)" {
		i.Version = v
	}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Revision = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
}

// String is one line for a person: version, revision and toolchain.
func (i Info) String() string {
	s := i.Version
	if i.Revision != "" {
		s += " (" + i.Revision[:min(12, len(i.Revision))]
		if i.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return s + " " + i.Go + " " + i.Platform
}
