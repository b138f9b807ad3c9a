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

/* ---- answers ---- */

/* Of what is beyond the cap the ids tell: those since the first, and of them our shards' part. */
static double depth(const struct outbox *outbox, double count, double first, double drawn)
{
	const struct shards *shards = &outbox->source.shards;
	int ours = outbox->shape->partitioned ? 1 : shards_owned(shards);
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
	if (outbox->purge_more)
		outbox_polled(outbox, POLL_UNFINISHED);
	outbox->source.events->gauged(outbox->source.owner, gauges);
}

static void on_closed(struct outbox *outbox, PGresult *result)
{
	PQclear(result);
	session_close(outbox->session);
	outbox->source.events->closed(outbox->source.owner);
}

static void on_rolled_back(void *part)
{
	struct outbox *outbox = part;
	outbox_polled(outbox, POLL_ROLLED_BACK);
	outbox->source.events->rolled_back(outbox->source.owner);
}

static void on_settled(struct outbox *outbox, PGresult *result)
{
	if (!session_committed(outbox->session, result))
		return;
	outbox_polled(outbox, POLL_SETTLED);
	outbox->source.events->settled(outbox->source.owner);
}

/* Answers to what this file has asked. */
static void on_answered(void *part, int tag, PGresult *result)
{
	struct outbox *outbox = part;
	switch (tag) {
	case TAG_SETTLED:
		on_settled(outbox, result);
		break;
	case TAG_ENDED:
		session_committed(outbox->session, result);
		break;
	case TAG_CANCELLED:
		PQclear(result);
		on_rolled_back(outbox);
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

static void put_bell_to_rest(void *owner)
{
	struct outbox *outbox = owner;
	if (!outbox->rest_due)
		return;
	outbox->rest_due = false;
	session_ask(&outbox->own, TAG_IGNORE, "bell_off_told", NULL, 0, false);
	session_sync(outbox->session);
}

static void on_lost(void *part)
{
	struct outbox *outbox = part;
	outbox->rest_due = false;
	outbox_notified_forget(outbox);
	outbox_polled(outbox, POLL_LOST);
}

static void on_gone(void *owner, bool permanent, const char *why)
{
	struct outbox *outbox = owner;
	outbox->source.events->lost(outbox->source.owner, why, permanent);
}

static bool on_heard(void *owner)
{
	struct outbox *outbox = owner;
	if (outbox_was_stopped(outbox))
		return false;
	outbox->heard_us = outbox->beat_us;
	return true;
}

static const struct session_events session_events = {
    .connected = outbox_open_connected,
    .notified = outbox_notified,
    .heard = on_heard,
    .ended = put_bell_to_rest,
    .gone = on_gone,
};

static const struct asker_ops opening = {outbox_open_answered, outbox_open_refused, NULL},
			      grouping = {outbox_group_answered, NULL, outbox_group_lost},
			      claiming = {outbox_claim_answered, outbox_claim_refused,
					  outbox_claim_forget},
			      examining = {outbox_examine_answered, outbox_examine_refused,
					   outbox_refusal_forget},
			      retesting = {outbox_retest_answered, outbox_retest_refused,
					   outbox_retests_forget},
			      reconciling = {outbox_reconcile_answered, outbox_reconcile_refused,
					     outbox_reconciliation_forget},
			      purger = {outbox_purged, outbox_purge_refused, NULL},
			      own = {on_answered, outbox_commit_refused, on_lost};

/* ---- asks ---- */

static void open_session(struct source *source)
{
	struct outbox *outbox = outbox_of(source);
	outbox_polled(outbox, POLL_OPEN);
	outbox->group.unavailable = !outbox->poll.available;
	session_open(outbox->session);
}

static void available(struct source *source, bool yes)
{
	outbox_poll(outbox_of(source),
		    (struct poll_input){.event = POLL_AVAILABLE, .available = yes});
}

static void fetch(struct source *source, const struct fetch *fetch)
{
	outbox_poll(outbox_of(source), (struct poll_input){.event = POLL_FETCH, .fetch = *fetch});
}

static void hold(struct source *source, bool keeps)
{
	outbox_poll(outbox_of(source), (struct poll_input){.event = POLL_HOLD, .keeps = keeps});
}

static void settle(struct source *source)
{
	session_commit(&outbox_of(source)->own, TAG_SETTLED);
	outbox_polled(outbox_of(source), POLL_SETTLE);
}

static void roll_back(struct source *source)
{
	outbox_polled(outbox_of(source), POLL_ROLL_BACK);
}

static void do_end(struct outbox *outbox)
{
	session_commit(&outbox->own, TAG_ENDED);
}

/* A rest is answered like a transaction, in its turn. */
static void cancel(struct outbox *outbox)
{
	session_ask_text(&outbox->own, TAG_CANCELLED, "SELECT", NULL, 0);
	session_sync(outbox->session);
}

static void do_roll_back(struct outbox *outbox)
{
	if (outbox->refusal.dealing) { /* it is being rolled back, and told once it is */
		outbox->refusal.rolled_back = true;
		return;
	}
	if (!session_in_transaction(outbox->session)) {
		cancel(outbox);
		return;
	}
	if (PLANTED("settle-on-stall"))
		session_ask_text(&outbox->own, TAG_IGNORE, "COMMIT", NULL, 0);
	session_roll_back(outbox->session, on_rolled_back, outbox);
}

static void reconcile(struct source *source, const struct batch *batch, bool dead_letter)
{
	outbox_polled(outbox_of(source), POLL_RECONCILE);
	outbox_reconcile(outbox_of(source), batch, dead_letter);
}

static void do_bell(struct outbox *outbox, bool armed)
{
	struct pg_param param = pg_param_text("true");
	outbox->rest_due = !armed && outbox->others.any;
	if (outbox->rest_due) {
		if (!session_in_transaction(outbox->session))
			put_bell_to_rest(outbox);
		return;
	}
	if (armed)
		session_ask(&outbox->own, TAG_IGNORE, "bell", &param, 1, false);
	else
		session_ask(&outbox->own, TAG_IGNORE, "bell_off", NULL, 0, false);
	session_sync(outbox->session);
}

static void do_housekeep(struct outbox *outbox)
{
	/* What is held waits too, below the low watermark. */
	struct pg_int8 first =
	    outbox_above(outbox->holds.count > 0 ? 0 : outbox->poll.horizon.low_watermark);
	struct pg_param params[2] = {pg_param_int8(&first)};
	outbox_purge(outbox);
	outbox_retest(outbox);
	outbox->gauges = (struct gauges){0};
	outbox->gauges_left = session_own_count(outbox->session);
	session_ask_own_leaves(&outbox->own, TAG_GAUGES, "gauges", params, 1, false);
	session_sync(outbox->session);
}

static void close_when_done(struct source *source)
{
	outbox_polled(outbox_of(source), POLL_CLOSE);
}

static void do_close(struct outbox *outbox)
{
	outbox_group_leave(outbox);
	session_ask_text(&outbox->own, TAG_CLOSE, "SELECT", NULL, 0);
	session_sync(outbox->session);
}

static void drop(struct source *source)
{
	session_close(outbox_of(source)->session);
}

static const struct polling_ops polling_ops = {
    .look = outbox_group_look,
    .claim = outbox_claim,
    .end = do_end,
    .roll_back = do_roll_back,
    .abort = outbox_refuse_set_back,
    .bell = do_bell,
    .housekeep = do_housekeep,
    .close = do_close,
};

static const struct source_ops ops = {
    .open = open_session,
    .available = available,
    .fetch = fetch,
    .hold = hold,
    .settle = settle,
    .roll_back = roll_back,
    .reconcile = reconcile,
    .close = close_when_done,
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
			  struct metrics *metrics, const struct source_events *events, void *owner,
			  struct error *err)
{
	struct pgname name;
	if (!pgname_parse(config->outbox.table, &name, err))
		return NULL;
	struct outbox *outbox = xcalloc(1, sizeof(*outbox));
	struct source *source = &outbox->source;
	*source = (struct source){.ops = &ops, .events = events, .owner = owner};
	shards_clear(&source->shards, (int)config->outbox.shards);
	outbox->loop = loop;
	outbox->session = session_new(loop, config, &session_events, outbox);
	outbox->shape = session_shape(outbox->session);
	outbox->opening = session_join(outbox->session, &opening, outbox);
	outbox->grouping = session_join(outbox->session, &grouping, outbox);
	outbox->claiming = session_join(outbox->session, &claiming, outbox);
	outbox->examining = session_join(outbox->session, &examining, outbox);
	outbox->retesting = session_join(outbox->session, &retesting, outbox);
	outbox->reconciling = session_join(outbox->session, &reconciling, outbox);
	outbox->purger = session_join(outbox->session, &purger, outbox);
	outbox->own = session_join(outbox->session, &own, outbox);
	outbox->config = config;
	outbox->name = name;
	outbox->withhold_bytes = withhold_bytes;
	outbox->metrics = metrics;
	source->held_why = outbox->held_why;
	outbox_polling_new(outbox, &polling_ops);
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
	session_free(&outbox->session);
	loop_timer_free(&outbox->heartbeat);
	loop_timer_free(&outbox->poll_timer);
	loop_timer_free(&outbox->notified_timer);
	outbox_claim_forget(outbox);
	outbox_refusal_forget(outbox);
	outbox_reconciliation_forget(outbox);
	outbox_retests_forget(outbox);
	outbox_holds_clear(&outbox->holds);
	free(outbox->held_text);
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
