/*
 * held.c - the rows that the database does not let go: says which, and tries them again
 */
#include "held.h"

#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "chunk.h"
#include "ids.h"

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

struct held {
	struct session *session;
	struct asker asker;
	struct opening *opening;
	struct source *source;
	void (*released)(void *owner, bool more);
	void *owner;
	struct outbox_holds holds; /* outlive the session */
	char *text;		   /* owned; as a parameter; NULL: none */
	char why[400];
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

/* What is held has changed. */
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
		if (holds->items[i].released)
			continue;
		first = first != NULL ? first : &holds->items[i];
		source->held += !holds->items[i].published;
	}
	held->why[0] = '\0';
	if (first != NULL)
		text_print(held->why, sizeof(held->why),
			   "event %" PRId64 " cannot be %s table %s: %s", first->id, verb(held),
			   table(held), first->why);
}

static void report(const struct held *held, const struct outbox_hold *hold)
{
	size_t count = outbox_holds_waiting(&held->holds);
	if (count > NAMED_MAX)
		return;
	log_fact(LOG_ERROR, "event_not_removed",
		 LOG_FIELDS(field_number("id", hold->id), field_text("event_id", hold->identity),
			    field_number("keys_waiting", (int64_t)count),
			    field_sqlstate(hold->why)),
		 "event %" PRId64 " (event_id %.64s) cannot be %s table %s%s: %s; its key waits; "
		 "remove the cause or the row, the relay tries it again every few seconds%s",
		 hold->id, identity_of(hold), verb(held), table(held),
		 hold->published ? ", though it is published" : "", hold->why,
		 count == NAMED_MAX ? "; similar messages suppressed" : "");
}

bool held_add(struct held *held, const struct outbox_hold *hold)
{
	bool known = outbox_holds_find(&held->holds, hold->id, hold->identity) != NULL;
	if (!outbox_holds_add(&held->holds, hold))
		return false;
	publish(held);
	if (!known)
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
	else
		take_one(held, hold, given);
	session_ask_all_leaves(&held->asker, TAG_RESTILL, "still", given, 2);
	session_sync(held->session);
	outbox_ids_free(&ids);
}

static void forget_retests(void *part)
{
	struct held *held = part;
	for (size_t i = 0; i < held->count; i++)
		free(held->retests[i].identity);
	held->count = held->answered = held->released_count = 0;
	held->there = false;
}

void held_retest(struct held *held)
{
	size_t waiting = outbox_holds_waiting(&held->holds);
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
	const struct outbox_shape *shape = session_shape(held->session);
	const struct shards *shards = session_shards(held->session);
	if (shape->competing || (shape->hashed == 0 && !shape->partitioned))
		return shards_owned(shards) > 0;
	if (shape->hashed == 0)
		return hold->leaf < (size_t)shards->count && shards->owned[hold->leaf];
	return shards->owned[(hold->key & INT64_MAX) % shape->hashed];
}

static void release(struct held *held, struct outbox_hold *hold)
{
	bool mine = is_mine(held, hold);
	log_fact(LOG_INFO, "event_goes_on",
		 LOG_FIELDS(field_number("id", hold->id), field_text("event_id", hold->identity)),
		 "event %" PRId64 " (event_id %.64s) %s table %s%s", hold->id, identity_of(hold),
		 mine ? "can be removed from" : "is another relay's to remove from", table(held),
		 mine ? " again, or is gone: its key goes on" : " now");
	outbox_holds_release(&held->holds, hold);
	held->released_count++;
}

/* A leaf's answer; with the last one it is known whether the row is still there. */
static void on_restill(struct held *held, const PGresult *result)
{
	held->there |= PQntuples(result) > 0;
	if (--held->answers_left > 0)
		return;
	size_t at = held->answered++;
	struct outbox_hold *hold =
	    outbox_holds_find(&held->holds, held->retests[at].id, held->retests[at].identity);
	if (hold != NULL && (held->retests[at].can_go || !held->there ||
			     (!hold->published && !is_mine(held, hold))))
		release(held, hold);
	held->there = false;
	held->answers_left = session_shape(held->session)->leaf_count;
	if (held->answered < held->count || held->released_count == 0)
		return;
	publish(held);
	held->released(held->owner, held->released_count == RETESTS_MAX);
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

/* ---- making one ---- */

struct held *held_new(struct session *session, struct opening *opening, struct source *source,
		      void (*released)(void *owner, bool more), void *owner)
{
	static const struct asker_ops ops = {on_answered, on_refused, forget_retests};
	struct held *held = xcalloc(1, sizeof(*held));
	held->session = session;
	held->asker = session_join(session, &ops, held);
	held->opening = opening;
	held->source = source;
	held->released = released;
	held->owner = owner;
	source->held_why = held->why;
	return held;
}

void held_free(struct held **held)
{
	if (*held == NULL)
		return;
	forget_retests(*held);
	outbox_holds_clear(&(*held)->holds);
	free((*held)->text);
	free(*held);
	*held = NULL;
}
