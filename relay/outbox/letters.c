/* SPDX-License-Identifier: ISC */
/*
 * letters.c - what was set aside: carries out what operators ask for, and claims what is due
 *
 * Where no letter is due, copies of letters have the next turn (copies.c).
 *
 * What waits for a topic is tried with one event from time to time; once that is published, with
 * all.
 *
 * A letter is marked as attempted in a transaction that commits before it is claimed: from then on
 * Kafka may have it, whatever becomes of this relay.
 */
#include "letters.h"

#include "base/clock.h"
#include "base/failpoints.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "chunk.h"
#include "copies.h"
#include "ids.h"
#include "outbox/letter_counts.h"

#include <stdlib.h>
#include <string.h>

enum {
	TAG_REQUESTS = TAG_IGNORE + 1, /* edits and discards */
	TAG_ATTEMPT,
	TAG_CLAIM,
	TAG_COPIES, /* a claim, too */
	TAG_OWED,
	TAG_GAUGES
};

/* What the server refuses is said so often. */
enum { REFUSED_US = 60 * 1000 * 1000 };

/* A topic that could not be used is tried again after so long, with one event. */
enum { TOPIC_US = 4 * 1000 * 1000 };

struct letters {
	struct session *session;
	struct asker asker;
	struct source *source;
	const struct claimer_events *events;
	void *owner;
	struct copies *copies; /* owned */
	bool copies_next;      /* it is their turn */
	bool due;
	bool ours;  /* the last claim was of this session */
	bool asked; /* for something while a claim was under way: that one may not have seen it */
	struct log_limit log;
	/* Topics that could not be used; owned, each name too. */
	char **topics;
	int64_t *until_us; /* of each: it is not tried before */
	size_t topic_count;
	bool claimed; /* the batch is of letters */
	/* Counted: what was told last, and what is so far, of keys below next. */
	struct letter_gauges told, sum;
	int64_t next; /* INT64_MIN: a count begins */
	double waiting_age_seconds;
};

/* ---- topics ---- */

static size_t find_topic(const struct letters *letters, const char *name)
{
	size_t i = 0;
	while (i < letters->topic_count && strcmp(letters->topics[i], name) != 0)
		i++;
	return i;
}

static void leave_alone(struct letters *letters, const char *name)
{
	size_t at = find_topic(letters, name);
	if (at == letters->topic_count) {
		size_t count = ++letters->topic_count;
		letters->topics = xrealloc(letters->topics, count * sizeof(char *));
		letters->until_us = xrealloc(letters->until_us, count * sizeof(int64_t));
		letters->topics[at] = xstrdup(name);
		text_print(letters->source->deferred_topic, sizeof(letters->source->deferred_topic),
			   "%s", name);
	}
	letters->until_us[at] = clock_monotonic_us() + TOPIC_US;
}

/* Those that are left alone, or are to be tried; malloc'd. */
static char *topics(const struct letters *letters, bool tried)
{
	int64_t now = clock_monotonic_us();
	const char **some = xcalloc(letters->topic_count + 1, sizeof(*some));
	size_t count = 0;
	for (size_t i = 0; i < letters->topic_count; i++)
		if ((now >= letters->until_us[i]) == tried)
			some[count++] = letters->topics[i];
	char *text = outbox_ids_texts(some, count);
	free(some);
	return text;
}

static void forget_topic(struct letters *letters, size_t at)
{
	free(letters->topics[at]);
	letters->topics[at] = letters->topics[--letters->topic_count];
	letters->until_us[at] = letters->until_us[letters->topic_count];
}

void letters_settled(struct letters *letters)
{
	int64_t now = clock_monotonic_us();
	if (!letters->claimed)
		return;
	letters->claimed = false;
	for (size_t i = letters->topic_count; i-- > 0;)
		if (now >= letters->until_us[i])
			forget_topic(letters, i);
	text_print(letters->source->deferred_topic, sizeof(letters->source->deferred_topic), "%s",
		   letters->topic_count > 0 ? letters->topics[0] : "");
}

/* ---- asking ---- */

void letters_prepare(struct letters *letters)
{
	const struct outbox_shape *shape = session_shape(letters->session);
	const struct asker *asker = &letters->asker;
	session_prepare(asker, TAG_IGNORE, "letters_edit", outbox_sql_letters_edit(shape));
	session_prepare(asker, TAG_IGNORE, "letters_discard", outbox_sql_letters_discard(shape));
	session_prepare(asker, TAG_IGNORE, "letters_attempt", outbox_sql_letters_attempt(shape));
	session_prepare(asker, TAG_IGNORE, "letters_claim", outbox_sql_letters_claim(shape));
	session_prepare(asker, TAG_IGNORE, "letters_gauges", outbox_sql_letters_gauges(shape));
	session_prepare(asker, TAG_IGNORE, "letters_settle", outbox_sql_letters_settle());
	session_prepare(asker, TAG_IGNORE, "letters_refused", outbox_sql_letters_refused());
	session_prepare(asker, TAG_IGNORE, "letters_join", outbox_sql_letters_join(shape));
	copies_prepare(letters->copies, asker);
	letters->due = true;
}

bool letters_are_due(const struct letters *letters)
{
	return letters->due;
}

void letters_look(struct letters *letters)
{
	letters->due = letters->asked = true;
}

void letters_count(struct letters *letters)
{
	char *alone = topics(letters, false);
	struct pg_int8 next = pg_put_int8(letters->next);
	struct pg_param params[3] = {pg_param_text(alone), pg_param_int8(&next)};
	int count = session_param_shards(letters->session, params, 2);
	session_ask(&letters->asker, TAG_GAUGES, "letters_gauges", params, count, false);
	session_sync(letters->session);
	copies_look(letters->copies, &letters->asker, TAG_OWED);
	free(alone);
}

static void carry_out(struct letters *letters, const char *requests)
{
	struct pg_param params[1];
	int count = session_param_shards(letters->session, params, 0);
	session_ask(&letters->asker, TAG_REQUESTS, requests, params, count, false);
	session_sync(letters->session);
}

static void ask(struct letters *letters, const struct claim *claim)
{
	struct pg_int8 rows = pg_put_int8(claim->rows), bytes = pg_put_int8(claim->bytes);
	char *alone = topics(letters, false), *tried = topics(letters, true);
	struct pg_param params[5] = {pg_param_int8(&rows), pg_param_int8(&bytes),
				     pg_param_text(alone), pg_param_text(tried)};
	int count = session_param_shards(letters->session, params, 4);
	letters->asked = false;
	letters->ours = true;
	carry_out(letters, "letters_edit");
	carry_out(letters, "letters_discard");
	session_ask(&letters->asker, TAG_ATTEMPT, "letters_attempt", params, count, false);
	session_sync(letters->session);
	session_begin(letters->session);
	session_ask(&letters->asker, TAG_CLAIM, "letters_claim", params, count, true);
	session_sync(letters->session);
	free(alone);
	free(tried);
	FAILPOINT("letters-asked");
}

void letters_ask(struct letters *letters, const struct claim *claim)
{
	if (letters->copies_next && copies_may_go(letters->copies))
		copies_ask(letters->copies, &letters->asker, TAG_COPIES, claim);
	else
		ask(letters, claim);
	letters->copies_next = false;
}

/* ---- within a reconciliation ---- */

void letters_settle(const struct asker *asker, int tag, const struct outbox_ids_item *items,
		    size_t count)
{
	struct outbox_ids ids;
	outbox_ids_letters_published(&ids, items, count);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	if (ids.count > 0)
		session_ask(asker, tag, "letters_settle", params, 2, false);
	outbox_ids_free(&ids);
	copies_settle(asker, tag, items, count);
}

struct pg_param letters_copied(const struct letters *letters)
{
	return copies_param(letters->copies);
}

/* A letter whose topic cannot be used stays as it is, with what is asked for: out of its key's line
 * others would go past it. */
static void refuse(const struct letters *letters, const struct asker *asker, int tag,
		   const struct outbox_ids_item *items, size_t count)
{
	struct outbox_ids ids;
	outbox_ids_letters_rejected(&ids, items, count, session_is_utf8(letters->session));
	struct pg_param params[] = {pg_param_text(ids.ids),	pg_param_text(ids.identities),
				    pg_param_text(ids.reasons), pg_param_text(ids.errors),
				    pg_param_text(ids.held),	copies_param(letters->copies)};
	if (ids.count > 0)
		session_ask(asker, tag, "letters_refused", params, 6, false);
	outbox_ids_free(&ids);
}

/* Of the keys that are parked by now. */
static void join(const struct asker *asker, const struct outbox_ids_item *items, size_t count)
{
	struct outbox_ids_item *parked = xcalloc(count + 1, sizeof(*parked));
	struct outbox_ids ids;
	size_t parked_count = 0;
	for (size_t i = 0; i < count; i++)
		if (items[i].rejected != NULL && items[i].parks)
			parked[parked_count++] = (struct outbox_ids_item){
			    .id = items[i].id, .identity = items[i].identity};
	outbox_ids_published(&ids, parked, parked_count);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	if (ids.count > 0)
		session_ask(asker, TAG_IGNORE, "letters_join", params, 2, false);
	outbox_ids_free(&ids);
	free(parked);
}

void letters_keep(struct letters *letters, const struct asker *asker, int tag,
		  const struct outbox_ids_item *items, size_t count)
{
	letters->claimed = false; /* not all of them have gone out */
	for (size_t i = 0; i < count; i++)
		if (items[i].rejected != NULL && items[i].rejected->state == EVENT_DEFERRED)
			leave_alone(letters, items[i].rejected->why);
		else if (items[i].rejected != NULL && copies_may_go(letters->copies))
			letters->due = true; /* its copy is owed */
	if (letters->ours)
		refuse(letters, asker, tag, items, count);
	join(asker, items, count);
}

void letters_add(const struct letters *letters, struct gauges *gauges)
{
	gauges->letters = letters->told;
	gauges->depth += letters->told.deferred;
	if (letters->waiting_age_seconds > gauges->oldest_age_seconds)
		gauges->oldest_age_seconds = letters->waiting_age_seconds;
}

/* ---- answers ---- */

/* Without letters, copies have the next turn. */
static void on_claimed(struct letters *letters, PGresult *result, bool copies)
{
	const struct outbox_shape *shape = session_shape(letters->session);
	struct claim_answer answer = {0};
	bool some = PQntuples(result) > 0;
	letters->claimed = some && !copies;
	letters->copies_next = !some && !copies && copies_may_go(letters->copies);
	letters->due = some || letters->asked || letters->copies_next;
	if (copies)
		copies_claimed(letters->copies, result);
	letters->events->claimed(letters->owner,
				 copies ? outbox_chunk_of_copies(result, shape)
					: outbox_chunk_of_letters(result, shape),
				 &answer);
}

/* So many parked keys are counted that one answer has not all: what was known of them stands until
 * there are more, or all are counted. */
static void on_gauges(struct letters *letters, const PGresult *result)
{
	struct letter_gauges *sum = &letters->sum;
	struct parked_gauges before = letters->told.parked;
	letters->due |= PQgetvalue(result, 0, LETTERS_DUE)[0] == 't';
	if (letters->next == INT64_MIN)
		*sum = (struct letter_gauges){0};
	letter_counts_add(result, sum);
	letters->next = letter_counts_next(result);
	letters->told = *sum;
	if (letters->next != INT64_MIN && sum->parked.keys < before.keys)
		letters->told.parked = before;
	letters->waiting_age_seconds = strtod(PQgetvalue(result, 0, LETTERS_AGE), NULL);
}

static void forget_counts(struct letters *letters)
{
	letters->told = (struct letter_gauges){0};
	letters->next = INT64_MIN;
	letters->waiting_age_seconds = 0;
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct letters *letters = part;
	if (tag == TAG_CLAIM || tag == TAG_COPIES) {
		on_claimed(letters, result, tag == TAG_COPIES);
		return;
	}
	if (tag == TAG_OWED)
		letters->due |= PQgetvalue(result, 0, 0)[0] == 't';
	if (tag == TAG_GAUGES)
		on_gauges(letters, result);
	PQclear(result);
}

/* What was asked for stays, and is tried again with the next count. */
static bool on_refused(void *part, const struct pg_failure *failure)
{
	struct letters *letters = part;
	struct claim_trouble trouble = {.wrong = CLAIM_ASTRAY};
	if (log_limit_due(&letters->log, clock_monotonic_us(), REFUSED_US))
		log_fact(LOG_ERROR, "letters_refused",
			 LOG_FIELDS(field_text("sqlstate", failure->state)),
			 "the database refuses a statement on outbox_relay.dead_letters: %s; what "
			 "waits there stays, and is tried again every few seconds%s",
			 failure->why, letters->log.note);
	letters->due = false;
	if (failure->tag == TAG_CLAIM || failure->tag == TAG_COPIES)
		letters->events->wrong(letters->owner, &trouble);
	return true;
}

static void on_lost(void *part)
{
	struct letters *letters = part;
	letters->due = letters->asked = letters->claimed = letters->ours = false;
	letters->copies_next = false;
	forget_counts(letters);
}

/* ---- making one ---- */

struct letters *letters_new(struct session *session, struct source *source,
			    const struct claimer_events *events, void *owner)
{
	static const struct asker_ops ops = {on_answered, on_refused, on_lost};
	struct letters *letters = xcalloc(1, sizeof(*letters));
	letters->session = session;
	letters->asker = session_join(session, &ops, letters);
	letters->source = source;
	letters->events = events;
	letters->owner = owner;
	forget_counts(letters);
	letters->copies = copies_new(session);
	return letters;
}

void letters_free(struct letters **letters)
{
	if (*letters == NULL)
		return;
	while ((*letters)->topic_count > 0)
		forget_topic(*letters, 0);
	free((*letters)->topics);
	free((*letters)->until_us);
	copies_free(&(*letters)->copies);
	free(*letters);
	*letters = NULL;
}
