/*
 * outbox.c - the outbox table as a source: one session, its statements and their answers
 *
 * The session's way: connect, look the table up (facts, columns), make the statements to its shape,
 * try for the shard's lock; then serve asks. Every error ends the session: the next one begins from
 * nothing.
 */
#include "outbox/outbox.h"

#include "base/failpoints.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "core/route.h"
#include "core/template.h"
#include "ids.h"
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct outbox *outbox_of(struct source *source)
{
	return (struct outbox *)source;
}

static void close_session(struct outbox *outbox)
{
	outbox_group_lost(outbox);
	pg_close(&outbox->pg);
	outbox->serving = outbox->in_transaction = outbox->rest_due = false;
	outbox_claim_forget(outbox);
	outbox_notified_forget(outbox);
	outbox_refusal_forget(outbox);
	outbox_reconciliation_forget(outbox);
	outbox_retests_forget(outbox);
}

void outbox_give_up(struct outbox *outbox, bool permanent, const char *why)
{
	const struct source_events *events = outbox->source.events;
	close_session(outbox);
	(permanent ? events->refused : events->lost)(outbox->source.owner, why);
}

void outbox_begin(struct outbox *outbox)
{
	pg_ask_prepared(outbox->pg, TAG_IGNORE, "begin", NULL, 0, false);
	if (outbox->guarded)
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "immediate", NULL, 0, false);
}

void outbox_commit(struct outbox *outbox, enum tag tag)
{
	pg_ask_prepared(outbox->pg, (int)tag, "commit", NULL, 0, false);
	pg_sync(outbox->pg);
}

/* ---- the leaves ---- */

void outbox_ask_leaf(struct outbox *outbox, enum tag tag, const char *name, size_t leaf,
		     const struct pg_param *params, int count, bool binary)
{
	char full[48];
	snprintf(full, sizeof(full), "%s %zu", name, leaf);
	pg_ask_prepared(outbox->pg, (int)tag, full, params, count, binary);
}

int outbox_param_mine(const struct outbox *outbox, struct pg_param *params, int count)
{
	if (outbox->shape.hashed == 0)
		return count;
	params[count] = pg_param_text(outbox->owned_text);
	return count + 1;
}

void outbox_ask_own_leaves(struct outbox *outbox, enum tag tag, const char *name,
			   struct pg_param *params, int count, bool binary)
{
	count = outbox_param_mine(outbox, params, count);
	for (size_t i = 0; i < outbox->own_count; i++)
		outbox_ask_leaf(outbox, tag, name, outbox->own[i], params, count, binary);
}

/* Settling is by identity and of what was published or rejected: in every leaf, whoever owns it by
 * now. outbox_open_leaves comes before. */
void outbox_ask_all_leaves(struct outbox *outbox, enum tag tag, const char *name,
			   const struct pg_param *params, int count)
{
	for (size_t leaf = 0; leaf < outbox->shape.leaf_count; leaf++)
		outbox_ask_leaf(outbox, tag, name, leaf, params, count, false);
}

/* ---- answers ---- */

/* Of what is beyond the cap the ids tell: those since the first, and of them our shards' part. */
static double depth(const struct outbox *outbox, double count, double first, double drawn)
{
	const struct shards *shards = &outbox->source.shards;
	int ours = outbox->shape.partitioned ? 1 : shards_owned(shards);
	double estimate = (drawn - first + 1) * ours / shards->count;
	return count > (double)GAUGE_CAP && estimate > count ? estimate : count;
}

/* A leaf's; told when all are there. */
static void on_gauges(struct outbox *outbox, PGresult *result)
{
	struct gauges *gauges = &outbox->gauges;
	double count = strtod(PQgetvalue(result, 0, 0), NULL);
	double first = strtod(PQgetvalue(result, 0, 1), NULL);
	double age = strtod(PQgetvalue(result, 0, 2), NULL);
	double drawn = strtod(PQgetvalue(result, 0, 3), NULL);
	gauges->depth += depth(outbox, count, first, drawn);
	if (age > gauges->oldest_age_seconds)
		gauges->oldest_age_seconds = age;
	gauges->dead_letters = strtod(PQgetvalue(result, 0, 4), NULL);
	PQclear(result);
	if (--outbox->gauges_left > 0)
		return;
	gauges->unfinished |= outbox->purge_more;
	outbox->source.events->gauged(outbox->source.owner, gauges);
}

/* COMMIT of a transaction that failed answers ROLLBACK, and that is no error to the server. */
bool outbox_committed(struct outbox *outbox, PGresult *result)
{
	bool yes = strcmp(PQcmdStatus(result), "COMMIT") == 0;
	PQclear(result);
	if (!yes)
		outbox_give_up(outbox, false, "COMMIT was answered with ROLLBACK");
	return yes;
}

static void on_closed(struct outbox *outbox, PGresult *result)
{
	PQclear(result);
	close_session(outbox);
	outbox->source.events->closed(outbox->source.owner);
}

static void on_rolled_back(struct outbox *outbox, PGresult *result)
{
	PQclear(result);
	outbox->refusal.aborting = outbox->refusal.rolled_back = false;
	outbox->source.events->rolled_back(outbox->source.owner);
}

/* Answers to what this file has asked. */
static void own_answered(struct outbox *outbox, enum tag tag, PGresult *result)
{
	switch (tag) {
	case TAG_SETTLED:
		if (outbox_committed(outbox, result))
			outbox->source.events->settled(outbox->source.owner);
		break;
	case TAG_ENDED:
		outbox_committed(outbox, result);
		break;
	case TAG_ROLLED_BACK:
		on_rolled_back(outbox, result);
		break;
	case TAG_PURGED:
		outbox_purged(outbox, result);
		break;
	case TAG_GAUGES:
		on_gauges(outbox, result);
		break;
	case TAG_CLOSE:
		on_closed(outbox, result);
		break;
	default:
		PQclear(result); /* of no account */
		break;
	}
}

/* Whose an answer is: that of the first whose last tag is not before it. */
static const struct {
	enum tag last;
	void (*answered)(struct outbox *outbox, enum tag tag, PGresult *result);
} askers[] = {
    {TAG_OPEN_LAST, outbox_open_answered},	     {TAG_GROUP_LAST, outbox_group_answered},
    {TAG_CLAIM_LAST, outbox_claim_answered},	     {TAG_ABORTED, outbox_aborted},
    {TAG_EXAMINE_LAST, outbox_examine_answered},     {TAG_RETEST_LAST, outbox_retest_answered},
    {TAG_RECONCILE_LAST, outbox_reconcile_answered}, {TAG_CLOSE, own_answered},
};

static void on_answered(void *owner, int tag, PGresult *result)
{
	struct outbox *outbox = owner;
	bool ends = tag == TAG_ABORTED || tag == TAG_ROLLED_BACK;
	size_t asker = 0;
	if (outbox_was_stopped(outbox)) {
		PQclear(result);
		return;
	}
	outbox->heard_us = outbox->beat_us;
	if (tag == TAG_IGNORE || (outbox->refusal.aborting && !ends)) {
		PQclear(result);
		return;
	}
	while (askers[asker].last < (enum tag)tag)
		asker++;
	askers[asker].answered(outbox, (enum tag)tag, result);
}

static void on_notified(void *owner, const char *channel, const char *payload, int sender)
{
	struct outbox *outbox = owner;
	if (strcmp(channel, "outbox_relay") == 0 && !outbox_was_stopped(outbox))
		outbox_notified(outbox, payload, sender);
}

static void on_connected(void *owner)
{
	outbox_open_connected(owner);
}

static bool on_refused(void *owner, const struct pg_failure *failure)
{
	struct outbox *outbox = owner;
	return outbox_was_stopped(outbox) || outbox_refused(outbox, failure);
}

static void on_failed(void *owner, const struct pg_failure *failure)
{
	struct outbox *outbox = owner;
	const char *more = "";
	struct error err;
	if (strcmp(failure->state, "42501") == 0)
		more = "; run outbox-relay migrate, and connect as the role outbox_relay or a "
		       "member of it";
	/* What cannot be prepared, or claims nothing without an error, never will. */
	bool set_up = failure->tag == TAG_PREPARED && failure->state[0] != '\0' &&
		      !passing_kind(failure->state);
	error_set(&err, "%s%s", failure->why, more);
	outbox_give_up(outbox, failure->permanent || set_up, err.text);
}

static const struct pg_events pg_events = {
    .connected = on_connected,
    .answered = on_answered,
    .notified = on_notified,
    .refused = on_refused,
    .failed = on_failed,
};

/* ---- asks ---- */

static void acquire(struct source *source, bool unavailable, bool keeps)
{
	struct outbox *outbox = outbox_of(source);
	if (outbox->pg != NULL) {
		outbox_group_look(outbox, unavailable, keeps);
		return;
	}
	outbox->group.unavailable = unavailable;
	outbox->pg = pg_open(outbox->loop, outbox->config->database.dsn, &pg_events, outbox);
}

static void put_bell_to_rest(struct outbox *outbox)
{
	if (!outbox->rest_due)
		return;
	outbox->rest_due = false;
	pg_ask_prepared(outbox->pg, TAG_IGNORE, "bell_off_told", NULL, 0, false);
	pg_sync(outbox->pg);
}

void outbox_ended(struct outbox *outbox)
{
	outbox->in_transaction = false;
	put_bell_to_rest(outbox);
}

static void ask_alone(struct outbox *outbox, int tag, const char *sql)
{
	pg_ask(outbox->pg, tag, sql, NULL, 0, false);
	pg_sync(outbox->pg);
}

static void settle(struct source *source, const struct batch *batch, bool more)
{
	struct outbox *outbox = outbox_of(source);
	(void)batch;
	(void)more;
	outbox_commit(outbox, TAG_SETTLED);
	outbox_ended(outbox);
}

static void end(struct source *source)
{
	outbox_commit(outbox_of(source), TAG_ENDED);
	outbox_ended(outbox_of(source));
}

static void roll_back(struct source *source)
{
	struct outbox *outbox = outbox_of(source);
	if (outbox->refusal.dealing) { /* it is being rolled back, and told once it is */
		outbox->refusal.rolled_back = true;
		return;
	}
	ask_alone(outbox, TAG_ROLLED_BACK, PLANTED("settle-on-stall") ? "COMMIT" : "ROLLBACK");
	outbox_ended(outbox);
}

static void bell(struct source *source, bool armed)
{
	struct outbox *outbox = outbox_of(source);
	struct pg_param param = pg_param_text("true");
	outbox->rest_due = !armed && outbox->source.has_peers;
	if (outbox->rest_due) {
		if (!outbox->in_transaction)
			put_bell_to_rest(outbox);
		return;
	}
	if (armed)
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "bell", &param, 1, false);
	else
		pg_ask_prepared(outbox->pg, TAG_IGNORE, "bell_off", NULL, 0, false);
	pg_sync(outbox->pg);
}

static void housekeep(struct source *source, int64_t low_watermark)
{
	struct outbox *outbox = outbox_of(source);
	/* What is held waits too, below the low watermark. */
	struct pg_int8 first = outbox_above(outbox->holds.count > 0 ? 0 : low_watermark);
	struct pg_param params[2] = {pg_param_int8(&first)};
	outbox_purge(outbox);
	outbox_retest(outbox);
	outbox->gauges = (struct gauges){0};
	outbox->gauges_left = outbox->own_count;
	outbox_ask_own_leaves(outbox, TAG_GAUGES, "gauges", params, 1, false);
	pg_sync(outbox->pg);
}

static void close_when_done(struct source *source)
{
	struct outbox *outbox = outbox_of(source);
	outbox_group_leave(outbox);
	ask_alone(outbox, TAG_CLOSE, "SELECT");
}

static bool owes(const struct source *source)
{
	(void)source;
	return false;
}

static void drop(struct source *source)
{
	close_session(outbox_of(source));
}

static const struct source_ops ops = {
    .acquire = acquire,
    .claim = outbox_claim,
    .settle = settle,
    .end = end,
    .roll_back = roll_back,
    .reconcile = outbox_reconcile,
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

/* A template_new's field function, which only takes down what is named. */
static int add_key(const char *name, void *arg)
{
	struct outbox *outbox = arg;
	const char *column = route_column(&outbox->config->outbox.columns, name);
	for (size_t i = 0; column != NULL && i < outbox->key_count; i++)
		if (strcmp(outbox->keys[i], column) == 0)
			return (int)i;
	if (column == NULL || outbox->key_count == ROUTE_FIELDS_MAX)
		return -1;
	outbox->keys[outbox->key_count] = outbox->owned_keys[outbox->key_count] = xstrdup(column);
	return (int)outbox->key_count++;
}

/* The columns that the Kafka key is made of, since order is by that key. */
static bool find_keys(struct outbox *outbox, struct error *err)
{
	struct template *key = template_new(outbox->config->route.key, add_key, outbox, err);
	bool parsed = key != NULL;
	template_free(&key);
	return parsed;
}

struct source *outbox_new(struct loop *loop, const struct config *config, size_t withhold_bytes,
			  const struct source_events *events, void *owner, struct error *err)
{
	struct pgname name;
	if (!pgname_parse(config->outbox.table, &name, err))
		return NULL;
	struct outbox *outbox = xcalloc(1, sizeof(*outbox));
	struct source *source = &outbox->source;
	*source = (struct source){.ops = &ops, .events = events, .owner = owner};
	shards_clear(&source->shards, (int)config->outbox.shards);
	outbox->loop = loop;
	outbox->config = config;
	outbox->name = name;
	outbox->withhold_bytes = withhold_bytes;
	source->held_why = outbox->held_why;
	outbox_heartbeat_new(outbox);
	outbox_notified_new(outbox);
	/* The identity is the first field, always. */
	add_field(outbox, config->outbox.columns.event_id);
	if (!find_keys(outbox, err))
		outbox_free(&source);
	return source;
}

void outbox_free(struct source **source)
{
	if (*source == NULL)
		return;
	struct outbox *outbox = outbox_of(*source);
	pg_close(&outbox->pg);
	loop_timer_free(&outbox->heartbeat);
	loop_timer_free(&outbox->notified_timer);
	outbox_claim_forget(outbox);
	outbox_shape_free(&outbox->shape);
	outbox_refusal_forget(outbox);
	outbox_reconciliation_forget(outbox);
	outbox_retests_forget(outbox);
	outbox_holds_clear(&outbox->holds);
	free(outbox->held_text);
	free(outbox->owned_text);
	for (size_t i = 0; i < outbox->field_count; i++)
		free(outbox->owned_fields[i]);
	for (size_t i = 0; i < outbox->key_count; i++)
		free(outbox->owned_keys[i]);
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
