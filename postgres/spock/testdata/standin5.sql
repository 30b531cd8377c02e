CREATE FUNCTION spock.spock_version() RETURNS text LANGUAGE sql AS $$ SELECT '5.0.11' $$;
CREATE FUNCTION spock.spock_version_num() RETURNS integer LANGUAGE sql AS $$ SELECT 50011 $$;
CREATE TABLE spock.progress (
	node_id oid NOT NULL, remote_node_id oid NOT NULL, remote_commit_ts timestamptz NOT NULL,
	remote_lsn pg_lsn NOT NULL, remote_insert_lsn pg_lsn NOT NULL, last_updated_ts timestamptz NOT NULL,
	updated_by_decode bool NOT NULL, PRIMARY KEY(node_id, remote_node_id)) WITH (fillfactor=50);
CREATE FUNCTION spock.standin_progress(target oid, provider oid, lsn pg_lsn) RETURNS void LANGUAGE sql AS $$
	INSERT INTO spock.progress VALUES (target, provider, now(), lsn, lsn, now(), true) $$;
