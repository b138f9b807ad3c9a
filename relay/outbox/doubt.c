/* SPDX-License-Identifier: ISC */
/*
 * doubt.c - what of the ledger has to be settled, or why it must not be
 */
#include "doubt.h"

#include "base/xalloc.h"
#include "core/server_line.h"

#include <stdlib.h>
#include <string.h>

#define WAYS_OUT "; see docs/runbooks/ledger-mismatch.md"

static bool check_timeline(const char *line, const char *ours, struct error *err)
{
	return !server_line_follows(line, ours) ||
	       error_set(
		   err,
		   "Kafka's ledger knows this outbox on timeline %ld, and this server is on "
		   "timeline %ld: another server was promoted, and this one lives on" WAYS_OUT,
		   server_line_timeline(line), server_line_timeline(ours));
}

static bool check_line(const char *line, const char *ours, struct error *err)
{
	if (!server_line_same_server(line, ours))
		return error_set(err,
				 "Kafka's ledger is of a database server with another system "
				 "identifier (%s, and this one is %s)" WAYS_OUT,
				 line, ours);
	return check_timeline(line, ours, err);
}

static bool check_ends(const struct ledger *ledger, const struct doubt_side *side,
		       struct error *err)
{
	bool other = side->cluster[0] != '\0' && ledger->cluster != NULL &&
		     strcmp(side->cluster, ledger->cluster) != 0;
	if (other)
		return error_set(err,
				 "this outbox was published to the Kafka cluster %s, and this is "
				 "cluster %s, whose ledger knows nothing of it" WAYS_OUT,
				 side->cluster, ledger->cluster);
	if (ledger->last < side->id->settled)
		return error_set(
		    err,
		    "Kafka's ledger ends with batch %lld, and the database has settled "
		    "batch %lld: the ledger was deleted or has lost records; stop the relays and "
		    "run `outbox-relay reconcile --after-restore`" WAYS_OUT,
		    (long long)ledger->last, (long long)side->id->settled);
	if (ledger_is_lost(ledger, side->id))
		return error_set(err, "Kafka's ledger knows nothing of this outbox, and the "
				      "database does: the ledger was deleted or has lost records; "
				      "stop the relays and run `outbox-relay reconcile "
				      "--after-restore`" WAYS_OUT);
	return true;
}

/* Each number once, without a gap. */
static bool add(struct doubt *doubt, const struct ledger_batch *batch,
		const struct doubt_side *side, struct error *err)
{
	struct note *note = &doubt->notes[doubt->note_count];
	if (batch->number != doubt->upto + 1)
		return error_set(err,
				 "Kafka's ledger has batch %lld, and the one before it that is "
				 "known is %lld: what is between is lost, or the database was "
				 "restored; stop the relays and run `outbox-relay reconcile "
				 "--after-restore`" WAYS_OUT,
				 (long long)batch->number, (long long)doubt->upto);
	if (!note_read(note, batch->note, err))
		return false;
	doubt->note_count++;
	doubt->upto = batch->number;
	doubt->count += note->count;
	return check_line(note->line, side->line, err);
}

static void join_items(struct doubt *doubt)
{
	size_t at = 0;
	doubt->items = xcalloc(doubt->count + 1, sizeof(*doubt->items));
	for (size_t i = 0; i < doubt->note_count; i++) {
		const struct note *note = &doubt->notes[i];
		memcpy(doubt->items + at, note->items, note->count * sizeof(*note->items));
		at += note->count;
	}
}

bool doubt_read(struct doubt *doubt, const struct ledger *ledger, const struct doubt_side *side,
		struct error *err)
{
	bool good = check_ends(ledger, side, err) &&
		    (ledger->line == NULL || check_timeline(ledger->line, side->line, err));
	*doubt = (struct doubt){.upto = side->id->settled};
	doubt->notes = xcalloc(ledger->count + 1, sizeof(*doubt->notes));
	for (size_t i = 0; i < ledger->count && good; i++)
		if (ledger->batches[i].number > side->id->settled)
			good = add(doubt, &ledger->batches[i], side, err);
	if (good)
		join_items(doubt);
	else
		doubt_fini(doubt);
	return good;
}

void doubt_fini(struct doubt *doubt)
{
	for (size_t i = 0; i < doubt->note_count; i++)
		note_fini(&doubt->notes[i]);
	free(doubt->notes);
	free(doubt->items);
	*doubt = (struct doubt){0};
}
