/* SPDX-License-Identifier: ISC */
/*
 * pause.c - the commands `pause` and `resume`: all relays of an outbox stop claiming, and go on
 */
#include "base/pgname.h"
#include "base/text.h"
#include "commands.h"
#include "pausing.h"
#include "postgres.h"

#include <stdio.h>
#include <string.h>

enum { TIMEOUT_MS = 30000 };

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

struct request {
	const char *path;
	bool pause, wait, json;
	int64_t wait_ms; /* at most */
	char shown[PGNAME_FULL_SIZE];
};

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
	pausing_print_owners(owners);
	fputs("each hands over as soon as its batch is settled; `outbox-relay status` shows\n",
	      stderr);
	return EXIT_FAILED;
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
	good = pausing_set(conn, table, request->shown, request->pause, out, &err) &&
	       (!request->wait || pausing_wait(conn, table, request->wait_ms, out, &err));
	PQfinish(conn);
	if (good)
		return report(request, out);
	command_failed(command, &err);
	command_hint();
	return EXIT_FAILED;
}

static int set(struct request *request)
{
	struct pgname name;
	struct config *config = command_outbox(request->path, &name);
	json_t *out = json_object();
	int status = EXIT_USAGE;

	if (config) {
		pgname_show(&name, request->shown);
		json_object_set_new(out, "outbox", json_text(request->shown));
		status = with_connection(config, request, &name, out);
	}
	json_decref(out);
	config_free(&config);
	return status;
}

int cmd_pause(int argc, char **argv)
{
	struct request request = {
	    .path = COMMAND_CONFIG_FILE, .pause = true, .wait_ms = TIMEOUT_MS};
	bool no_wait = false;
	const struct command_flag flags[] = {
	    {"timeout", NULL, command_take_duration, &request.wait_ms},
	    {"no-wait", &no_wait, NULL, NULL},
	    {"json", &request.json, NULL, NULL},
	    {0}};
	int status = command_options(argc, argv, PAUSE_HELP, &request.path, flags);

	request.wait = !no_wait;

	return status >= 0 ? status : set(&request);
}

int cmd_resume(int argc, char **argv)
{
	struct request request = {.path = COMMAND_CONFIG_FILE};
	const struct command_flag flags[] = {{"json", &request.json, NULL, NULL}, {0}};
	int status = command_options(argc, argv, RESUME_HELP, &request.path, flags);

	return status >= 0 ? status : set(&request);
}
