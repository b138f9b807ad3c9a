/* SPDX-License-Identifier: ISC */
/*
 * dlq.c - the command `dlq`: rejected events, and those that wait behind them
 */
#include "dlq.h"

#include "known.h"
#include "postgres.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 30000 };

static const char HELP[] =
    "Usage: outbox-relay dlq list [FILTER...] [--limit N] [--json]\n"
    "       outbox-relay dlq show FILTER... [--payload] [--limit N] [--json]\n"
    "       outbox-relay dlq retry FILTER... [--dry-run] [--timeout TIME | --no-wait] [--json]\n"
    "       outbox-relay dlq discard FILTER... [--dry-run] [--timeout TIME | --no-wait] [--json]\n"
    "       outbox-relay dlq edit FILTER... [--payload-file FILE] [--headers JSON] [--force]\n"
    "                         [--dry-run] [--timeout TIME | --no-wait] [--json]\n"
    "\n"
    "Rejected events, and those that wait behind them because their key is parked.\n"
    "\n"
    "  list      what there is, and why: a line each, oldest first\n"
    "  show      all that is known of one event, or of several\n"
    "  retry     publish it; of a parked key the first event, and then those behind it, in their\n"
    "            order, until one is rejected\n"
    "  discard   give it up: it is never published; those behind the first of a key go on\n"
    "  edit      put another payload or other headers in its place; retry it then\n"
    "\n"
    "The relays carry out what was asked for. If none runs, it is done when one runs.\n"
    "\n"
    "Filters; all that are given must be met, and each but the last two may be repeated:\n"
    "      --id N             the number in the outbox\n"
    "      --event-id ID      the event id\n"
    "      --key KEY          all events of this key\n"
    "      --topic TOPIC      where it goes to\n"
    "      --reason REASON    too_large, unreadable, topic, key, headers,\n"
    "                         invalid_record, policy_violation or encoding\n"
    "      --older-than TIME  rejected, or put behind a rejected one, longer ago than 10m, 2h, 7d\n"
    "      --all              all there are\n"
    "What waits for a topic that cannot be used goes on by itself: it is meant only if --id,\n"
    "--event-id, --key or --topic is given.\n"
    "\n"
    "  -c, --config FILE      configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --limit N          show at most N (default 100; with --json all)\n"
    "      --payload          payload, headers and other columns, too\n"
    "      --payload-file F   the new payload, - for standard input\n"
    "      --headers JSON     the new headers, a flat object; null for none\n"
    "      --force            edit it although Kafka may have it already with the old payload\n"
    "      --dry-run          say what would be asked for, in the order it would go\n"
    "      --timeout TIME     wait no longer than this (default 30s); what was asked for stays\n"
    "      --no-wait          do not wait until it has been carried out\n"
    "      --json             for a program\n"
    "  -h, --help             this text\n"
    "\n"
    "Exit status: 0 done, 1 it was rejected again, is still waiting, nothing matches (but for\n"
    "list), or the database could not be asked, 2 wrong usage, or the file is wrong.\n";

static int usage(const char *text)
{
	fprintf(stderr, "outbox-relay dlq: %s; try: outbox-relay dlq --help\n", text);
	return EXIT_USAGE;
}

static bool take_limit(void *to, const char *text, struct error *err)
{
	return command_number(text, 1, INT64_MAX, to, err);
}

/* Which subcommands know an option, a bit each. */
enum {
	READS = 1 << DLQ_LIST | 1 << DLQ_SHOW,
	ASKS = 1 << DLQ_RETRY | 1 << DLQ_DISCARD | 1 << DLQ_EDIT
};

struct given {
	bool limit, payload, payload_file, headers, force, dry_run, timeout, no_wait;
};

static int judge_given(const struct dlq *dlq, const struct given *given)
{
	const struct {
		bool given;
		int known;
		const char *words;
	} options[] = {
	    {given->limit, READS, "--limit goes with list and show"},
	    {given->payload, 1 << DLQ_SHOW, "--payload goes with show"},
	    {given->payload_file, 1 << DLQ_EDIT, "--payload-file goes with edit"},
	    {given->headers, 1 << DLQ_EDIT, "--headers goes with edit"},
	    {given->force, 1 << DLQ_EDIT, "--force goes with edit"},
	    {given->dry_run, ASKS, "--dry-run goes with retry, discard and edit"},
	    {given->timeout, ASKS, "--timeout goes with retry, discard and edit"},
	    {given->no_wait, ASKS, "--no-wait goes with retry, discard and edit"},
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (options[i].given && !(options[i].known & 1 << dlq->action))
			return usage(options[i].words);
	if (dlq->action != DLQ_LIST && !dlq_filter_is_set(&dlq->filter))
		return usage("say which events, by --id, --event-id, --key, --topic, --reason or "
			     "--older-than, or --all");
	if (dlq->action == DLQ_EDIT && !given->payload_file && !given->headers)
		return usage("edit needs --payload-file or --headers");
	return -1;
}

/* The subcommand is the first word that is no option. */
static int find_action(struct dlq *dlq, int argc, char **argv)
{
	if (optind == argc)
		return usage("say what to do: list, show, retry, discard or edit");
	for (size_t i = 0; i < DLQ_ACTIONS; i++) {
		if (strcmp(argv[optind], dlq_actions[i]) == 0) {
			dlq->action = (enum dlq_action)i;
			optind++;
			return command_surplus(argc, argv);
		}
	}
	fprintf(stderr, "outbox-relay dlq: there is no \"%s\"; try: outbox-relay dlq --help\n",
		argv[optind]);
	return EXIT_USAGE;
}

static int parse(int argc, char **argv, struct dlq *dlq)
{
	struct given given = {0};
	struct dlq_values *values = dlq->filter.values;
	const struct command_flag flags[] = {
	    {"id", NULL, dlq_take_id, &values[DLQ_ID]},
	    {"event-id", NULL, dlq_take_value, &values[DLQ_EVENT_ID]},
	    {"key", NULL, dlq_take_value, &values[DLQ_KEY]},
	    {"topic", NULL, dlq_take_value, &values[DLQ_TOPIC]},
	    {"reason", NULL, dlq_take_reason, &values[DLQ_REASON]},
	    {"older-than", &dlq->filter.older, command_take_duration, &dlq->filter.older_ms},
	    {"all", &dlq->filter.all, NULL, NULL},
	    {"limit", &given.limit, take_limit, &dlq->limit},
	    {"payload", &given.payload, NULL, NULL},
	    {"payload-file", &given.payload_file, command_take_text, &dlq->payload_file},
	    {"headers", &given.headers, command_take_text, &dlq->headers},
	    {"force", &given.force, NULL, NULL},
	    {"dry-run", &given.dry_run, NULL, NULL},
	    {"timeout", &given.timeout, command_take_duration, &dlq->wait_ms},
	    {"no-wait", &given.no_wait, NULL, NULL},
	    {"json", &dlq->json, NULL, NULL},
	    {0}};
	int status = command_parse(argc, argv, HELP, &dlq->path, flags);

	if (status < 0)
		status = find_action(dlq, argc, argv);
	if (status < 0)
		status = judge_given(dlq, &given);
	dlq->limited = given.limit;
	dlq->payload = given.payload;
	dlq->force = given.force;
	dlq->dry_run = given.dry_run;
	dlq->no_wait = given.no_wait;
	return status;
}

static int act(struct dlq *dlq)
{
	static int (*const acts[DLQ_ACTIONS])(struct dlq *, struct error *) = {
	    [DLQ_LIST] = dlq_list,	 [DLQ_SHOW] = dlq_list, [DLQ_RETRY] = dlq_request,
	    [DLQ_DISCARD] = dlq_request, [DLQ_EDIT] = dlq_edit,
	};
	const struct known_question question = {dlq->table, dlq->shown,
						"see or change dead letters of", false};
	struct known ignored;
	struct error err;
	int status = -1;

	dlq->conn = command_connect(dlq->config, "outbox-relay dlq", &err);
	if (!dlq->conn)
		return command_failed("dlq", &err);
	pgsync_be_patient(); /* there may be many */
	if (known_outbox(dlq->conn, &question, &ignored, &err))
		status = acts[dlq->action](dlq, &err);
	PQfinish(dlq->conn);
	if (status >= 0)
		return status;
	command_failed("dlq", &err);
	command_hint();
	return EXIT_FAILED;
}

static int with_config(struct dlq *dlq)
{
	struct pgname name;
	struct config *config = command_outbox(dlq->path, &name);
	int status = EXIT_USAGE;

	if (config) {
		dlq->config = config;
		pgname_print(&name, dlq->table);
		pgname_show(&name, dlq->shown);
		status = act(dlq);
	}
	config_free(&config);
	return status;
}

int cmd_dlq(int argc, char **argv)
{
	struct dlq dlq = {.path = COMMAND_CONFIG_FILE, .wait_ms = TIMEOUT_MS};
	int status = parse(argc, argv, &dlq);

	if (status < 0)
		status = with_config(&dlq);
	dlq_filter_free(&dlq.filter);
	return status;
}
