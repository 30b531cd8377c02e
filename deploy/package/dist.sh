#!/usr/bin/env bash
# Makes the release in dist/: an archive, a .deb and an .rpm for each architecture,
# and their checksums. The same commit gives the same bytes: no path, no time and no
# owner of the machine goes in.
#
#	deploy/package/dist.sh VERSION ARCH...
set -euo pipefail
umask 022
cd "$(dirname "$0")/../.."

export VERSION=${1:?the version, such as v1.2.3}
shift
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
rm -rf dist
mkdir -p dist

nfpm=$(go tool -modfile=tools/package/go.mod -n nfpm)

# The completions are the same on every platform.
complete=$(mktemp -d)
trap 'rm -rf "$complete"' EXIT
CGO_ENABLED=0 go build -trimpath -o "$complete/healer" ./cmd/healer

for arch in "$@"; do
	export GOARCH=$arch STAGE=dist/healer_${VERSION}_linux_$arch
	mkdir -p "$STAGE/completion"
	CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags "-s -w -funcalign=$([ $GOARCH = amd64 ] && echo 1 || echo 4) -buildid= -X main.version=$VERSION" -o "$STAGE/healer" ./cmd/healer
	"$complete/healer" completion bash >"$STAGE/completion/healer.bash"
	"$complete/healer" completion zsh >"$STAGE/completion/_healer"
	"$complete/healer" completion fish >"$STAGE/completion/healer.fish"
	cp README.md deploy/package/healer-agent.service deploy/package/agent.env "$STAGE"
	tar -C dist --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
		--mode=u=rwX,go=rX -cf - "${STAGE#dist/}" | gzip -n >"$STAGE.tar.gz"
	for packager in deb rpm; do
		"$nfpm" package --config deploy/package/nfpm.yaml --packager "$packager" --target dist
	done
	rm -rf "$STAGE"
done
(cd dist && sha256sum ./*.tar.gz ./*.deb ./*.rpm >SHA256SUMS)
