#!/bin/sh
# Before the files go, unless a new version takes their place (dpkg says "upgrade",
# rpm counts the versions that stay).
set -e

case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now healer-agent.service
	fi
	;;
esac
