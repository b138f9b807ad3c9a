/* SPDX-License-Identifier: ISC */
/*
 * producers.c - exactly once: this session's slot, what it may have in doubt, and settling that
 */
#include "producers.h"

#include "base/clock.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "doubt.h"
#include "outbox/locks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TAG_DOUBTS = TAG_IGNORE + 1, /* whether any slot may have some */
	TAG_DOUBTS_STILL,	     /* likewise, now that shards were gained */
	TAG_LINE,
	TAG_SLOT,
	TAG_SETTLED,   /* a batch's number is written */
	TAG_OWNED,     /* or which slot is in the way */
	TAG_OWNED_TOO, /* likewise, in the transaction that resolves */
	TAG_RESOLVED,  /* its COMMIT */
	TAG_TRIED,     /* whether that slot's lock is free */
	TAG_PROVED     /* the session is there yet: what it knows does not go with the ledger */
};

/* A slot that another relay is about to resolve is looked at again after this. It takes a second at
 * most where nothing is wrong. */
enum { AGAIN_US = 50 * 1000, PATIENCE_US = 2 * 1000 * 1000, WAITS_LOG_US = 60 * 1000 * 1000 };
enum { TID = sizeof("(4294967295,65535)") };

struct producers {
	struct session *session;
	struct asker asker;
	struct source *source;
	struct reconciler *reconciler; /* borrowed */
	const struct producers_events *events;
	void *owner;
	struct loop_timer *again;
	char line[SERVER_LINE], cluster[80]; /* this server's; Kafka's id as it was */
	struct doubt_side side;		     /* borrows these */
	char place[TID], next_place[TID];    /* of the slot's row; the same after this batch */
	char *kafka;	      /* owned; Kafka's id as the ledger has it; may be NULL */
	uint64_t used;	      /* slots that the ledger knows */
	bool resolved;	      /* nothing is in doubt, but perhaps the batch under way */
	bool described;	      /* a batch, which Kafka was asked to commit or is about to be */
	char *note;	      /* owned; of that */
	struct doubt doubt;   /* owned; what is being resolved */
	struct error refusal; /* or why it must not be */
	bool resolving;	     /* and the events' are to be told of that, not that shards are owned */
	struct shards ours;  /* the database knows of these: something may be in doubt */
	struct shards asked; /* to be ours */
	int other;	     /* the slot that is in the way */
	bool wants_doubt;    /* the next session is begun to resolve one; it outlives this one */
	bool unavailable;    /* this relay was, when it took its slot */
	int64_t waits_us;    /* since when for that slot; 0: it does not */
	struct log_limit waits_log;
};

static bool is_used(const struct producers *producers)
{
	return session_config(producers->session)->kafka.delivery == DELIVERY_EXACTLY_ONCE;
}

static bool is_clean(const struct producers *producers)
{
	return producers->resolved && !producers->described;
}

/* ---- the slot ---- */

static void begin(struct producers *producers, bool unavailable)
{
	char sql[400];
	unsigned oid = session_shape(producers->session)->oid;
	producers->resolved = producers->described = producers->resolving = false;
	session_ask_text(&producers->asker, TAG_LINE, "SELECT outbox_relay.server_line()", NULL, 0);
	snprintf(sql, sizeof(sql),
		 "SELECT t.*, coalesce(p.line = outbox_relay.server_line(), false), "
		 "coalesce(p.line <> '', false) FROM outbox_relay.take_slot(%u::oid, %d, %s) AS t "
		 "LEFT JOIN outbox_relay.producers AS p ON p.outbox = %u::oid AND p.slot = t.slot",
		 oid, OUTBOX_SLOT_LOCK, unavailable && !producers->wants_doubt ? "true" : "false",
		 oid);
	producers->wants_doubt = false;
	producers->unavailable = unavailable;
	session_ask_text(&producers->asker, TAG_SLOT, sql, NULL, 0);
	session_sync(producers->session);
}

/* At least once nobody would look at what is in doubt. */
static void ask_doubts(struct producers *producers, int tag)
{
	char sql[160];
	session_sync(producers->session); /* what was asked before must not fail with this */
	snprintf(sql, sizeof(sql),
		 "SELECT count(*) FROM outbox_relay.producer_shards WHERE outbox = %u::oid",
		 session_shape(producers->session)->oid);
	session_ask_text(&producers->asker, tag, sql, NULL, 0);
	session_sync(producers->session);
}

/* So far it may be in the group. What it gained may have been that of a relay that left doubts. */
static void go_on_without(struct producers *producers, int tag)
{
	if (tag == TAG_DOUBTS)
		producers->events->slotted(producers->owner);
	else
		producers->events->owned(producers->owner);
}

static void on_doubts(struct producers *producers, int tag, PGresult *result)
{
	bool none = atoi(PQgetvalue(result, 0, 0)) == 0;
	PQclear(result);
	if (none)
		go_on_without(producers, tag);
	else
		session_give_up(
		    producers->session, false,
		    "relays with kafka.delivery = \"exactly-once\" are at work, or have "
		    "left events in doubt: stop them, and if they are gone start one of "
		    "them until it is ready, and stop it");
}

void producers_begin(struct producers *producers, bool unavailable)
{
	if (is_used(producers))
		begin(producers, unavailable);
	else
		ask_doubts(producers, TAG_DOUBTS);
}

static void on_slot(struct producers *producers, PGresult *result)
{
	struct producer_id *id = &producers->source->producer;
	bool got = PQntuples(result) > 0;
	if (got) {
		id->number = atoi(PQgetvalue(result, 0, 0));
		id->settled = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
		text_print(id->group, sizeof(id->group), "%s", PQgetvalue(result, 0, 2));
		text_print(producers->cluster, sizeof(producers->cluster), "%s",
			   PQgetvalue(result, 0, 3));
		text_print(id->line, sizeof(id->line), "%s",
			   PQgetvalue(result, 0, 4)[0] == 't' ? "" : producers->line);
		id->announced = PQgetvalue(result, 0, 5)[0] == 't';
	}
	PQclear(result);
	if (got)
		producers->events->slotted(producers->owner);
	else
		session_give_up(producers->session, false,
				"64 relays of this outbox are connected already, and with "
				"kafka.delivery = \"exactly-once\" no more can be; this one waits "
				"for the end of another");
}

/* ---- shards ---- */

/* Whatever tells in which shard a row is. */
static long long layout_of(const struct producers *producers)
{
	const struct outbox_shape *shape = session_shape(producers->session);
	return (long long)outbox_sql_fingerprint(shape) << 12 |
	       session_shards(producers->session)->count;
}

/* Partitions are known by their oids, since others may come and go. */
static char *shards_of(const struct producers *producers, const struct shards *shards)
{
	const struct outbox_shape *shape = session_shape(producers->session);
	char *text = xstrdup("");
	for (int k = 0; k < shards->count; k++)
		if (shards->owned[k])
			xappend(&text, "%s%u", text[0] != '\0' ? "," : "",
				shape->partitioned ? shape->leaves[k].oid : (unsigned)k);
	char *array = xasprintf("{%s}", text);
	free(text);
	return array;
}

static void ask_own(struct producers *producers, int tag)
{
	char sql[160];
	char *shards = shards_of(producers, &producers->asked);
	struct pg_param param = pg_param_text(shards);
	snprintf(sql, sizeof(sql), "SELECT outbox_relay.own_shards(%u::oid, %d, %lld, $1)",
		 session_shape(producers->session)->oid, producers->source->producer.number,
		 layout_of(producers));
	session_ask_text(&producers->asker, tag, sql, &param, 1);
	free(shards);
}

static void own(void *arg)
{
	struct producers *producers = arg;
	producers->asked = *session_shards(producers->session);
	ask_own(producers, TAG_OWNED);
	session_sync(producers->session);
}

void producers_own(struct producers *producers)
{
	/* What is in doubt is resolved before anything is claimed, and the shards with it. Until
	 * then it must not be forgotten for the sake of another slot that is in the way. */
	if (!is_used(producers))
		ask_doubts(producers, TAG_DOUBTS_STILL);
	else if (!is_clean(producers))
		producers->events->owned(producers->owner);
	else
		own(producers);
}

static void wait_no_more(struct producers *producers)
{
	if (producers->waits_us != 0)
		producers->source->obstacle[0] = '\0';
	producers->waits_us = 0;
}

static void tell(struct producers *producers)
{
	bool resolving = producers->resolving;
	wait_no_more(producers);
	int64_t events = (int64_t)producers->doubt.count;
	producers->resolving = false;
	producers->ours = producers->asked;
	doubt_fini(&producers->doubt);
	if (resolving)
		producers->events->resolved(producers->owner, events);
	else
		producers->events->owned(producers->owner);
}

/* If nobody has it, it is ours to resolve, by a session of its own. That must not find it locked by
 * this one, which the server may keep for a while. */
static void try_other(struct producers *producers)
{
	char sql[160];
	int oid = (int)session_shape(producers->session)->oid;
	int key = OUTBOX_SLOT_LOCK | producers->other;
	snprintf(sql, sizeof(sql),
		 "SELECT CASE WHEN pg_try_advisory_lock(%d, %d) THEN pg_advisory_unlock(%d, %d) "
		 "ELSE false END",
		 oid, key, oid, key);
	session_ask_text(&producers->asker, TAG_TRIED, sql, NULL, 0);
	session_sync(producers->session);
}

static void note_owned(struct producers *producers, PGresult *result)
{
	producers->other = PQgetisnull(result, 0, 0) ? -1 : atoi(PQgetvalue(result, 0, 0));
	if (PLANTED("owns-in-doubt"))
		producers->other = -1;
	PQclear(result);
}

/* Others may have been gained meanwhile. Whoever has none waits for nobody. */
static void go_on(struct producers *producers)
{
	bool none = shards_owned(session_shards(producers->session)) == 0;
	if (producers->other >= 0 && !none)
		try_other(producers);
	else if (!shards_equal(&producers->asked, session_shards(producers->session)))
		own(producers);
	else
		tell(producers);
}

/* No look at the group is made meanwhile, which would write other words in their place. */
static void tell_of_waiting(struct producers *producers)
{
	struct source *source = producers->source;
	int64_t now = clock_monotonic_us();
	if (producers->waits_us == 0)
		producers->waits_us = now;
	if (now < producers->waits_us + PATIENCE_US)
		return;
	text_print(source->obstacle, sizeof(source->obstacle),
		   "another relay holds producer slot %d and has not settled yet what that one "
		   "may have left in doubt of this relay's shards, whose events wait; see whether "
		   "that relay reaches Kafka, or end it",
		   producers->other);
	if (log_limit_due(&producers->waits_log, now, WAITS_LOG_US))
		log_fact(LOG_WARNING, "slot_unresolved",
			 LOG_FIELDS(field_number("slot", producers->other)), "%s%s",
			 source->obstacle, producers->waits_log.note);
}

static void wait_for_other(struct producers *producers)
{
	tell_of_waiting(producers);
	loop_timer_set(producers->again, AGAIN_US);
}

static void on_tried(struct producers *producers, PGresult *result)
{
	bool got = PQgetvalue(result, 0, 0)[0] == 't';
	PQclear(result);
	producers->wants_doubt = got; /* it has just resolved its own, so it can */
	if (got)
		session_renew(producers->session,
			      "another relay has left events in doubt, which are settled first");
	else
		wait_for_other(producers);
}

static void forget_shards(struct producers *producers, const struct shards *shards)
{
	char sql[200];
	if (shards_owned(shards) == 0)
		return;
	char *given = shards_of(producers, shards);
	struct pg_param param = pg_param_text(given);
	snprintf(sql, sizeof(sql),
		 "DELETE FROM outbox_relay.producer_shards WHERE outbox = %u::oid AND layout = "
		 "%lld AND slot = %d AND shard = ANY ($1::int8[])",
		 session_shape(producers->session)->oid, layout_of(producers),
		 producers->source->producer.number);
	session_ask_text(&producers->asker, TAG_IGNORE, sql, &param, 1);
	session_sync(producers->session); /* committed before the lock goes */
	free(given);
}

bool producers_stand_by(struct producers *producers, bool unavailable)
{
	bool keeps = !unavailable || producers->unavailable || producers->resolved;
	if (!is_used(producers) || keeps)
		return true;
	session_renew(producers->session, "no connection to Kafka here, and another relay can "
					  "resolve what its slot may have in doubt");
	return false;
}

void producers_leave(struct producers *producers)
{
	if (is_used(producers) && is_clean(producers))
		forget_shards(producers, session_shards(producers->session));
}

bool producers_give(struct producers *producers, const struct shards *shards)
{
	if (is_used(producers) && is_clean(producers)) {
		forget_shards(producers, shards);
	} else if (is_used(producers) && shards_overlap(&producers->ours, shards)) {
		session_renew(producers->session,
			      "its shards go to other relays, and what is in doubt of them");
		return false;
	}
	return true;
}

/* ---- a batch ---- */

void producers_describe(struct producers *producers, const struct batch *batch,
			struct ledger_batch *described)
{
	size_t len;
	free(producers->note);
	producers->note = note_write(producers->line, batch, &len);
	producers->described = true;
	*described = (struct ledger_batch){.number = producers->source->producer.settled + 1,
					   .note = {producers->note, len}};
}

/* The row is found at its place, once that is known. By its key all its versions would be walked
 * that vacuum cannot remove beside an old snapshot, and each batch leaves one. */
void producers_settle(struct producers *producers)
{
	char sql[240], at[TID + 16] = "";
	const struct producer_id *id = &producers->source->producer;
	if (!producers->described || PLANTED("number-left-out"))
		return;
	if (producers->place[0] != '\0')
		snprintf(at, sizeof(at), "ctid = '%s' AND ", producers->place);
	snprintf(sql, sizeof(sql),
		 "UPDATE outbox_relay.producers SET settled = %lld WHERE %soutbox = %u::oid AND "
		 "slot = %d AND settled = %lld RETURNING ctid",
		 (long long)id->settled + 1, at, session_shape(producers->session)->oid, id->number,
		 (long long)id->settled);
	session_ask_text(&producers->asker, TAG_SETTLED, sql, NULL, 0);
}

static void on_number(struct producers *producers, PGresult *result)
{
	bool written = PQntuples(result) == 1;
	text_print(producers->next_place, TID, "%s", written ? PQgetvalue(result, 0, 0) : "");
	PQclear(result);
	if (!written)
		session_give_up(producers->session, false,
				"the number of the last batch in outbox_relay.producers is not "
				"what this relay has written, or its row was moved");
}

void producers_settled(struct producers *producers)
{
	if (!producers->described)
		return;
	producers->described = false;
	producers->source->producer.settled++;
	memcpy(producers->place, producers->next_place, TID);
}

/* ---- what is in doubt ---- */

/* Who it is that holds them is this process alone: the next one would publish them again. */
static void refuse_kept(struct producers *producers)
{
	struct source *source = producers->source;
	producers->resolving = false;
	doubt_fini(&producers->doubt);
	text_print(
	    source->refusal, sizeof(source->refusal),
	    "%zu events are published and cannot be removed, and with kafka.delivery = "
	    "\"exactly-once\" nothing else is published before they are: another session has "
	    "locked them, or a trigger or rule of the table keeps them",
	    reconciler_kept(producers->reconciler));
	producers->events->refused(producers->owner);
}

static void on_reconciled(void *arg)
{
	struct producers *producers = arg;
	const struct producer_id *id = &producers->source->producer;
	struct pg_param param = pg_param_text(producers->kafka);
	char sql[200];
	if (reconciler_kept(producers->reconciler) > 0) {
		refuse_kept(producers);
		return;
	}
	FAILPOINT("before-resolved");
	session_begin(producers->session);
	snprintf(sql, sizeof(sql), "SELECT outbox_relay.resolved_slot(%u::oid, %d, %lld, $1, %lld)",
		 session_shape(producers->session)->oid, id->number,
		 (long long)producers->doubt.upto, (long long)producers->used);
	session_ask_text(&producers->asker, TAG_IGNORE, sql, &param, 1);
	producers->asked = *session_shards(producers->session);
	ask_own(producers, TAG_OWNED_TOO);
	session_commit(&producers->asker, TAG_RESOLVED);
}

static void on_resolved(struct producers *producers, PGresult *result)
{
	if (!session_committed(producers->session, result))
		return;
	FAILPOINT("resolved");
	producers->source->producer.settled = producers->doubt.upto;
	producers->source->producer.line[0] = '\0'; /* the ledger has it */
	producers->source->producer.announced = true;
	producers->resolved = true;
	producers->described = false;
	producers->place[0] = '\0';
	go_on(producers);
}

/* A planted error. */
static void settle_up_to(struct producers *producers)
{
	const struct doubt *doubt = &producers->doubt;
	int64_t highest = 0;
	for (size_t i = 0; i < doubt->count; i++)
		highest = doubt->items[i].id > highest ? doubt->items[i].id : highest;
	char *sql = xasprintf("DELETE FROM %s WHERE id <= %lld",
			      session_shape(producers->session)->table, (long long)highest);
	session_ask_text(&producers->asker, TAG_IGNORE, sql, NULL, 0);
	session_sync(producers->session);
	free(sql);
}

void producers_resolve(struct producers *producers, const struct ledger *ledger)
{
	struct source *source = producers->source;
	doubt_fini(&producers->doubt);
	free(producers->kafka);
	producers->kafka = ledger->cluster != NULL ? xstrdup(ledger->cluster) : NULL;
	producers->used = ledger->used;
	if (!doubt_read(&producers->doubt, ledger, &producers->side, &producers->refusal)) {
		/* Of a session that was lost unnoticed, the slot may be another relay's by now. */
		session_ask_text(&producers->asker, TAG_PROVED, "SELECT", NULL, 0);
		session_sync(producers->session);
		return;
	}
	if (PLANTED("slot-unresolved"))
		producers->doubt.count = 0;
	if (PLANTED("settles-up-to"))
		settle_up_to(producers);
	source->refusal[0] = '\0';
	producers->resolving = true;
	reconciler_settle(producers->reconciler, producers->doubt.items, producers->doubt.count,
			  on_reconciled, producers);
}

static void on_proved(struct producers *producers)
{
	struct source *source = producers->source;
	text_print(source->refusal, sizeof(source->refusal), "%s", producers->refusal.text);
	producers->events->refused(producers->owner);
}

/* ---- the session ---- */

static void on_answered(void *part, int tag, PGresult *result)
{
	struct producers *producers = part;
	switch (tag) {
	case TAG_DOUBTS:
	case TAG_DOUBTS_STILL:
		on_doubts(producers, tag, result);
		break;
	case TAG_LINE:
		text_print(producers->line, sizeof(producers->line), "%s",
			   PQgetvalue(result, 0, 0));
		PQclear(result);
		break;
	case TAG_SLOT:
		on_slot(producers, result);
		break;
	case TAG_SETTLED:
		on_number(producers, result);
		break;
	case TAG_OWNED:
		note_owned(producers, result);
		go_on(producers);
		break;
	case TAG_OWNED_TOO:
		note_owned(producers, result);
		break;
	case TAG_RESOLVED:
		on_resolved(producers, result);
		break;
	case TAG_TRIED:
		on_tried(producers, result);
		break;
	case TAG_PROVED:
		PQclear(result);
		on_proved(producers);
		break;
	default:
		PQclear(result);
		break;
	}
}

/* A role whose rights were granted by hand may lack this one. It must not look, and needs not: it
 * sees no rows either (the policy of the table). */
static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct producers *producers = part;
	bool looks = failure->tag == TAG_DOUBTS || failure->tag == TAG_DOUBTS_STILL;
	bool may_not_look = looks && strcmp(failure->state, "42501") == 0;
	if (may_not_look)
		go_on_without(producers, failure->tag);
	return may_not_look;
}

static void on_lost(void *part)
{
	struct producers *producers = part;
	loop_timer_stop(producers->again);
	wait_no_more(producers);
	producers->resolved = producers->described = producers->resolving = false;
	producers->source->producer.number = -1;
	shards_clear(&producers->ours, 0);
	doubt_fini(&producers->doubt);
}

struct producers *producers_new(struct loop *loop, struct session *session, struct source *source,
				struct reconciler *reconciler,
				const struct producers_events *events, void *owner)
{
	static const struct asker_ops ops = {on_answered, on_refused, on_lost};
	struct producers *producers = xcalloc(1, sizeof(*producers));
	producers->session = session;
	producers->asker = session_join(session, &ops, producers);
	producers->source = source;
	producers->reconciler = reconciler;
	producers->events = events;
	producers->owner = owner;
	producers->side =
	    (struct doubt_side){&source->producer, producers->line, producers->cluster};
	producers->again = loop_timer_new(loop, own, producers);
	source->producer.number = -1;
	return producers;
}

void producers_free(struct producers **producers)
{
	if (*producers == NULL)
		return;
	loop_timer_free(&(*producers)->again);
	doubt_fini(&(*producers)->doubt);
	free((*producers)->note);
	free((*producers)->kafka);
	free(*producers);
	*producers = NULL;
}
