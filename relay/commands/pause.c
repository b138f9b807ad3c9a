/* SPDX-License-Identifier: ISC */
/*
 * pause.c - the commands `pause` and `resume`: all relays of an outbox stop claiming, and go on
 */
#include "base/clock.h"
#include "base/pgname.h"
#include "base/text.h"
#include "base/units.h"
#include "commands.h"
#include "postgres.h"
#include "relays.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { POLL_MS = 50, TIMEOUT_MS = 30000 };

static const char PAUSE_HELP[] =
    "Usage: outbox-relay pause [-c FILE] [--timeout TIME | --no-wait] [--json]\n"
    "\n"
    "Has all relays of the outbox settle what is in flight, hand over their shards and wait in\n"
    "standby until `outbox-relay resume`. It outlives restarts of the relays and of the database. "
    "Returns\n"
    "when no relay owns a shard any more.\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --timeout TIME  wait no longer than this (default 30s); the outbox stays paused\n"
    "      --no-wait       do not wait at all\n"
    "      --json          the outcome and the remaining owners as JSON\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 paused, 1 some relay still owns shards after the timeout, or the database "
    "could\n"
    "not be asked, 2 wrong usage, or the file is wrong.\n";

static const char RESUME_HELP[] =
    "Usage: outbox-relay resume [-c FILE] [--json]\n"
    "\n"
    "Ends what `outbox-relay pause` began: the relays of the outbox go on.\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --json          the outcome as JSON\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 done, 1 the database could not be asked, 2 wrong usage, or the file is "
    "wrong.\n";

/* The notification arrives with the COMMIT, so a relay that gets it sees the change. It is also
 * sent when nothing changes: a relay may have missed the first. */
static const char SET_SQL[] =
    "WITH known AS (SELECT outbox, paused FROM outbox_relay.outboxes"
    "  WHERE outbox = to_regclass($1) FOR UPDATE),"
    " changed AS (UPDATE outbox_relay.outboxes o SET paused = $2::boolean FROM known k"
    "  WHERE o.outbox = k.outbox AND k.paused <> $2::boolean)"
    " SELECT paused, pg_notify('outbox_relay', outbox::oid || ' group') FROM known";

struct request {
	const char *path;
	bool pause, wait, json;
	int64_t wait_ms; /* at most */
	char shown[PGNAME_FULL_SIZE];
};

/* Whose outbox it is, for one who may not pause it: a schema that is older than this binary has no
 * operator. */
static const char WHOSE_SQL[] =
    "SELECT current_user AS me, concat_ws(' or ', to_jsonb(o) ->> 'operator',"
    " to_jsonb(o) ->> 'relay') AS roles FROM outbox_relay.outboxes o"
    " WHERE o.outbox = to_regclass($1)";

/* False and err: there is no such outbox, or it is not for this role to pause. */
static bool explain_none(PGconn *conn, const struct request *request, const char *table,
			 struct error *err)
{
	PGresult *result = pgsync_query(conn, "setting the pause", WHOSE_SQL, 1, &table, err);

	if (result && PQntuples(result) > 0)
		error_set(err, "role %s may not %s table %s; connect as a member of role %s",
			  pgsync_text(result, 0, "me"), request->pause ? "pause" : "resume",
			  request->shown, pgsync_text(result, 0, "roles"));
	else if (result)
		error_set(
		    err,
		    "table %s is not known to schema outbox_relay; run `outbox-relay migrate` "
		    "for it, or fix outbox.table",
		    request->shown);
	PQclear(result);
	return false;
}

static bool set_paused(PGconn *conn, const struct request *request, const char *table, json_t *out,
		       struct error *err)
{
	const char *params[] = {table, request->pause ? "true" : "false"};
	PGresult *result;
	bool known;

	/* A migration under way has the row. */
	if (!pgsync_script(conn, "setting the pause",
			   "BEGIN READ WRITE; SET LOCAL lock_timeout = '7s'", err))
		return false;
	result = pgsync_query(conn, "setting the pause", SET_SQL, 2, params, err);
	known = result && PQntuples(result) == 1;

	if (known) {
		json_object_set_new(out, "paused", json_boolean(request->pause));
		json_object_set_new(
		    out, "changed",
		    json_boolean(pgsync_bool(result, 0, "paused") != request->pause));
	} else if (result) {
		explain_none(conn, request, table, err);
	}
	PQclear(result);
	return known && pgsync_script(conn, "setting the pause", "COMMIT", err);
}

/* Of those there, the ones that own shards; NULL and err. */
static json_t *read_owners(PGconn *conn, const char *table, struct error *err)
{
	json_t *relays = group_read(conn, table, err);
	size_t i;

	for (i = json_array_size(relays); i-- > 0;) {
		if (json_array_size(json_object_get(json_array_get(relays, i), "shards")) == 0)
			json_array_remove(relays, i);
	}
	return relays;
}

/* Polls until no relay owns a shard, or the time is over. No transaction is open meanwhile. */
static bool wait_for_owners(PGconn *conn, const struct request *request, const char *table,
			    json_t *out, struct error *err)
{
	const struct timespec pause = {0, POLL_MS * 1000000L};
	int64_t deadline = clock_monotonic_us() / 1000 + request->wait_ms;
	json_t *owners = read_owners(conn, table, err);

	while (json_array_size(owners) > 0 && clock_monotonic_us() / 1000 < deadline) {
		nanosleep(&pause, NULL);
		json_decref(owners);
		owners = read_owners(conn, table, err);
	}
	json_object_set_new(out, "owners", owners);
	return owners != NULL;
}

static void print_owners(const json_t *owners)
{
	const json_t *owner;
	const char *name;
	size_t i;

	json_array_foreach(owners, i, owner)
	{
		name = json_string_value(json_object_get(owner, "application"));
		fprintf(stderr,
			"session %" JSON_INTEGER_FORMAT " (%s) still owns %zu of its shards\n",
			json_integer_value(json_object_get(owner, "pid")), name ? name : "unknown",
			json_array_size(json_object_get(owner, "shards")));
	}
}

static int report(const struct request *request, const json_t *out)
{
	const json_t *owners = json_object_get(out, "owners");
	bool changed = json_is_true(json_object_get(out, "changed"));

	if (request->json)
		command_print(out);
	fprintf(stderr, "%s %s %s\n", request->shown, changed ? "is" : "was already",
		request->pause ? "paused" : "resumed");
	if (json_array_size(owners) == 0)
		return EXIT_DONE;
	print_owners(owners);
	fputs("each hands over as soon as its batch is settled; `outbox-relay status` shows\n",
	      stderr);
	return EXIT_FAILED;
}

/* What to do about the commonest refusals of the database. */
static void hint(void)
{
	if (strcmp(pgsync_sqlstate(), "55P03") == 0)
		fputs("nothing has changed; try again when the transaction that holds the lock has "
		      "ended\n",
		      stderr);
	if (strcmp(pgsync_sqlstate(), "42P01") == 0 || strcmp(pgsync_sqlstate(), "42703") == 0)
		fputs("run `outbox-relay migrate` as the table's owner\n", stderr);
	if (strcmp(pgsync_sqlstate(), "42501") == 0)
		fputs(COMMAND_OPERATOR_HINT "\n", stderr);
}

static int with_connection(const struct config *config, struct request *request,
			   const struct pgname *name, json_t *out)
{
	const char *command = request->pause ? "pause" : "resume";
	char application[32], table[PGNAME_FULL_SIZE];
	struct error err;
	PGconn *conn;
	bool good;

	pgname_print(name, table);
	snprintf(application, sizeof(application), "outbox-relay %s", command);
	conn = command_connect(config, application, &err);
	if (!conn)
		return command_failed(command, &err);
	good = set_paused(conn, request, table, out, &err) &&
	       (!request->wait || wait_for_owners(conn, request, table, out, &err));
	PQfinish(conn);
	if (good)
		return report(request, out);
	command_failed(command, &err);
	hint();
	return EXIT_FAILED;
}

static int set(struct request *request)
{
	struct config *config = command_config(request->path);
	json_t *out = json_object();
	struct pgname name;
	struct error err;
	int status = EXIT_USAGE;

	if (config && !pgname_parse(config->outbox.table, &name, &err)) {
		fprintf(stderr, "%s: outbox.table: %s\n", request->path, err.text);
	} else if (config) {
		pgname_show(&name, request->shown);
		json_object_set_new(out, "outbox", json_text(request->shown));
		status = with_connection(config, request, &name, out);
	}
	json_decref(out);
	config_free(&config);
	return status;
}

/* -1 to go on. */
static int pause_options(int argc, char **argv, struct request *request)
{
	enum { TIMEOUT = 256, NO_WAIT };
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'}, {"timeout", required_argument, NULL, TIMEOUT},
	    {"no-wait", no_argument, NULL, NO_WAIT},  {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},	      {NULL, 0, NULL, 0}};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (option == 'c') {
			request->path = optarg;
		} else if (option == TIMEOUT) {
			if (units_parse_duration(optarg, &request->wait_ms))
				continue;
			fprintf(stderr,
				"outbox-relay pause: --timeout \"%s\" is no duration; write it "
				"like 30s or 500ms\n",
				optarg);
			return EXIT_USAGE;
		} else if (option == NO_WAIT) {
			request->wait = false;
		} else if (option == 'j') {
			request->json = true;
		} else if (option == 'h') {
			fputs(PAUSE_HELP, stdout);
			return EXIT_DONE;
		} else {
			fputs("try: outbox-relay pause --help\n", stderr);
			return EXIT_USAGE;
		}
	}
	return command_surplus(argc, argv);
}

int cmd_pause(int argc, char **argv)
{
	struct request request = {
	    .path = COMMAND_CONFIG_FILE, .pause = true, .wait = true, .wait_ms = TIMEOUT_MS};
	int status = pause_options(argc, argv, &request);

	return status >= 0 ? status : set(&request);
}

int cmd_resume(int argc, char **argv)
{
	struct request request = {.path = COMMAND_CONFIG_FILE};
	int status = command_options(argc, argv, RESUME_HELP, &request.path, &request.json);

	return status >= 0 ? status : set(&request);
}
