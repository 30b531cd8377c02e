#!/bin/sh
# After the files are in place: the account that the agent runs as, which owns
# nothing but its data directory, and may read the configuration.
set -e

if ! getent group healer >/dev/null; then
	groupadd --system healer
fi
if ! getent passwd healer >/dev/null; then
	useradd --system --gid healer --home-dir /var/lib/healer --no-create-home \
		--shell /usr/sbin/nologin --comment "Healer agent" healer
fi
chown root:healer /etc/healer
chmod 0750 /etc/healer

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# An upgrade goes on with the new version; a first installation is not
	# configured yet and starts nothing.
	systemctl try-restart healer-agent.service
fi
