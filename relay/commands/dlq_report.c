/* SPDX-License-Identifier: ISC */
/*
 * dlq_report.c - what became of what was asked for, to an operator or to a program
 */
#include "base/text.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "dlq.h"
#include "dlq_text.h"
#include "postgres.h"

#include <stdio.h>
#include <stdlib.h>

/* With more of them, only those are named that an operator has yet to see to. */
enum { NAMED_MAX = 20 };

static const struct {
	const char *name, *words;
} outcomes[DLQ_OUTCOMES] = {
    [DLQ_REQUESTED] = {"requested", "requested"},
    [DLQ_FOLLOWS] = {"follows", "to follow"},
    [DLQ_PUBLISHED] = {"published", "published"},
    [DLQ_DISCARDED] = {"discarded", "discarded"},
    [DLQ_EDITED] = {"edited", "edited"},
    [DLQ_GONE] = {"gone", "gone: published, or discarded by another operator"},
    [DLQ_REJECTED] = {"rejected", "rejected again"},
    [DLQ_WAITING] = {"waiting", "still waiting"},
    [DLQ_PENDING] = {"pending", "not carried out yet"},
    [DLQ_UNCHANGED] = {"unchanged", "as before"},
};

static bool is_done(enum dlq_outcome outcome)
{
	return outcome <= DLQ_EDITED;
}

/* ---- for a program ---- */

static json_t *letter_json(const PGresult *letters, int row, const struct dlq_fate *fate)
{
	json_t *letter = json_object();

	json_object_set_new(letter, "number", json_integer(pgsync_number(letters, row, "number")));
	json_object_set_new(letter, "id", json_integer(pgsync_number(letters, row, "id")));
	json_object_set_new(letter, "event_id", json_text(pgsync_text(letters, row, "event_id")));
	json_object_set_new(letter, "key", json_text(pgsync_text(letters, row, "key")));
	json_object_set_new(letter, "outcome", json_string(outcomes[fate->outcome].name));
	json_object_set_new(letter, "reason", json_text(fate->reason));
	json_object_set_new(letter, "error", json_text(fate->error));
	json_object_set_new(letter, "waiting_behind",
			    fate->behind ? json_integer(strtoll(fate->behind, NULL, 10))
					 : json_null());
	return letter;
}

static void print_json(const struct dlq *dlq, const struct dlq_asked *asked,
		       const struct dlq_fate *fates, const size_t *counts,
		       enum dlq_obstacle obstacle)
{
	static const char *const obstacles[] = {
	    [DLQ_NO_RELAY] = "no_relay", [DLQ_PAUSED] = "paused", [DLQ_TIMEOUT] = "timeout"};
	json_t *out = json_object(), *letters = json_array(), *sums = json_object();

	json_object_set_new(out, "outbox", json_text(dlq->shown));
	json_object_set_new(out, "action", json_string(dlq_actions[dlq->action]));
	json_object_set_new(out, "dry_run", json_boolean(dlq->dry_run));
	json_object_set_new(out, "requested", json_integer(asked->requested));
	json_object_set_new(out, "obstacle",
			    obstacle ? json_string(obstacles[obstacle]) : json_null());
	for (size_t i = 0; i < DLQ_OUTCOMES; i++)
		json_object_set_new(sums, outcomes[i].name, json_integer((json_int_t)counts[i]));
	for (int row = 0; row < PQntuples(asked->letters); row++)
		json_array_append_new(letters, letter_json(asked->letters, row, &fates[row]));
	json_object_set_new(out, "counts", sums);
	json_object_set_new(out, "letters", letters);
	command_print(out);
	json_decref(out);
}

/* ---- for an operator ---- */

/* "event 5 (event_id ..., key a)"; escaped, malloc'd. */
static char *name_of(const PGresult *letters, int row)
{
	const char *key = pgsync_text(letters, row, "key");
	const char *event_id = pgsync_text(letters, row, "event_id");
	char *name = xasprintf("event %s", pgsync_text(letters, row, "id")), *escaped;

	if (event_id)
		xappend(&name, " (event_id %s", event_id);
	if (key)
		xappend(&name, "%skey %s", event_id ? ", " : " (", key);
	if (event_id || key)
		xappend(&name, ")");
	escaped = dlq_escape(name);
	free(name);
	return escaped;
}

static void print_fate(const PGresult *letters, int row, const struct dlq_fate *fate,
		       const char *action)
{
	char *name = name_of(letters, row), *error = dlq_escape(fate->error ? fate->error : "");

	printf("%s: %s", name,
	       fate->outcome == DLQ_REQUESTED ? action : outcomes[fate->outcome].words);
	if (fate->outcome == DLQ_REJECTED)
		printf(" (%s): %s", fate->reason ? fate->reason : "unknown", error);
	else if (fate->outcome == DLQ_WAITING && fate->behind)
		printf(" behind event %s", fate->behind);
	else if (fate->outcome == DLQ_WAITING)
		fputs(" for its topic", stdout);
	putchar('\n');
	free(error);
	free(name);
}

static void print_fates(const struct dlq *dlq, const struct dlq_asked *asked,
			const struct dlq_fate *fates)
{
	int rows = PQntuples(asked->letters), named = 0, left = 0;
	bool all = rows <= NAMED_MAX || dlq->dry_run;

	for (int row = 0; row < rows; row++) {
		if (!all && is_done(fates[row].outcome))
			continue;
		if (all || named++ < NAMED_MAX)
			print_fate(asked->letters, row, &fates[row], dlq_actions[dlq->action]);
		else
			left++;
	}
	if (left > 0)
		printf("... and %d more: see outbox-relay dlq list\n", left);
}

static void print_sum(const struct dlq *dlq, const size_t *counts)
{
	const char *between = "";

	if (dlq->dry_run)
		fputs("nothing was changed; it would be: ", stderr);
	for (size_t i = 0; i < DLQ_OUTCOMES; i++) {
		if (counts[i] == 0)
			continue;
		fprintf(stderr, "%s%zu %s", between, counts[i], outcomes[i].words);
		between = ", ";
	}
	fputc('\n', stderr);
}

static void print_advice(const struct dlq *dlq, const size_t *counts, enum dlq_obstacle obstacle)
{
	char time[32];

	units_print_duration(dlq->wait_ms, time, sizeof(time));
	if (obstacle == DLQ_NO_RELAY)
		fprintf(stderr,
			"no relay runs for %s; what was requested is carried out when one runs\n",
			dlq->shown);
	if (obstacle == DLQ_PAUSED)
		fprintf(stderr,
			"%s is paused; what was requested is carried out after `outbox-relay "
			"resume`\n",
			dlq->shown);
	if (obstacle == DLQ_TIMEOUT)
		fprintf(stderr,
			"not all was carried out within %s; what was requested stays; "
			"`outbox-relay status` says what the relays do\n",
			time);
	if (counts[DLQ_REJECTED] > 0)
		fputs("fix the cause, or the event (`outbox-relay dlq edit`), and retry; or "
		      "discard it\n",
		      stderr);
	if (counts[DLQ_EDITED] > 0)
		fputs("`outbox-relay dlq retry` publishes it\n", stderr);
}

int dlq_report(const struct dlq *dlq, const struct dlq_asked *asked, const struct dlq_fate *fates,
	       enum dlq_obstacle obstacle)
{
	size_t counts[DLQ_OUTCOMES] = {0}, done = 0;
	size_t rows = (size_t)PQntuples(asked->letters);

	if (rows == 0) {
		if (dlq->json)
			print_json(dlq, asked, fates, counts, obstacle);
		return dlq_nothing(dlq);
	}
	for (size_t row = 0; row < rows; row++) {
		counts[fates[row].outcome]++;
		done += is_done(fates[row].outcome);
	}
	if (counts[DLQ_PENDING] == 0)
		obstacle = DLQ_NO_OBSTACLE; /* it was carried out at the last moment */
	if (dlq->json)
		print_json(dlq, asked, fates, counts, obstacle);
	else
		print_fates(dlq, asked, fates);
	fflush(stdout); /* it may be the same file as stderr */
	print_sum(dlq, counts);
	print_advice(dlq, counts, obstacle);
	return done == rows ? EXIT_DONE : EXIT_FAILED;
}
