#!/usr/bin/env bash
# Installs the .deb for this machine, checks what it brings, lets the installed program
# heal a real cluster, and removes it again: nothing may be left. Needs root and dpkg;
# a Healer that is installed already is not touched.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() { echo "test-deb: $*" >&2; exit 1; }

[[ $EUID == 0 ]] || fail "installing a package needs root"
command -v dpkg >/dev/null || fail "this machine has no dpkg"
if dpkg -s healer >/dev/null 2>&1 || [[ -e /etc/healer || -e /var/lib/healer ]]; then
	fail "Healer is installed here, or was: remove it first (dpkg --purge healer)"
fi

version=0.0.0+test
deploy/package/dist.sh "$version" "$(dpkg --print-architecture)"
(cd dist && sha256sum --check --quiet SHA256SUMS)
deb=$(ls dist/*.deb)
trap 'dpkg --purge healer >/dev/null 2>&1 || true' EXIT
dpkg -i "$deb"

size=$(stat -c %s /usr/bin/healer)
((size < 35000000)) || fail "the program has $size bytes: 35 MB at most"
[[ $(healer version -o json) == *"$version"* ]] || fail "the version is not $version: $(healer version)"
getent passwd healer >/dev/null || fail "there is no account healer"
[[ $(stat -c '%U:%G %a' /etc/healer) == "root:healer 750" ]] || fail "/etc/healer is $(stat -c '%U:%G %a' /etc/healer)"
if command -v systemd-analyze >/dev/null; then
	systemd-analyze verify /lib/systemd/system/healer-agent.service
fi

# Its three agents lose a node, heal the others, and take it back.
/usr/bin/healer demo -o json | grep '"converged": *true' || fail "the installed program did not heal its demo"

dpkg --remove healer
[[ -e /etc/healer/agent.env ]] || fail "a removal took the configuration with it"
dpkg --purge healer
trap - EXIT
for left in /usr/bin/healer /etc/healer /var/lib/healer /lib/systemd/system/healer-agent.service; do
	[[ ! -e $left ]] || fail "$left is left after the purge"
done
getent passwd healer >/dev/null && fail "the account is left after the purge"
echo "test-deb: ok"
