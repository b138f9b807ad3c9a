/* SPDX-License-Identifier: ISC */
/*
 * check.c - the command `check`: runs every part of it and prints the findings; and its part about
 * the database server
 */
#include "check.h"

#include "base/text.h"
#include "commands.h"
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: outbox-relay check [-c FILE] [--json] [--create]\n"
    "\n"
    "Validates the configuration, then connects to database and brokers and checks for what would\n"
    "keep the relay from working, or from keeping its promises. Changes nothing, unless it is told "
    "to.\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --json          a list of {level, what, remedy}\n"
    "      --create        with kafka.delivery = \"exactly-once\": makes kafka.ledger_topic, if "
    "it\n"
    "                      is missing\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 no error (warnings may be there), 1 an error was found, 2 the file is wrong.\n";

/* ---- the database server, what stands before it, and its settings ---- */

#define APPLICATION "outbox-relay check"

enum { PROBES = 3, PROBE_WAIT_MS = 2000, OLDEST_SUPPORTED = 140000 };

/* The process behind a connection; -1 if it is not told in time. A pool that has no server to give
 * would let us wait for minutes. */
static int64_t ask_pid(PGconn *conn, const char *sql)
{
	char value[24];

	return pgsync_within(conn, sql, PROBE_WAIT_MS, value, sizeof(value)) ? atoll(value) : -1;
}

/* Whether transactions of one connection may land in different sessions: other connections hold a
 * transaction each, and so take what server a pool has free. */
static bool sessions_are_shared(PGconn *conn, const struct pg_login *login)
{
	static const char PID[] = "SELECT pg_catalog.pg_backend_pid()";
	static const char BEGIN_PID[] = "BEGIN; SELECT pg_catalog.pg_backend_pid()";
	PGconn *probes[PROBES];
	int64_t mine = ask_pid(conn, PID), other;
	bool shared = false;
	struct error err;
	int i;

	for (i = 0; i < PROBES; i++) {
		probes[i] = pgsync_connect(login, APPLICATION, &err);
		other = probes[i] ? ask_pid(probes[i], BEGIN_PID) : -1;
		shared = shared || (other >= 0 && other == mine);
		if (other < 0)
			break;
	}
	shared = shared || ask_pid(conn, PID) != mine;
	for (i = i < PROBES ? i : PROBES - 1; i >= 0; i--)
		PQfinish(probes[i]);
	return shared;
}

/* False if there is one: what else is seen through it may be another session's. */
static bool check_pooler(struct check *check, PGconn *conn, const struct pg_login *login)
{
	int64_t pid = ask_pid(conn, "SELECT pg_catalog.pg_backend_pid()");
	/* A pooler makes up the key by which a statement is cancelled. */
	bool found = pid != PQbackendPID(conn);

	if (login->pooled) { /* and connected: then its sessions are not shared */
		check_ok(check, "%s",
			 found ? "a pooler in between gives each client a session of its own"
			       : "no pooler in between, though database.pooler allows one");
		return true;
	}
	if (found || sessions_are_shared(conn, login)) {
		check_error(check, PGSESSION_POOLER_REMEDY, PGSESSION_POOLER);
		return false;
	}
	check_ok(check, "no pooler in between");
	return true;
}

static void tell_refusal(struct check *check, const char *words)
{
	const char *remedy = pgsync_remedy();
	int len = (int)strlen(words);

	if (strstr(words, PGSESSION_POOLER "; "))
		check_error(check, PGSESSION_POOLER_REMEDY, PGSESSION_POOLER);
	else if (strstr(words, PGSESSION_SHARED))
		check_error(check, PGSESSION_SHARED_REMEDY, PGSESSION_SHARED);
	else if (strstr(words, "database.password_") && !remedy)
		check_error(check, "until then the relay cannot connect", "%s", words);
	else if (remedy)
		check_error(check, remedy, "%.*s", len - (int)strlen("; ") - (int)strlen(remedy),
			    words);
	else
		check_error(check, "see that the server runs and what database.dsn says", "%s",
			    words);
}

static PGconn *connect_or_tell(struct check *check, const struct pg_login *login)
{
	struct error err;
	PGconn *conn = pgsync_connect(login, APPLICATION, &err);

	if (!conn)
		tell_refusal(check, err.text);
	return conn;
}

static PGresult *ask(struct check *check, PGconn *conn, const char *what, const char *sql)
{
	struct error err;
	PGresult *result = pgsync_query(conn, what, sql, 0, NULL, &err);

	if (!result)
		check_error(check, "see the server's log", "%s", err.text);
	return result;
}

static void check_settings(struct check *check, const PGresult *facts)
{
	if (pgsync_bool(facts, 0, "fsync_off"))
		check_warn(check, "set fsync = on",
			   "fsync is off; a crash of the server may lose or corrupt events");
	if (pgsync_bool(facts, 0, "autovacuum_off"))
		check_warn(check, "set autovacuum = on",
			   "autovacuum is off on the server; published rows are never cleaned up");
	if (pgsync_bool(facts, 0, "superuser"))
		check_warn(check, "connect as outbox_relay, which `outbox-relay migrate` makes",
			   "the relay connects as superuser %s",
			   pgsync_text(facts, 0, "role_name"));
}

/* What keeps dead rows from being vacuumed, so that each claim has to walk over them. */
static void check_old_snapshots(struct check *check, PGconn *conn)
{
	static const char SQL[] =
	    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL"
	    "  AND xact_start < clock_timestamp() - interval '1 hour') AS sessions,"
	    " (SELECT count(*) FROM pg_prepared_xacts"
	    "  WHERE prepared < clock_timestamp() - interval '1 hour') AS prepared,"
	    " (SELECT count(*) FROM pg_replication_slots WHERE NOT active AND xmin IS NOT NULL)"
	    "  AS slots,"
	    " pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all";
	PGresult *result = ask(check, conn, "looking for old transactions", SQL);
	int64_t sessions, prepared, slots;

	if (!result)
		return;
	sessions = pgsync_number(result, 0, "sessions");
	prepared = pgsync_number(result, 0, "prepared");
	slots = pgsync_number(result, 0, "slots");
	if (sessions > 0)
		check_warn(check, "end them: see backend_xmin and xact_start in pg_stat_activity",
			   "%" PRId64 " sessions hold a snapshot of more than an hour; published "
			   "rows cannot be vacuumed",
			   sessions);
	if (prepared > 0)
		check_warn(check,
			   "COMMIT PREPARED or ROLLBACK PREPARED them: see pg_prepared_xacts",
			   "%" PRId64 " prepared transactions are more than an hour old; published "
			   "rows cannot be vacuumed",
			   prepared);
	if (slots > 0)
		check_warn(check, "drop it if it is no longer used: see pg_replication_slots",
			   "%" PRId64 " inactive replication slots hold back vacuum", slots);
	if (sessions + prepared + slots == 0)
		check_ok(check,
			 "no old session or transaction and no unused slot holds back vacuum%s",
			 pgsync_bool(result, 0, "sees_all")
			     ? ""
			     : " (of what this role may see; pg_read_all_stats shows all)");
	PQclear(result);
}

/* False if the rest makes no sense on this server. */
static bool check_facts(struct check *check, PGconn *conn)
{
	static const char SQL[] =
	    "SELECT current_setting('server_version_num')::int AS version_num,"
	    " current_setting('server_version') AS version, pg_is_in_recovery() AS standby,"
	    " current_user AS role_name, current_database() AS database,"
	    " current_setting('fsync') = 'off' AS fsync_off,"
	    " current_setting('autovacuum') = 'off' AS autovacuum_off,"
	    " (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser";
	PGresult *facts = ask(check, conn, "looking at the server", SQL);
	bool good = true;

	if (!facts)
		return false;
	if (pgsync_number(facts, 0, "version_num") < OLDEST_SUPPORTED) {
		check_error(check, "use PostgreSQL 14 or later", "the server is PostgreSQL %s",
			    pgsync_text(facts, 0, "version"));
		good = false;
	} else {
		check_ok(check, "connected to database %s as %s, PostgreSQL %s",
			 pgsync_text(facts, 0, "database"), pgsync_text(facts, 0, "role_name"),
			 pgsync_text(facts, 0, "version"));
	}
	if (pgsync_bool(facts, 0, "standby"))
		check_error(check,
			    "connect to the primary; with several hosts in database.dsn add "
			    "target_session_attrs=read-write",
			    "the server is a standby and can only be read");
	check_settings(check, facts);
	PQclear(facts);
	return good;
}

static PGconn *check_server(struct check *check, const struct config *config)
{
	struct pg_login login = command_login(config, NULL);
	PGconn *conn = connect_or_tell(check, &login);

	if (!conn)
		return NULL;
	if (check_pooler(check, conn, &login) && check_facts(check, conn)) {
		check_transport(check, conn);
		check_old_snapshots(check, conn);
		return conn;
	}
	PQfinish(conn);
	return NULL;
}

/* ---- the command ---- */

int cmd_check(int argc, char **argv)
{
	const char *path = COMMAND_CONFIG_FILE;
	struct check check = {.list = NULL};
	struct config *config;
	bool json = false;
	PGconn *conn;
	const struct command_flag flags[] = {
	    {"json", &json, NULL, NULL}, {"create", &check.creates, NULL, NULL}, {0}};
	int status = command_options(argc, argv, HELP, &path, flags);

	if (status >= 0)
		return status;
	config = command_config(path);
	if (!config)
		return EXIT_USAGE;
	if (json)
		check.list = json_array();
	check_ok(&check, "%s is valid", path);
	check_secret_files(&check, path, config);
	conn = check_server(&check, config);
	if (conn)
		check_outbox(&check, config, conn);
	check_kafka(&check, config, conn);
	check_ledger(&check, config, conn);
	PQfinish(conn);
	config_free(&config);
	if (json)
		command_print(check.list);
	json_decref(check.list);
	return check.failed ? EXIT_FAILED : EXIT_DONE;
}
