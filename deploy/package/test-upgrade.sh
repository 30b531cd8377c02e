#!/usr/bin/env bash
# Upgrades a real cluster on this machine, one agent at a time, from the build of an older
# commit to that of the working tree, and loses a node at each step.
#
#	deploy/package/test-upgrade.sh COMMIT
set -euo pipefail
cd "$(dirname "$0")/../.."

from=$(git rev-parse --verify --quiet "${1:?the commit to upgrade from, such as v1.2.2}^{commit}") || {
	echo "test-upgrade: this clone has no commit $1: git fetch --unshallow" >&2
	exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
git archive "$from" | tar -C "$work/src" -xf -
(cd "$work/src" && CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=old-${from:0:7}" -o "$work/old" ./cmd/healer)
CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=new" -o "$work/new" ./cmd/healer
go run ./internal/bench/upgrade -old "$work/old" -new "$work/new" ${KEEP:+-keep "$KEEP"}
echo "test-upgrade: ok, from $("$work/old" version)"
