/* SPDX-License-Identifier: ISC */
/*
 * held.c - the rows that do not go: says which, and tries them again
 */
#include "held.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "chunk.h"
#include "ids.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	TAG_RETEST = TAG_IGNORE + 1, /* a held row is taken, to see whether it can be */
	TAG_RETOOK,		     /* and whether it is gone then */
	TAG_RESETTLED,		     /* a held row that is published is settled */
	TAG_RESTILL		     /* whether a held row is still there */
};

/* So many held rows are named in the log one by one; status names the first, and tells how many. */
enum { NAMED_MAX = 20 };

/* So many are tried again at a time. */
enum { RETESTS_MAX = 16 };

/* That nothing is published is said so often. */
enum { REMIND_US = 600 * 1000 * 1000 };

const char held_kept_words[] =
    "the statement is done and the row is there as before: a trigger or a "
    "rule of the table keeps it";

struct held {
	struct session *session;
	struct asker asker;
	struct opening *opening;
	struct source *source;
	void (*released)(void *owner, bool more);
	void *owner;
	struct outbox_holds holds; /* outlive the session */
	char *text;		   /* owned; as a parameter; NULL: none */
	/* Owned; of the event that source->halted_at and held_why are about. */
	char *event_id, *key, *cause, *remove, *change, *why;
	struct log_field shard; /* likewise */
	int64_t reminded_us;
	/* Those being tried again, in the order of the asks. */
	struct {
		int64_t id;
		char *identity; /* owned */
		bool can_go;
	} retests[RETESTS_MAX];
	size_t count, answered, released_count;
	size_t answers_left; /* of the one that is looked for, in all leaves */
	bool there;
};

/* ---- what is held ---- */

static const char *verb(const struct held *held)
{
	return session_shape(held->session)->mark ? "marked in" : "removed from";
}

static const char *table(const struct held *held)
{
	return session_config(held->session)->outbox.table;
}

static const char *identity_of(const struct outbox_hold *hold)
{
	return hold->identity != NULL ? hold->identity : "NULL";
}

/* Where relays compete there is none. */
enum { NO_SHARD = -1 };

static int shard_of(const struct held *held, const struct outbox_hold *hold)
{
	const struct outbox_shape *shape = session_shape(held->session);
	if (shape->competing)
		return NO_SHARD;
	if (shape->hashed > 0)
		return (int)((hold->key & INT64_MAX) % shape->hashed);
	return shape->partitioned ? (int)hold->leaf : 0;
}

static struct log_field field_shard(const struct held *held, const struct outbox_hold *hold)
{
	int shard = shard_of(held, hold);
	return shard == NO_SHARD ? field_text("shard", NULL) : field_number("shard", shard);
}

/* Whether nothing goes out past a row that is held. */
static bool halts(const struct held *held)
{
	return session_config(held->session)->outbox.on_reject == ON_REJECT_HALT;
}

bool held_halts(struct held *held)
{
	struct source *source = held->source;
	source->halted = source->held > 0 && shards_owned(&source->shards) > 0 && halts(held);
	return source->halted;
}

/* ---- in words ---- */

static void set(char **text, char *by)
{
	free(*text);
	*text = by;
}

static char *copy(const char *text)
{
	return text != NULL ? xstrdup(text) : NULL;
}

/* Names the row as well as it can be named. */
static char *row_in_words(const struct held *held, const struct outbox_hold *hold)
{
	if (hold->name == NULL)
		return xasprintf("event %" PRId64 " (event_id %.64s) of table %s", hold->id,
				 identity_of(hold), table(held));
	return xasprintf("event %" PRId64 " (event_id %.64s, key %s) of table %s", hold->id,
			 identity_of(hold), hold->name, table(held));
}

static char *rejected_in_words(const struct held *held, const struct outbox_hold *hold)
{
	const struct outbox_shape *shape = session_shape(held->session);
	char *row = row_in_words(held, hold);
	char *remove = outbox_sql_remove(shape, hold->id, hold->identity);
	char *change = outbox_sql_change(shape, hold->id, hold->identity, hold->reason);
	char *words = xasprintf("%s is rejected (%s): %s; the relay goes on by itself once the row "
				"is changed or gone; to give the event up: %s%s%s",
				row, reject_reason_name(hold->reason), hold->why, remove,
				change != NULL ? " to change it, for example: " : "",
				change != NULL ? change : "");
	free(row);
	free(remove);
	free(change);
	return words;
}

static char *in_words(const struct held *held, const struct outbox_hold *hold)
{
	if (hold->reason != REJECT_NONE)
		return rejected_in_words(held, hold);
	return xasprintf("event %" PRId64 " cannot be %s table %s: %s", hold->id, verb(held),
			 table(held), hold->why);
}

/* For the pages. */
static void describe(struct held *held, const struct outbox_hold *hold)
{
	const struct outbox_shape *shape = session_shape(held->session);
	bool rejected = hold != NULL && hold->reason != REJECT_NONE;
	set(&held->why, hold != NULL ? in_words(held, hold) : NULL);
	held->shard = hold != NULL ? field_shard(held, hold) : field_text("shard", NULL);
	set(&held->event_id, hold != NULL ? copy(hold->identity) : NULL);
	set(&held->key, hold != NULL ? copy(hold->name) : NULL);
	set(&held->cause, hold != NULL ? copy(hold->why) : NULL);
	set(&held->remove, rejected ? outbox_sql_remove(shape, hold->id, hold->identity) : NULL);
	set(&held->change,
	    rejected ? outbox_sql_change(shape, hold->id, hold->identity, hold->reason) : NULL);
	held->source->held_why = held->why;
	held->source->halted_at = (struct source_event){0};
	if (hold != NULL)
		held->source->halted_at = (struct source_event){.id = hold->id,
								.table = table(held),
								.event_id = held->event_id,
								.key = held->key,
								.why = held->cause,
								.remove = held->remove,
								.change = held->change};
}

/* What is held has changed. An event that is only to go is told of last. */
static void publish(struct held *held)
{
	const struct outbox_holds *holds = &held->holds;
	struct source *source = held->source;
	const struct outbox_hold *first = NULL;
	free(held->text);
	held->text = outbox_holds_text(holds, session_shape(held->session)->competing);
	source->held = 0;
	source->held_keys = outbox_holds_waiting(holds);
	for (size_t i = 0; i < holds->count; i++) {
		const struct outbox_hold *hold = &holds->items[i];
		if (hold->released)
			continue;
		source->held += !hold->published;
		if (first == NULL || hold->published < first->published ||
		    (hold->published == first->published && hold->id < first->id))
			first = hold;
	}
	describe(held, first);
}

static const char *waits(const struct held *held)
{
	return session_shape(held->session)->position ? "the events behind it wait"
						      : "its key waits";
}

static void report(const struct held *held, const struct outbox_hold *hold)
{
	size_t count = outbox_holds_waiting(&held->holds);
	if (count > NAMED_MAX)
		return;
	if (hold->reason != REJECT_NONE) {
		char *words = rejected_in_words(held, hold);
		log_fact(LOG_ERROR, "halted",
			 LOG_FIELDS(field_number("id", hold->id),
				    field_text("event_id", hold->identity), field_shard(held, hold),
				    field_text("reason", reject_reason_name(hold->reason))),
			 "nothing is published: %s%s", words,
			 count == NAMED_MAX ? "; similar messages suppressed" : "");
		free(words);
		return;
	}
	log_fact(LOG_ERROR, "event_not_removed",
		 LOG_FIELDS(field_number("id", hold->id), field_text("event_id", hold->identity),
			    field_shard(held, hold), field_number("keys_waiting", (int64_t)count),
			    field_sqlstate(hold->why)),
		 "event %" PRId64 " (event_id %.64s) cannot be %s table %s%s: %s; %s; remove the "
		 "cause or the row, the relay tries it again every few seconds%s",
		 hold->id, identity_of(hold), verb(held), table(held),
		 hold->published ? ", though it is published" : "", hold->why, waits(held),
		 count == NAMED_MAX ? "; similar messages suppressed" : "");
}

bool held_add(struct held *held, const struct outbox_hold *hold)
{
	const struct outbox_hold *before =
	    outbox_holds_find(&held->holds, hold->id, hold->identity);
	/* It was changed, and is rejected for another reason; or it cannot be removed any more. */
	bool again = before != NULL && before->reason == hold->reason &&
		     (hold->reason == REJECT_NONE || strcmp(before->why, hold->why) == 0);
	if (!outbox_holds_add(&held->holds, hold))
		return false;
	publish(held);
	if (!again)
		report(held, hold);
	return true;
}

void held_claim_released(struct held *held)
{
	if (held->holds.released == 0)
		return;
	outbox_holds_drop_released(&held->holds);
	publish(held);
}

struct pg_param held_param(const struct held *held)
{
	return pg_param_text(held->text);
}

bool held_is_empty(const struct held *held)
{
	return held->holds.count == 0;
}

bool held_releases(const struct held *held)
{
	return held->holds.released > 0;
}

bool held_tries(const struct held *held)
{
	return outbox_holds_due((struct outbox_holds *)(uintptr_t)&held->holds, halts(held)) !=
	       NULL;
}

const struct outbox_hold *held_try(struct held *held)
{
	struct outbox_hold *hold = outbox_holds_due(&held->holds, halts(held));
	assert(hold != NULL);
	outbox_holds_try(&held->holds, hold, clock_monotonic_us());
	return hold;
}

/* ---- trying held rows again ---- */

static void ask_text(struct held *held, const char *sql)
{
	session_ask_text(&held->asker, TAG_RESETTLED, sql, NULL, 0);
}

/* Each in a transaction of its own, whose end is a group of its own: it comes whatever the answer
 * to the middle is. Mostly the row still cannot go, and the server writes the statement that failed
 * into its log: the short one is tried before the claim, which is long. */
static void take_one(struct held *held, const struct outbox_hold *hold,
		     const struct pg_param *given)
{
	struct pg_int8 first = pg_put_int8(hold->id);
	struct pg_param params[3] = {pg_param_int8(&first), pg_param_text(NULL)};
	int count = session_param_mine(held->session, params, 2);
	session_begin(held->session);
	ask_text(held, "SAVEPOINT before");
	session_ask_leaf(&held->asker, TAG_RESETTLED, "settle", hold->leaf, given, 2, false);
	ask_text(held, "ROLLBACK TO SAVEPOINT before");
	session_ask_leaf(&held->asker, TAG_RETEST, "claim_exact", hold->leaf, params, count, true);
	session_ask_leaf(&held->asker, TAG_RETOOK, "still", hold->leaf, given, 2, false);
	session_sync(held->session);
	session_roll_back(held->session, NULL, NULL);
}

static void settle_one(struct held *held, const struct pg_param *given)
{
	session_begin(held->session);
	session_sync(held->session);
	session_ask_all_leaves(&held->asker, TAG_RESETTLED, "settle", given, 2);
	session_sync(held->session);
	session_commit(&held->asker, TAG_RESETTLED);
}

static void retest(struct held *held, const struct outbox_hold *hold)
{
	struct outbox_ids ids;
	outbox_ids_one(&ids, hold->id, hold->identity);
	struct pg_param given[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	held->retests[held->count].id = hold->id;
	held->retests[held->count].can_go = false;
	held->retests[held->count++].identity =
	    hold->identity != NULL ? xstrdup(hold->identity) : NULL;
	if (hold->published)
		settle_one(held, given);
	else if (hold->reason == REJECT_NONE)
		take_one(held, hold, given);
	session_ask_all_leaves(&held->asker, TAG_RESTILL, "still", given, 2);
	session_sync(held->session);
	outbox_ids_free(&ids);
}

static void forget_retests(struct held *held)
{
	for (size_t i = 0; i < held->count; i++)
		free(held->retests[i].identity);
	held->count = held->answered = held->released_count = 0;
	held->there = false;
}

static void remind(struct held *held)
{
	int64_t now = clock_monotonic_us();
	if (!held->source->halted)
		held->reminded_us = now;
	if (now - held->reminded_us < REMIND_US)
		return;
	held->reminded_us = now;
	log_fact(LOG_ERROR, "still_halted",
		 LOG_FIELDS(field_number("id", held->source->halted_at.id),
			    field_text("event_id", held->event_id), held->shard),
		 "still nothing is published: %s", held->why);
}

void held_retest(struct held *held)
{
	size_t waiting = outbox_holds_waiting(&held->holds);
	remind(held);
	if (held->answered < held->count)
		return; /* those before are under way */
	forget_retests(held);
	held->answers_left = session_shape(held->session)->leaf_count;
	if (waiting > 0)
		opening_prepare_all(held->opening);
	for (size_t i = 0; i < waiting && i < RETESTS_MAX; i++)
		retest(held, outbox_holds_next(&held->holds));
}

/* Whether it was this very row that could be taken. */
static void on_retest(struct held *held, const PGresult *result)
{
	if (PQntuples(result) == 1 && !outbox_claim_kept(result))
		held->retests[held->answered].can_go =
		    pg_get_int8(PQgetvalue(result, 0, CLAIM_ID)) ==
		    held->retests[held->answered].id;
}

/* Another relay has the shard of a row that is held: it finds out for itself. */
static bool is_mine(const struct held *held, const struct outbox_hold *hold)
{
	const struct shards *shards = session_shards(held->session);
	int shard = shard_of(held, hold);
	if (shard == NO_SHARD)
		return shards_owned(shards) > 0;
	return shard < shards->count && shards->owned[shard];
}

static void release(struct held *held, struct outbox_hold *hold)
{
	bool mine = is_mine(held, hold);
	log_fact(LOG_INFO, "event_goes_on",
		 LOG_FIELDS(field_number("id", hold->id), field_text("event_id", hold->identity),
			    field_shard(held, hold)),
		 "event %" PRId64 " (event_id %.64s) %s table %s%s", hold->id, identity_of(hold),
		 !mine			       ? "is another relay's to remove from"
		 : hold->reason != REJECT_NONE ? "is published, moved in, or gone from"
					       : "can be removed from",
		 table(held),
		 !mine			       ? " now"
		 : hold->reason != REJECT_NONE ? ": what waited behind it goes on"
					       : " again, or is gone: its key goes on");
	if (mine)
		outbox_holds_release(&held->holds, hold);
	else
		outbox_holds_forget(&held->holds, hold);
	held->released_count++;
}

void held_explain(struct held *held, const char *why)
{
	struct outbox_hold *hold = outbox_holds_tried(&held->holds);
	if (hold == NULL)
		return;
	struct outbox_hold again = {.id = hold->id, .key = hold->key, .leaf = hold->leaf};
	again.identity = copy(hold->identity);
	again.why = copy(why);
	held_add(held, &again);
	free(again.identity);
	free(again.why);
}

void held_end_try(struct held *held, bool committed)
{
	struct outbox_hold *hold = outbox_holds_tried(&held->holds);
	if (hold == NULL)
		return;
	outbox_holds_end_try(&held->holds);
	if (!committed)
		return;
	release(held, hold);
	publish(held);
}

struct outbox_hold held_row(const PGresult *result, int row, size_t leaf)
{
	char *texts[ROW_VERSION + 1];
	for (int i = 0; i <= ROW_VERSION; i++)
		texts[i] = PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
	return (struct outbox_hold){.id = strtoll(texts[ROW_ID], NULL, 10),
				    .key = strtoll(texts[ROW_KEY], NULL, 10),
				    .identity = texts[ROW_IDENTITY],
				    .name = texts[ROW_NAME],
				    .version = texts[ROW_VERSION],
				    .leaf = leaf};
}

/* False if it is to be claimed among all others again. */
static bool see(struct held *held, struct outbox_hold *hold, const PGresult *result)
{
	size_t leaf = session_shape(held->session)->leaf_count - held->answers_left;
	held->there |= PQntuples(result) > 0;
	if (hold == NULL || hold->reason == REJECT_NONE || PQntuples(result) == 0)
		return true;
	struct outbox_hold row = held_row(result, 0, leaf);
	bool stays = outbox_holds_seen(hold, &row, clock_monotonic_us());
	hold->due |= !halts(held); /* it may be a dead letter now */
	return stays;
}

/* They are answered. */
static void end_retests(struct held *held)
{
	if (held->released_count > 0)
		publish(held);
	if (held->released_count > 0 || held_tries(held))
		held->released(held->owner, held->released_count == RETESTS_MAX);
}

/* A leaf's answer; with the last one it is known whether the row is still there. */
static void on_restill(struct held *held, const PGresult *result)
{
	size_t at = held->answered;
	struct outbox_hold *hold =
	    outbox_holds_find(&held->holds, held->retests[at].id, held->retests[at].identity);
	held->retests[at].can_go |= !see(held, hold, result);
	if (--held->answers_left > 0)
		return;
	held->answered++;
	if (hold != NULL && !hold->released &&
	    (held->retests[at].can_go || !held->there ||
	     (!hold->published && !is_mine(held, hold))))
		release(held, hold);
	held->there = false;
	held->answers_left = session_shape(held->session)->leaf_count;
	if (held->answered == held->count)
		end_retests(held);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct held *held = part;
	if (tag == TAG_RETEST)
		on_retest(held, result);
	else if (tag == TAG_RETOOK && PQntuples(result) > 0)
		held->retests[held->answered].can_go = false; /* a trigger has put it back */
	else if (tag == TAG_RESTILL)
		on_restill(held, result);
	PQclear(result);
}

/* It stays held. */
static bool on_refused(void *part, const struct pg_failure *failure)
{
	(void)part;
	return failure->tag != TAG_RESTILL;
}

/* Whether the one that was tried is published is not known: it is tried again if not. */
static void on_lost(void *part)
{
	struct held *held = part;
	forget_retests(held);
	outbox_holds_doubt(&held->holds);
}

/* ---- making one ---- */

struct held *held_new(struct session *session, struct opening *opening, struct source *source,
		      void (*released)(void *owner, bool more), void *owner)
{
	static const struct asker_ops ops = {on_answered, on_refused, on_lost};
	struct held *held = xcalloc(1, sizeof(*held));
	held->session = session;
	held->asker = session_join(session, &ops, held);
	held->opening = opening;
	held->source = source;
	held->released = released;
	held->owner = owner;
	return held;
}

void held_free(struct held **held)
{
	if (*held == NULL)
		return;
	forget_retests(*held);
	outbox_holds_clear(&(*held)->holds);
	set(&(*held)->text, NULL);
	set(&(*held)->event_id, NULL);
	set(&(*held)->key, NULL);
	set(&(*held)->cause, NULL);
	set(&(*held)->remove, NULL);
	set(&(*held)->change, NULL);
	set(&(*held)->why, NULL);
	free(*held);
	*held = NULL;
}
