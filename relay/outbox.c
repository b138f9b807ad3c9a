/*
 * outbox.c - the outbox table as a source: one session, its statements and their answers
 *
 * The session's way: connect, look the table up (facts, columns), make the statements to its shape,
 * try for the shard's lock; then serve asks. Every error ends the session: the next one begins from
 * nothing.
 */
#include "outbox.h"

#include "log.h"
#include "outbox_chunk.h"
#include "outbox_ids.h"
#include "outbox_internal.h"
#include "plants.h"
#include "route.h"
#include "xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* After a claim that failed at an event's size, so many measure first. */
enum { EXACT_CLAIMS = 1000 };

static struct outbox *outbox_of(struct source *source)
{
	return (struct outbox *)source;
}

void outbox_give_up(struct outbox *outbox, bool permanent, const char *why)
{
	const struct source_events *events = outbox->source.events;
	pg_close(&outbox->pg);
	(permanent ? events->refused : events->lost)(outbox->source.owner, why);
}

/* Commits and waits. A transaction that has written nothing, be it with an id of its own, commits
 * without a flush (RecordTransactionCommit: wrote_xlog), and what is in debt would not be durable.
 */
static void commit_durably(struct outbox *outbox, enum tag tag)
{
	if (outbox->debt.count > 0)
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "write", NULL, 0, false);
	pg_ask_prepared(outbox->pg, (int)tag, "commit", NULL, 0, false);
	pg_sync(outbox->pg);
}

/* ---- the lock, and what is owed ---- */

/* Settles again what an earlier session committed and may have lost. */
static void pay_debt(struct outbox *outbox)
{
	pg_ask_prepared(outbox->pg, TAG_IGNORE, "begin", NULL, 0, false);
	for (size_t i = 0; i < outbox->debt.count; i++) {
		const struct outbox_ids *ids = &outbox->debt.batches[i];
		struct pg_param params[] = {pg_param_text(ids->ids),
					    pg_param_text(ids->identities)};
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "settle", params, 2, false);
	}
	commit_durably(outbox, TAG_DEBT_PAID);
}

static void on_lock(struct outbox *outbox, PGresult *result)
{
	bool ours = PQgetvalue(result, 0, 0)[0] == 't' || PLANTED("two-owners");
	const struct source_events *events = outbox->source.events;
	PQclear(result);
	if (ours && outbox->debt.count > 0)
		pay_debt(outbox);
	else
		(ours ? events->acquired : events->busy)(outbox->source.owner);
}

/* ---- answers ---- */

static void on_writers(struct outbox *outbox, PGresult *result)
{
	struct writers writers;
	writers_clear(&writers);
	for (int i = 0; i < PQntuples(result); i++) {
		uint64_t writer;
		if (writers_parse(PQgetvalue(result, i, 0), &writer))
			writers_add(&writers, writer);
		else
			writers.overflow = true; /* somebody whose end we could not tell */
	}
	PQclear(result);
	outbox->source.events->observed(outbox->source.owner, outbox->drawn, &writers);
}

static void on_drawn(struct outbox *outbox, PGresult *result)
{
	/* NULL: no sequence, or nothing was ever drawn from it; what was claimed stands for it. */
	outbox->drawn = PQgetisnull(result, 0, 0) ? -1 : pg_get_int8(PQgetvalue(result, 0, 0));
	bool same = PQgetvalue(result, 0, 1)[0] != '\0'; /* a binary boolean */
	PQclear(result);
	if (!same)
		outbox_give_up(outbox, false, "another table has taken the outbox's name");
}

static void on_gauges(struct outbox *outbox, PGresult *result)
{
	struct gauges gauges = {0};
	double count = strtod(PQgetvalue(result, 0, 0), NULL);
	double first = strtod(PQgetvalue(result, 0, 1), NULL);
	double drawn = strtod(PQgetvalue(result, 0, 3), NULL);
	gauges.depth = count > GAUGE_CAP && drawn > first ? drawn - first + 1 : count;
	gauges.oldest_age_seconds = strtod(PQgetvalue(result, 0, 2), NULL);
	gauges.dead_letters = strtod(PQgetvalue(result, 0, 4), NULL);
	gauges.unfinished = outbox->purge_full;
	PQclear(result);
	outbox->source.events->gauged(outbox->source.owner, &gauges);
}

/* COMMIT of a transaction that failed answers ROLLBACK, and that is no error to the server. */
static void on_committed(struct outbox *outbox, PGresult *result, bool durable,
			 void (*done)(void *owner))
{
	bool committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
	PQclear(result);
	if (committed && durable)
		outbox_debt_clear(&outbox->debt);
	if (committed && done != NULL)
		done(outbox->source.owner);
	if (!committed)
		outbox_give_up(outbox, false, "COMMIT was answered with ROLLBACK");
}

static void on_closed(struct outbox *outbox, PGresult *result)
{
	PQclear(result);
	pg_close(&outbox->pg);
	outbox->source.events->closed(outbox->source.owner);
}

static void on_answered(void *owner, int tag, PGresult *result)
{
	struct outbox *outbox = owner;
	const struct source_events *events = outbox->source.events;
	switch ((enum tag)tag) {
	case TAG_IGNORE:
		PQclear(result);
		break;
	case TAG_FACTS:
	case TAG_COLUMNS:
	case TAG_REGISTRY:
		outbox_open_answered(outbox, (enum tag)tag, result);
		break;
	case TAG_LOCK:
		on_lock(outbox, result);
		break;
	case TAG_DRAWN:
		on_drawn(outbox, result);
		break;
	case TAG_WRITERS:
		on_writers(outbox, result);
		break;
	case TAG_CLAIM:
		events->claimed(outbox->source.owner, outbox_chunk_new(result, &outbox->shape));
		break;
	case TAG_SETTLED:
		on_committed(outbox, result, true, events->settled);
		break;
	case TAG_SETTLED_LAZILY:
		on_committed(outbox, result, false, events->settled);
		break;
	case TAG_DURABLE:
		on_committed(outbox, result, true, NULL);
		break;
	case TAG_DEBT_PAID:
		on_committed(outbox, result, true, events->acquired);
		break;
	case TAG_WITHDRAWN:
		PQclear(result);
		events->withdrawn(outbox->source.owner);
		break;
	case TAG_SET_ASIDE:
		PQclear(result);
		outbox->bare_letters = false;
		break;
	case TAG_RECOVERED:
		on_committed(outbox, result, true, events->recovered);
		break;
	case TAG_PURGED:
		outbox->purge_full = atoi(PQcmdTuples(result)) == PURGE_ROWS;
		PQclear(result);
		break;
	case TAG_GAUGES:
		on_gauges(outbox, result);
		break;
	case TAG_CLOSE:
		on_closed(outbox, result);
		break;
	}
}

static void on_notified(void *owner, const char *channel, const char *payload)
{
	struct outbox *outbox = owner;
	if (strcmp(channel, "outbox_relay") == 0 && strtoul(payload, NULL, 10) == outbox->shape.oid)
		outbox->source.events->rung(outbox->source.owner);
}

static void on_connected(void *owner)
{
	outbox_open_connected(owner);
}

/* The cheap claim fails so at an event whose text is much longer than what is stored, or cannot be
 * made at all: string_data_right_truncation, numeric_value_out_of_range, out_of_memory,
 * program_limit_exceeded, internal_error (palloc has no other). */
static bool is_for_size(const struct pg_failure *failure)
{
	static const char *const states[] = {"22001", "22003", "53200", "54000", "XX000"};
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (failure->tag == TAG_CLAIM && strcmp(failure->state, states[i]) == 0)
			return true;
	return false;
}

/* A value that jsonb cannot hold: data exception, program limit exceeded. */
static bool is_for_extra(const struct pg_failure *failure)
{
	return failure->tag == TAG_SET_ASIDE &&
	       (strncmp(failure->state, "22", 2) == 0 || strncmp(failure->state, "54", 2) == 0);
}

static void on_failed(void *owner, const struct pg_failure *failure)
{
	struct outbox *outbox = owner;
	const char *more = "";
	struct error err;
	if (strcmp(failure->state, "42501") == 0)
		more = "; run outbox-relay migrate, and connect as the role outbox_relay or a "
		       "member of it";
	if (outbox->exact_claims == 0 && is_for_size(failure)) {
		outbox->exact_claims = EXACT_CLAIMS;
		more = "; an event may be much longer as text than as it is stored: for a while "
		       "events are measured before they are claimed";
	}
	if (!outbox->bare_letters && is_for_extra(failure)) {
		outbox->bare_letters = true;
		more = "; a column that has no place of its own in a dead letter makes no jsonb: "
		       "the events are set aside without these columns";
	}
	error_set(&err, "%s%s", failure->why, more);
	outbox_give_up(outbox, failure->permanent, err.text);
}

static const struct pg_events pg_events = {
    .connected = on_connected,
    .answered = on_answered,
    .notified = on_notified,
    .failed = on_failed,
};

/* ---- asks ---- */

static void acquire(struct source *source)
{
	struct outbox *outbox = outbox_of(source);
	if (outbox->pg == NULL)
		outbox->pg =
		    pg_open(outbox->loop, outbox->config->database.dsn, &pg_events, outbox);
	else
		outbox_ask_for_lock(outbox);
}

/* The first id above the floor. Without one all are taken, those of 0 or less too. */
static struct pg_int8 above(int64_t floor)
{
	return pg_put_int8(floor > 0 && floor < INT64_MAX ? floor + 1 : INT64_MIN);
}

/* A reload may have changed it. */
static void follow_stall_timeout(struct outbox *outbox)
{
	if (outbox->stall_timeout_ms == outbox->config->outbox.stall_timeout_ms)
		return;
	outbox_open_set_stall_timeout(outbox);
	pg_sync(outbox->pg);
}

static void claim(struct source *source, const struct claim *claim)
{
	struct outbox *outbox = outbox_of(source);
	bool exact = outbox->exact_claims > 0;
	struct pg_int8 first = above(claim->floor), rows = pg_put_int8(claim->rows);
	struct pg_int8 bytes = pg_put_int8(claim->bytes);
	struct pg_param params[] = {pg_param_int8(&first), pg_param_int8(&rows),
				    pg_param_int8(&bytes)};
	if (exact)
		outbox->exact_claims--;
	if (claim->opens) {
		follow_stall_timeout(outbox);
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "begin", NULL, 0, false);
	}
	if (claim->observes) {
		/* In this order: the ids first, then who may yet commit one of them. */
		pg_ask_prepared(outbox->pg, TAG_DRAWN, "drawn", NULL, 0, true);
		pg_ask_prepared(outbox->pg, TAG_WRITERS, "writers", NULL, 0, false);
	}
	pg_ask_prepared(outbox->pg, TAG_CLAIM, exact ? "claim_exact" : "claim", params,
			exact ? 1 : 3, true);
	if (PLANTED("settle-before-ack")) {
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "commit", NULL, 0, false);
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "begin", NULL, 0, false);
	}
	pg_sync(outbox->pg);
}

static void ask_alone(struct outbox *outbox, int tag, const char *sql)
{
	pg_ask(outbox->pg, tag, sql, NULL, 0, false);
	pg_sync(outbox->pg);
}

static void settle(struct source *source, const struct batch *batch, bool more)
{
	struct outbox *outbox = outbox_of(source);
	if (!more || !outbox_debt_has_room(&outbox->debt, batch->delivered)) {
		commit_durably(outbox, TAG_SETTLED);
		return;
	}
	outbox_debt_add(&outbox->debt, batch);
	pg_ask_prepared(outbox->pg, TAG_IGNORE, "lazily", NULL, 0, false);
	pg_ask_prepared(outbox->pg, TAG_SETTLED_LAZILY, "commit", NULL, 0, false);
	pg_sync(outbox->pg);
}

static void end(struct source *source)
{
	commit_durably(outbox_of(source), TAG_DURABLE);
}

static void withdraw(struct source *source)
{
	ask_alone(outbox_of(source), TAG_WITHDRAWN,
		  PLANTED("settle-on-stall") ? "COMMIT" : "ROLLBACK");
}

static void settle_some(struct outbox *outbox, const struct batch *batch)
{
	struct outbox_ids ids;
	outbox_ids_collect(&ids, batch, EVENT_DELIVERED);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	if (ids.count > 0)
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "settle", params, 2, false);
	outbox_ids_free(&ids);
}

static void tell_bare_letters(const struct batch *batch)
{
	struct batch_walk walk;
	for (struct event *e = batch_first(batch, &walk); e != NULL; e = batch_following(&walk))
		if (e->state == EVENT_REJECTED)
			log_warning(
			    "event %lld is set aside without the columns that have no place "
			    "of their own in a dead letter",
			    (long long)e->id);
}

static void set_some_aside(struct outbox *outbox, const struct batch *batch)
{
	struct outbox_ids ids;
	outbox_ids_collect(&ids, batch, EVENT_REJECTED);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities),
				    pg_param_text(ids.reasons), pg_param_text(ids.errors)};
	if (ids.count > 0)
		pg_ask_prepared(outbox->pg, TAG_SET_ASIDE,
				outbox->bare_letters ? "set_aside_bare" : "set_aside", params, 4,
				false);
	if (outbox->bare_letters)
		tell_bare_letters(batch);
	outbox_ids_free(&ids);
}

static void recover(struct source *source, const struct batch *batch, bool set_aside)
{
	struct outbox *outbox = outbox_of(source);
	pg_ask_prepared(outbox->pg, TAG_IGNORE, "begin", NULL, 0, false);
	settle_some(outbox, batch);
	if (set_aside)
		set_some_aside(outbox, batch);
	commit_durably(outbox, TAG_RECOVERED);
}

static void bell(struct source *source, bool armed)
{
	struct outbox *outbox = outbox_of(source);
	struct pg_param param = pg_param_text("true");
	if (armed)
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "bell", &param, 1, false);
	else
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "bell_off", NULL, 0, false);
	pg_sync(outbox->pg);
}

static void housekeep(struct source *source, int64_t floor)
{
	struct outbox *outbox = outbox_of(source);
	struct pg_int8 value = above(floor);
	struct pg_param param = pg_param_int8(&value);
	if (outbox->shape.mark) {
		pg_ask_prepared(outbox->pg, TAG_PURGED, "purge", NULL, 0, false);
		pg_sync(outbox->pg);
	}
	pg_ask_prepared(outbox->pg, TAG_GAUGES, "gauges", &param, 1, false);
	pg_sync(outbox->pg);
}

static void close_when_done(struct source *source)
{
	struct outbox *outbox = outbox_of(source);
	if (outbox->debt.count > 0) {
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "begin", NULL, 0, false);
		commit_durably(outbox, TAG_DURABLE);
	}
	ask_alone(outbox, TAG_CLOSE, "SELECT");
}

static bool owes(const struct source *source)
{
	return ((const struct outbox *)source)->debt.count > 0;
}

static void drop(struct source *source)
{
	pg_close(&outbox_of(source)->pg);
}

static const struct source_ops ops = {
    .acquire = acquire,
    .claim = claim,
    .settle = settle,
    .end = end,
    .withdraw = withdraw,
    .recover = recover,
    .bell = bell,
    .housekeep = housekeep,
    .close = close_when_done,
    .owes = owes,
    .drop = drop,
};

/* ---- making one ---- */

static int add_field(struct outbox *outbox, const char *column)
{
	for (size_t i = 0; i < outbox->field_count; i++)
		if (strcmp(outbox->fields[i], column) == 0)
			return (int)i;
	if (outbox->field_count == FIELDS_MAX)
		return -1;
	outbox->fields[outbox->field_count] = outbox->owned_fields[outbox->field_count] =
	    xstrdup(column);
	return (int)outbox->field_count++;
}

int outbox_field(const char *name, void *source)
{
	struct outbox *outbox = source;
	const char *column = route_column(&outbox->config->outbox.columns, name);
	return column != NULL ? add_field(outbox, column) : -1;
}

struct source *outbox_new(struct loop *loop, const struct config *config, size_t withhold_bytes,
			  const struct source_events *events, void *owner, struct error *err)
{
	struct pgname name;
	if (!pgname_parse(config->outbox.table, &name, err))
		return NULL;
	struct outbox *outbox = xcalloc(1, sizeof(*outbox));
	outbox->source = (struct source){.ops = &ops, .events = events, .owner = owner};
	outbox->loop = loop;
	outbox->config = config;
	outbox->name = name;
	outbox->withhold_bytes = withhold_bytes;
	/* The identity is the first field, always. */
	add_field(outbox, config->outbox.columns.event_id);
	return &outbox->source;
}

void outbox_free(struct source **source)
{
	if (*source == NULL)
		return;
	struct outbox *outbox = outbox_of(*source);
	pg_close(&outbox->pg);
	outbox_shape_free(&outbox->shape);
	outbox_debt_clear(&outbox->debt);
	for (size_t i = 0; i < outbox->field_count; i++)
		free(outbox->owned_fields[i]);
	free(outbox);
	*source = NULL;
}

const char *outbox_libpq_version(void)
{
	static char text[32];
	int version = PQlibVersion();
	snprintf(text, sizeof(text), "%d.%d", version / 10000, version % 10000);
	return text;
}
