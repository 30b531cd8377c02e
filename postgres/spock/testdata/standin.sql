-- A stand-in for the extension Spock: tables and functions of the names, columns and
-- types that sql/spock--5.0.0.sql with its upgrades and sql/spock--6.0.0.sql give them,
-- as far as Healer names them. It replicates nothing. What differs between 5 and 6 is in
-- standin5.sql and standin6.sql.
CREATE SCHEMA spock;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
	VALUES (16384, 'spock', 10, 'spock'::regnamespace, false, 'stand-in');
SET search_path = spock;

CREATE TABLE node (
	node_id oid NOT NULL PRIMARY KEY, node_name name NOT NULL UNIQUE,
	location text, country text, info jsonb) WITH (user_catalog_table=true);
CREATE TABLE node_interface (
	if_id oid NOT NULL PRIMARY KEY, if_name name NOT NULL,
	if_nodeid oid REFERENCES node(node_id) ON UPDATE CASCADE, if_dsn text NOT NULL, UNIQUE (if_nodeid, if_name));
CREATE TABLE local_node (
	node_id oid PRIMARY KEY REFERENCES node(node_id),
	node_local_interface oid NOT NULL REFERENCES node_interface(if_id));
CREATE TABLE subscription (
	sub_id oid NOT NULL PRIMARY KEY, sub_name name NOT NULL UNIQUE,
	sub_origin oid NOT NULL REFERENCES node(node_id) ON UPDATE CASCADE,
	sub_target oid NOT NULL REFERENCES node(node_id) ON UPDATE CASCADE,
	sub_origin_if oid NOT NULL REFERENCES node_interface(if_id),
	sub_target_if oid NOT NULL REFERENCES node_interface(if_id),
	sub_enabled boolean NOT NULL DEFAULT true, sub_slot_name name NOT NULL,
	sub_replication_sets text[], sub_forward_origins text[],
	sub_apply_delay interval NOT NULL DEFAULT '0', sub_force_text_transfer boolean NOT NULL DEFAULT 'f',
	sub_skip_lsn pg_lsn NOT NULL DEFAULT '0/0', sub_skip_schema text[], sub_created_at timestamptz);
CREATE TABLE local_sync_status (
	sync_kind "char" NOT NULL CHECK (sync_kind IN ('i', 's', 'd', 'f')),
	sync_subid oid NOT NULL REFERENCES subscription(sub_id), sync_nspname name, sync_relname name,
	sync_status "char" NOT NULL, sync_statuslsn pg_lsn NOT NULL,
	UNIQUE (sync_subid, sync_nspname, sync_relname));
CREATE TABLE exception_log (
	remote_origin oid NOT NULL, remote_commit_ts timestamptz NOT NULL, command_counter integer NOT NULL,
	retry_errored_at timestamptz NOT NULL, remote_xid bigint NOT NULL, local_origin oid, local_commit_ts timestamptz,
	table_schema text, table_name text, operation text, local_tup jsonb, remote_old_tup jsonb, remote_new_tup jsonb,
	ddl_statement text, ddl_user text, error_message text NOT NULL,
	PRIMARY KEY(remote_origin, remote_commit_ts, command_counter, retry_errored_at)) WITH (user_catalog_table=true);
CREATE TABLE exception_status (
	remote_origin oid NOT NULL, remote_commit_ts timestamptz NOT NULL, retry_errored_at timestamptz NOT NULL,
	remote_xid bigint NOT NULL, status text NOT NULL, resolved_at timestamptz, resolution_details jsonb,
	PRIMARY KEY(remote_origin, remote_commit_ts, retry_errored_at)) WITH (user_catalog_table=true);
CREATE TABLE replication_set (
	set_id oid NOT NULL PRIMARY KEY, set_nodeid oid NOT NULL REFERENCES node(node_id) ON UPDATE CASCADE,
	set_name name NOT NULL, replicate_insert boolean NOT NULL DEFAULT true, replicate_update boolean NOT NULL DEFAULT true,
	replicate_delete boolean NOT NULL DEFAULT true, replicate_truncate boolean NOT NULL DEFAULT true,
	UNIQUE (set_nodeid, set_name)) WITH (user_catalog_table=true);
CREATE TABLE replication_set_table (
	set_id oid NOT NULL, set_reloid regclass NOT NULL, set_att_list text[], set_row_filter pg_node_tree,
	PRIMARY KEY(set_id, set_reloid)) WITH (user_catalog_table=true);
CREATE TABLE queue (
	queued_at timestamp with time zone NOT NULL, role name NOT NULL, replication_sets text[],
	message_type "char" NOT NULL, message json NOT NULL);

-- What the functions were called with.
CREATE TABLE standin_calls (n int GENERATED ALWAYS AS IDENTITY, call text NOT NULL);

CREATE FUNCTION sub_disable(subscription_name name, immediate boolean DEFAULT false) RETURNS boolean STRICT VOLATILE
	LANGUAGE sql SET search_path = spock AS $$
	INSERT INTO standin_calls (call) VALUES ('sub_disable ' || subscription_name || ' ' || immediate);
	UPDATE subscription SET sub_enabled = false WHERE sub_name = subscription_name;
	SELECT true $$;
CREATE FUNCTION sub_enable(subscription_name name, immediate boolean DEFAULT false) RETURNS boolean STRICT VOLATILE
	LANGUAGE sql SET search_path = spock AS $$
	INSERT INTO standin_calls (call) VALUES ('sub_enable ' || subscription_name || ' ' || immediate);
	UPDATE subscription SET sub_enabled = true WHERE sub_name = subscription_name;
	SELECT true $$;
CREATE FUNCTION sub_drop(subscription_name name, ifexists boolean DEFAULT false) RETURNS oid STRICT VOLATILE
	LANGUAGE sql SET search_path = spock AS $$
	DELETE FROM local_sync_status WHERE sync_subid = (SELECT sub_id FROM subscription WHERE sub_name = subscription_name);
	DELETE FROM subscription WHERE sub_name = subscription_name RETURNING sub_id $$;
RESET search_path;
