/* SPDX-License-Identifier: ISC */
/*
 * reconcile.c - the command `reconcile`: settles the waiting rows whose events the topics hold
 */
#include "reconcile.h"

#include "base/xalloc.h"
#include "commands.h"
#include "pausing.h"
#include "postgres.h"
#include "verify.h"
#include "waiting.h"

#include <stdio.h>
#include <stdlib.h>

static const char HELP[] =
    "Usage: outbox-relay reconcile [-c FILE] [options]\n"
    "\n"
    "Reads the topics, without a consumer group, and settles those waiting rows of the outbox\n"
    "whose events they hold already, as the relay would (it deletes or marks them). Then the\n"
    "relay publishes exactly what nobody has published: after a Debezium connector or a poller of\n"
    "your own, a restore, a failover that lost commits, or the loss of the ledger. All publishers\n"
    "must be stopped. The outbox is paused meanwhile.\n"
    "\n"
    "  -c, --config FILE         configuration (default " COMMAND_CONFIG_FILE ")\n"
    "      --published-before T  rows created before T count as published and are not looked\n"
    "                            up; the topics are read from 5 minutes before T: a time as\n"
    "                            PostgreSQL reads it, or how long ago (2h)\n"
    "      --dry-run             say what would be settled, and change nothing\n"
    "      --slot NAME           the connector's replication slot, which must not be active\n"
    "      --id-header NAME      the header with the event id (default: the one that\n"
    "                            route.headers has it in, otherwise \"id\")\n"
    "      --ignore-retention    believe topics that have dropped their oldest records\n"
    "      --after-restore       with kafka.delivery = \"exactly-once\": then let the relays "
    "begin\n"
    "                            anew, with new producers, an empty ledger and nothing in doubt\n"
    "      --stay-paused         leave the outbox paused; `outbox-relay resume` ends it\n"
    "      --samples N           show at most so many rows (default 10; 100 with --json)\n"
    "      --json                the outcome as JSON\n"
    "  -h, --help                this text\n"
    "\n"
    "Exit status: 0 done, 1 refused, stopped, some rows could not be settled, or database or\n"
    "brokers could not be asked, 2 wrong usage, or the file is wrong.\n";

/* ---- options ---- */

static int parse(int argc, char **argv, struct reconcile_options *options)
{
	const struct command_flag flags[] = {
	    {"published-before", NULL, command_take_text, &options->before},
	    {"dry-run", &options->dry_run, NULL, NULL},
	    {"slot", NULL, command_take_utf8, &options->slot},
	    {"id-header", NULL, command_take_text, &options->id_header},
	    {"ignore-retention", &options->ignore_retention, NULL, NULL},
	    {"after-restore", &options->after_restore, NULL, NULL},
	    {"stay-paused", &options->stay_paused, NULL, NULL},
	    {"samples", NULL, command_take_count, &options->samples},
	    {"json", &options->json, NULL, NULL},
	    {0}};

	return command_options(argc, argv, HELP, &options->path, flags);
}

/* What does not go together, in words; NULL: all does. */
static const char *misfit(const struct config *config, const struct reconcile_options *options)
{
	if (options->dry_run && options->stay_paused)
		return "--dry-run pauses nothing; leave --stay-paused out";
	if (options->after_restore && config->kafka.delivery != DELIVERY_EXACTLY_ONCE)
		return "--after-restore is for kafka.delivery = \"exactly-once\": relays that "
		       "deliver at least once have nothing in doubt; leave it out";
	if (config->kafka.embedded)
		return COMMAND_EMBEDDED;
	if (options->before != NULL && config->outbox.columns.created_at[0] == '\0')
		return "--published-before goes by when rows were created: name "
		       "outbox.columns.created_at, or settle these rows by hand";
	return NULL;
}

/* ---- the pause ---- */

static bool set_pause(struct reconcile *reconcile, bool paused, bool *changed, struct error *err)
{
	json_t *out = json_object();
	bool good =
	    pausing_set(reconcile->conn, reconcile->table, reconcile->shown, paused, out, err);

	*changed = json_is_true(json_object_get(out, "changed"));
	json_decref(out);
	return good;
}

/* A relay that comes from now on waits; one that came before is seen now. */
static bool pause_it(struct reconcile *reconcile, struct error *err)
{
	reconcile->paused = set_pause(reconcile, true, &reconcile->paused_it, err);
	return reconcile->paused && reconcile_is_alone(reconcile, err);
}

/* What a failure has left open. */
static void abandon(const struct reconcile *reconcile)
{
	PGTransactionStatusType status = PQtransactionStatus(reconcile->conn);
	struct error ignored;

	if (status == PQTRANS_INTRANS || status == PQTRANS_INERROR)
		pgsync_script(reconcile->conn, "rolling back", "ROLLBACK", &ignored);
}

/* The session may have been lost while the topics were read. */
static bool resume_it(struct reconcile *reconcile, struct error *err)
{
	bool ignored;

	abandon(reconcile);
	if (reconcile->conn != NULL && set_pause(reconcile, false, &ignored, err))
		return true;
	return reconcile_connect(reconcile, err) && set_pause(reconcile, false, &ignored, err);
}

/* Ends the pause if it is ours, whatever has happened. */
static bool end_pause(struct reconcile *reconcile)
{
	struct error err;

	if (!reconcile->paused)
		return true;
	if (!reconcile->paused_it || reconcile->options->stay_paused) {
		fprintf(stderr, "%s %s; `outbox-relay resume` ends it\n", reconcile->shown,
			reconcile->paused_it ? "stays paused" : "was paused before, and stays so");
		return true;
	}
	if (resume_it(reconcile, &err)) {
		fprintf(stderr, "%s is resumed\n", reconcile->shown);
		return true;
	}
	fprintf(stderr, "%s stays paused: %s; `outbox-relay resume` ends it\n", reconcile->shown,
		err.text);
	return false;
}

/* ---- one run ---- */

static bool record(struct reconcile *reconcile, struct error *err)
{
	char *words = reconcile_summary(reconcile);
	const char *params[] = {reconcile->table, words};
	PGresult *result = pgsync_query(
	    reconcile->conn, "recording what was done",
	    "SELECT outbox_relay.record_action(to_regclass($1), 'reconcile', $2)", 2, params, err);

	PQclear(result);
	free(words);
	return result != NULL;
}

/* Reading topics may take so long that a firewall has forgotten the session. */
static bool wake(struct reconcile *reconcile, struct error *err)
{
	return pgsync_script(reconcile->conn, "asking the database", "SELECT 1", err) ||
	       reconcile_connect(reconcile, err);
}

/* Whatever was settled before an error is recorded. */
static bool settle(struct reconcile *reconcile, struct error *err)
{
	struct error ignored;
	bool good;

	if (reconcile->options->dry_run)
		return true;
	if (!reconcile_is_alone(reconcile, err))
		return false;
	good = reconcile_settle(reconcile, err);
	abandon(reconcile);
	return record(reconcile, good ? err : &ignored) && good;
}

/* What is published and not settled would be published again. */
static bool begin_anew(struct reconcile *reconcile, struct error *err)
{
	const struct reconcile_options *options = reconcile->options;

	return !options->after_restore || options->dry_run || reconcile->held > 0 ||
	       reconcile_renew(reconcile, err);
}

static bool find(struct reconcile *reconcile, struct error *err)
{
	if (!reconcile_read_rows(reconcile, err))
		return false;
	if (published_counts(reconcile->rows)->looked_up > 0 &&
	    (!reconcile_read_topics(reconcile, err) || !wake(reconcile, err)))
		return false;
	published_judge(reconcile->rows);
	return true;
}

static bool work(struct reconcile *reconcile, json_t **behind, struct error *err)
{
	if (!find(reconcile, err) || !settle(reconcile, err) || !begin_anew(reconcile, err))
		return false;
	*behind = reconcile_behind(reconcile, err);
	return *behind != NULL;
}

static bool is_refused(struct reconcile *reconcile, struct error *err)
{
	return !reconcile_connect(reconcile, err) || !reconcile_check(reconcile, err) ||
	       !reconcile_is_alone(reconcile, err) ||
	       (reconcile->options->after_restore && !reconcile_check_ledger(reconcile, err));
}

static int failed(const struct reconcile *reconcile, const struct error *err)
{
	command_failed("reconcile", err);
	command_hint();
	if (reconcile->settled > 0) {
		char *rows = reconcile_rows_in_words(reconcile->settled);

		fprintf(stderr, "%s %s settled by then; run this again for the others\n", rows,
			reconcile->settled == 1 ? "was" : "were");
		free(rows);
	}
	return EXIT_FAILED;
}

static int conclude(const struct reconcile *reconcile, const json_t *behind)
{
	reconcile_report(reconcile, behind);
	if (reconcile->held == 0)
		return EXIT_DONE;
	command_flush();
	fprintf(stderr,
		"outbox-relay reconcile: rows that are published could not be settled: other "
		"sessions have locked them, or a trigger keeps them; end these, and run this again "
		"before a relay starts\n");
	return EXIT_FAILED;
}

static int perform(struct reconcile *reconcile)
{
	json_t *behind = NULL;
	struct error err;
	int status;
	bool good;

	if (is_refused(reconcile, &err))
		return failed(reconcile, &err);
	waiting_catch_signals();
	good = (reconcile->options->dry_run || pause_it(reconcile, &err)) &&
	       work(reconcile, &behind, &err);
	status = good ? conclude(reconcile, behind) : failed(reconcile, &err);
	command_flush(); /* before the words about the pause */
	if (!end_pause(reconcile))
		status = EXIT_FAILED;
	json_decref(behind);
	return status;
}

static char *header_of(const struct config *config, const struct reconcile_options *options)
{
	char *header = options->id_header == NULL ? verify_header_of(config, "event_id") : NULL;

	if (header != NULL)
		return header;
	return xstrdup(options->id_header != NULL ? options->id_header : "id");
}

static int reconcile_once(const struct config *config, const struct reconcile_options *options)
{
	struct reconcile reconcile = {.options = options,
				      .config = config,
				      .header = header_of(config, options),
				      .rows = published_new(),
				      .slot = json_null(),
				      .notes = json_array()};
	struct pgname name;
	struct error err;
	int status;

	if (pgname_parse(config->outbox.table, &name, &err)) {
		pgname_print(&name, reconcile.table);
		pgname_show(&name, reconcile.shown);
		status = perform(&reconcile);
	} else {
		status = command_wrong("reconcile", err.text);
	}
	if (reconcile.conn != NULL)
		PQfinish(reconcile.conn);
	routed_free(&reconcile.routed);
	published_free(&reconcile.rows);
	json_decref(reconcile.slot);
	json_decref(reconcile.notes);
	free(reconcile.records);
	free(reconcile.missing);
	free(reconcile.header);
	free(reconcile.producers);
	return status;
}

int cmd_reconcile(int argc, char **argv)
{
	struct reconcile_options options = {.path = COMMAND_CONFIG_FILE, .samples = -1};
	int status = parse(argc, argv, &options);
	const char *misfits;
	struct config *config;

	if (status >= 0)
		return status;
	config = command_config(options.path);
	if (config == NULL)
		return EXIT_USAGE;
	misfits = misfit(config, &options);
	status = misfits != NULL ? command_wrong("reconcile", misfits)
				 : reconcile_once(config, &options);
	config_free(&config);
	return status;
}
