/* SPDX-License-Identifier: ISC */
/*
 * handover.c - the command `handover`: before and after a switch of databases
 */
#include "handover.h"

#include "base/units.h"
#include "commands.h"
#include "known.h"
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 60000 };

static const char HELP[] =
    "Usage: outbox-relay handover [-c FILE] [--timeout TIME] [--record-left] [--output FILE]\n"
    "       outbox-relay handover [-c FILE] --new FILE | --above ID [--margin N] [--stay-paused]\n"
    "\n"
    "For a planned switch to another database server (blue/green, pg_upgrade, a new cluster).\n"
    "\n"
    "On the old side, once the application writes no more: waits until no transaction is open "
    "that\n"
    "has written to the outbox and the relays have published all, pauses the outbox, proves that "
    "it\n"
    "is empty, and records that, with the last id. If it cannot be emptied in time it names what "
    "is\n"
    "left and what holds it, and changes nothing.\n"
    "\n"
    "      --timeout TIME  wait no longer than this (default 60s)\n"
    "      --record-left   then pause it all the same, and record what is left\n"
    "      --output FILE   write the record, JSON, to FILE for the new side\n"
    "\n"
    "On the new side, after `outbox-relay migrate`: checks that what the old side has left is "
    "there,\n"
    "and no event that it had published; sets the ids above the old ones, never below what they "
    "are,\n"
    "and ends the pause. May be run again.\n"
    "\n"
    "      --new FILE      what the old side has written\n"
    "      --above ID      instead of a file: ids go on above ID; +N: above the last one by N\n"
    "      --margin N      begin so far above the last id of the old side (default 1000)\n"
    "      --stay-paused   leave the pause as it is; `outbox-relay resume` ends it\n"
    "\n"
    "  -c, --config FILE   configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --json          the record, or the outcome, as JSON\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: 0 done, 1 it is not empty, or something is not as it must be, or the database\n"
    "could not be asked, 2 wrong usage, or a file is wrong.\n";

struct request {
	const char *path;
	struct handover handover;
	bool above, margin, timeout, json;
};

static bool take_above(void *to, const char *text, struct error *err)
{
	struct handover *handover = to;

	handover->relative = *text == '+';
	return units_parse_number(text + handover->relative, handover->relative ? 0 : INT64_MIN,
				  INT64_MAX, &handover->above) ||
	       error_set(err, "\"%s\" is no id; write it like 4711, or +1000000", text);
}

/* Whether the options go together; -1 if they do. */
static int judge(const struct request *request)
{
	const struct handover *handover = &request->handover;
	const char *wrong = NULL;
	bool is_new = handover->from || request->above;

	if (handover->from && request->above)
		wrong = "--new and --above are two ways to say the same: give one of them";
	else if (is_new && (handover->output || handover->record_left || request->timeout))
		wrong = "--timeout, --record-left and --output are for the old side, --new and "
			"--above for the new one";
	else if (!is_new && (request->margin || handover->stay_paused))
		wrong = "--margin and --stay-paused go with --new or --above";
	else if (handover->relative && request->margin)
		wrong = "--above +N says how far above: leave --margin out";
	if (!wrong)
		return -1;
	fprintf(stderr, "outbox-relay handover: %s\n", wrong);
	return EXIT_USAGE;
}

/* The table may be empty one second and a million rows the next: never trust the statistics. */
static const char SETTINGS[] =
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off";

static int with_connection(struct request *request, const struct config *config, json_t *out)
{
	struct handover *handover = &request->handover;
	const struct known_question question = {handover->table, handover->shown, "hand over",
						false};
	struct known ignored;
	struct error err;
	int status;

	pgsync_be_patient();
	handover->config = config;
	handover->conn = command_connect(config, "outbox-relay handover", &err);
	if (!handover->conn)
		return command_failed("handover", &err);
	if (!known_outbox(handover->conn, &question, &ignored, &err) ||
	    !pgsync_script(handover->conn, "setting up", SETTINGS, &err))
		status = command_failed("handover", &err);
	else if (handover->from || request->above)
		status = handover_new(handover, out);
	else
		status = handover_old(handover, out);
	if (status == EXIT_FAILED)
		command_hint();
	PQfinish(handover->conn);
	json_decref(handover->owners);
	return status;
}

/* On the old side it is what the new side needs. */
static int print(const struct request *request, const json_t *out, int status)
{
	const struct handover *handover = &request->handover;

	command_print(out);
	if (status != EXIT_DONE || handover->output || handover->from || request->above ||
	    command_flush())
		return status;
	fprintf(stderr,
		"outbox-relay handover: its record cannot be written to standard output; %s stays "
		"paused: run this again, or `outbox-relay resume`\n",
		handover->shown);
	return EXIT_FAILED;
}

static int run(struct request *request)
{
	struct pgname name;
	struct config *config = command_outbox(request->path, &name);
	json_t *out = json_object();
	int status = EXIT_USAGE;

	if (config) {
		pgname_print(&name, request->handover.table);
		pgname_show(&name, request->handover.shown);
		status = with_connection(request, config, out);
	}
	if (request->json && json_object_size(out) > 0)
		status = print(request, out, status);
	json_decref(out);
	config_free(&config);
	return status;
}

int cmd_handover(int argc, char **argv)
{
	struct request request = {.path = COMMAND_CONFIG_FILE,
				  .handover = {.wait_ms = TIMEOUT_MS, .margin = HANDOVER_MARGIN}};
	struct handover *handover = &request.handover;
	const struct command_flag flags[] = {
	    {"timeout", &request.timeout, command_take_duration, &handover->wait_ms},
	    {"record-left", &handover->record_left, NULL, NULL},
	    {"output", NULL, command_take_text, &handover->output},
	    {"new", NULL, command_take_text, &handover->from},
	    {"above", &request.above, take_above, handover},
	    {"margin", &request.margin, command_take_count, &handover->margin},
	    {"stay-paused", &handover->stay_paused, NULL, NULL},
	    {"json", &request.json, NULL, NULL},
	    {NULL, NULL, NULL, NULL}};
	int status = command_options(argc, argv, HELP, &request.path, flags);

	if (status < 0)
		status = judge(&request);
	return status >= 0 ? status : run(&request);
}
