#!/bin/sh
# After the files have gone. Only a purge takes the agent's memory and the cluster
# file with it; what the agents have made on the servers `healer uninstall` removes.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ]; then
	rm -rf /var/lib/healer /etc/healer
	if getent passwd healer >/dev/null; then
		userdel healer
	fi
	if getent group healer >/dev/null; then
		groupdel healer
	fi
fi
