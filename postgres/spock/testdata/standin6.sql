CREATE FUNCTION spock.spock_version() RETURNS text LANGUAGE sql AS $$ SELECT '6.0.0' $$;
CREATE FUNCTION spock.spock_version_num() RETURNS integer LANGUAGE sql AS $$ SELECT 60000 $$;
CREATE TABLE spock.standin_memory (target oid, provider oid, lsn pg_lsn);
CREATE FUNCTION spock.apply_group_progress (
	OUT dbid oid, OUT node_id oid, OUT remote_node_id oid, OUT remote_commit_ts timestamptz, OUT prev_remote_ts timestamptz,
	OUT remote_commit_lsn pg_lsn, OUT remote_insert_lsn pg_lsn, OUT received_lsn pg_lsn, OUT last_updated_ts timestamptz,
	OUT updated_by_decode bool) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT (SELECT oid FROM pg_database WHERE datname = current_database()), target, provider, now(), now(), lsn, lsn, lsn, now(), true
	FROM spock.standin_memory $$;
CREATE VIEW spock.progress AS
	SELECT * FROM spock.apply_group_progress()
	WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database());
CREATE FUNCTION spock.standin_progress(target oid, provider oid, lsn pg_lsn) RETURNS void LANGUAGE sql AS $$
	INSERT INTO spock.standin_memory VALUES (target, provider, lsn) $$;
