/* SPDX-License-Identifier: ISC */
/*
 * trial.c - claims one row alone, which was rejected: it is to be published again
 *
 * The exact claim takes the next row that it can lock. If the one that is meant is locked or gone,
 * that is another one, which must not go out: the transaction is rolled back. If it cannot go, it
 * is held for that.
 */
#include "trial.h"

#include "base/xalloc.h"
#include "chunk.h"
#include "ids.h"

#include <stdlib.h>

enum { TAG_CLAIM = TAG_IGNORE + 1, TAG_AFTER /* whether it is back: a trigger may do that */ };

struct trial {
	struct session *session;
	struct asker asker;
	struct held *held;
	const struct claimer_events *events;
	void *owner;
	int64_t id;
	char *identity;	   /* owned; or NULL */
	PGresult *claimed; /* owned; until it is known whether the row is back */
};

void trial_ask(struct trial *trial)
{
	const struct outbox_hold *hold = held_try(trial->held);
	struct pg_int8 id = pg_put_int8(hold->id);
	struct pg_param params[3] = {pg_param_int8(&id), pg_param_text(NULL)};
	int count = session_param_mine(trial->session, params, 2);
	struct outbox_ids ids;
	outbox_ids_one(&ids, hold->id, hold->identity);
	struct pg_param given[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	trial->id = hold->id;
	free(trial->identity);
	trial->identity = hold->identity != NULL ? xstrdup(hold->identity) : NULL;
	session_begin(trial->session);
	session_ask_leaf(&trial->asker, TAG_CLAIM,
			 session_shape(trial->session)->position ? "claim_one" : "claim_exact",
			 hold->leaf, params, count, true);
	session_ask_leaf(&trial->asker, TAG_AFTER, "still", hold->leaf, given, 2, false);
	session_sync(trial->session);
	outbox_ids_free(&ids);
}

/* It is to be rolled back. why: if the row cannot go. */
static void give_up(struct trial *trial, const char *why)
{
	struct claim_trouble trouble = {.wrong = CLAIM_ASTRAY};
	if (why != NULL)
		held_explain(trial->held, why);
	held_end_try(trial->held, false);
	trial->events->wrong(trial->owner, &trouble);
}

static struct chunk *take_chunk(struct trial *trial)
{
	PGresult **results = xcalloc(1, sizeof(struct PGresult *));
	results[0] = trial->claimed;
	trial->claimed = NULL;
	return outbox_chunk_new(results, 1, session_shape(trial->session));
}

/* Ids may begin again: then it is another row, which others may come before. */
static bool is_meant(const struct trial *trial, const struct chunk *chunk)
{
	struct slice identity = trial->identity != NULL ? slice_of(trial->identity) : SLICE_NULL;
	return chunk->count == 1 && chunk->events[0].id == trial->id &&
	       slice_equal(chunk->events[0].identity, identity);
}

/* Others of its topic wait for that: it has joined them, and is to stay there. */
static bool is_set_aside(const PGresult *result)
{
	return PQntuples(result) == 1 && outbox_claim_moved(result, 0);
}

static void forget(void *part)
{
	struct trial *trial = part;
	PQclear(trial->claimed);
	trial->claimed = NULL;
	free(trial->identity);
	trial->identity = NULL;
}

/* Nothing of this try is left when its end is told: the next one may begin with that. */
static void on_after(struct trial *trial, bool back)
{
	bool kept = back || outbox_claim_kept(trial->claimed);
	bool aside = is_set_aside(trial->claimed);
	struct chunk *chunk = take_chunk(trial);
	bool meant = is_meant(trial, chunk);
	forget(trial);
	if ((meant || aside) && !kept) {
		struct claim_answer answer = {.count = (int64_t)chunk->count, .moved = aside};
		for (size_t i = 0; i < chunk->count; i++)
			chunk->events[i].again = true;
		trial->events->claimed(trial->owner, chunk, &answer);
		return;
	}
	chunk->free(chunk);
	give_up(trial, meant ? held_kept_words : NULL);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct trial *trial = part;
	if (tag == TAG_CLAIM) {
		trial->claimed = result;
		return;
	}
	bool back = PQntuples(result) > 0;
	PQclear(result);
	on_after(trial, back);
}

static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct trial *trial = part;
	forget(trial);
	give_up(trial, session_passes(trial->session, failure->state) ? NULL : failure->why);
	return true;
}

struct trial *trial_new(struct session *session, struct held *held,
			const struct claimer_events *events, void *owner)
{
	static const struct asker_ops ops = {on_answered, on_refused, forget};
	struct trial *trial = xcalloc(1, sizeof(*trial));
	trial->session = session;
	trial->asker = session_join(session, &ops, trial);
	trial->held = held;
	trial->events = events;
	trial->owner = owner;
	return trial;
}

void trial_free(struct trial **trial)
{
	if (*trial == NULL)
		return;
	forget(*trial);
	free(*trial);
	*trial = NULL;
}
