#!/usr/bin/env bash
# Makes the release of the last commit twice, in two directories and as two users would
# have set their machines up, and compares all bytes.
#
#	deploy/package/test-dist.sh [ARCH...]
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
make_one() { # directory, umask, time zone
	(
		umask "$2"
		git clone -q . "$work/$1"
		cd "$work/$1"
		TZ=$3 LC_ALL=C deploy/package/dist.sh v0.0.0-test "${archs[@]}"
	) >"$work/${1%%/*}.log" 2>&1 || { cat "$work/${1%%/*}.log" >&2; exit 1; }
}

archs=("$@")
((${#archs[@]})) || archs=(amd64)
make_one one 022 UTC
make_one two/of-a-longer-name 077 Asia/Tokyo
if ! diff "$work/one/dist/SHA256SUMS" "$work/two/of-a-longer-name/dist/SHA256SUMS"; then
	echo "test-dist: one commit has given different bytes" >&2
	exit 1
fi
for kind in tar.gz deb rpm; do
	ls "$work"/one/dist/*."$kind" >/dev/null
done
cat "$work/one/dist/SHA256SUMS"
echo "test-dist: ok, the same bytes twice"
