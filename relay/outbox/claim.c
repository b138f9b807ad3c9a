/* SPDX-License-Identifier: ISC */
/*
 * claim.c - asking for events, leaf by leaf, and putting the answers together
 */
#include "claim.h"

#include "base/clock.h"
#include "base/failpoints.h"
#include "base/xalloc.h"
#include "chunk.h"
#include "ids.h"
#include "ids_seen.h"

#include <stdlib.h>
#include <string.h>

enum {
	TAG_DRAWN = TAG_IGNORE + 1,
	TAG_WRITERS,
	TAG_CLAIM,
	TAG_IDS,
	TAG_LEFT,
	TAG_ASIDE,
	TAG_AFTER /* what is back of the rows that a claim has taken */
};

/* How often a claim that came back empty is looked into. */
enum { DOUBT_US = 1000 * 1000 };

/* A leaf counts as if it had had so many rows more, so that each is asked for some. */
enum { LEAF_ROWS = 100 };

/* What was seen of letters is thought to hold for so long. */
enum { PLAIN_US = 100 * 1000 };

/* What is known of a leaf that is ours. */
struct leaf {
	int64_t rows;	      /* that the last claim took */
	struct ids_seen seen; /* by the last claim */
};

/* What one claim has asked for. */
struct asked {
	struct claim claim;
	bool exact, plain;
	int64_t *rows; /* owned; of each leaf, in their order */
};

/* A claim's answers, leaf by leaf. */
struct gathering {
	PGresult **results; /* owned */
	size_t count;
	size_t lefts, leaf_left;    /* answers of what is left; which leaf has the first of it */
	size_t ids;		    /* answers that told of the leaves' ids */
	bool whole;		    /* no row was passed over, as far as the claims could tell */
	struct claim_answer answer; /* so far */
};

/* A claim whose rows are looked for. A trigger that runs after a row was deleted (or marked) may
 * put it back. The claim's answer does not show that, and the event would be published at every
 * claim. */
struct verification {
	struct chunk *chunk; /* owned */
	struct claim_answer answer;
	int64_t low_watermark; /* of the claim */
	size_t answers_left;
};

struct claimer {
	struct session *session;
	struct asker asker;
	struct opening *opening;
	struct held *held;
	const struct claimer_events *events;
	void *owner;
	struct leaf leaves[SHARDS_MAX]; /* of this session */
	bool verifies;			/* with opening_verifies; outlives the session */
	unsigned measuring;		/* so many claims more; outlives the session */
	unsigned answers;
	int64_t plain_until_us;		      /* claims are plain: no letter was seen lately */
	int64_t drawn;			      /* of the reading under way */
	int64_t rows_had;		      /* by the leaves of this claim */
	struct claim doubted;		      /* the last that was CLAIM_EMPTY */
	int64_t doubted_us;		      /* and when it was */
	struct asked asked[CLAIMS_UNDER_WAY]; /* oldest first */
	size_t asked_count;
	struct gathering gathering; /* of the oldest */
	struct verification verifying[CLAIMS_UNDER_WAY];
	size_t verifying_count;
};

/* ---- asking ---- */

struct pg_int8 claim_above(int64_t low_watermark)
{
	return pg_put_int8(low_watermark > 0 && low_watermark < INT64_MAX ? low_watermark + 1
									  : INT64_MIN);
}

/* Of all that the leaves of the claim get, the part of each by what it had the last time. */
static double part_of(const struct claimer *claimer, const struct leaf *leaf)
{
	return (double)(leaf->rows + LEAF_ROWS) / (double)claimer->rows_had;
}

static int64_t share(int64_t whole, double part)
{
	int64_t rows = (int64_t)((double)whole * part);
	return rows > 0 ? rows : 1;
}

static void sum_rows(struct claimer *claimer)
{
	claimer->rows_had = 0;
	for (size_t i = 0; i < session_own_count(claimer->session); i++)
		claimer->rows_had +=
		    claimer->leaves[session_own_leaf(claimer->session, i)].rows + LEAF_ROWS;
}

/* Whether it is likely that no event waits behind a letter. Where letters are, a plain claim takes
 * nothing: so it is not sent where what a claim has left counts. */
static bool may_be_plain(const struct claimer *claimer, const struct claim *claim)
{
	bool counts = claim->observes || claim->low_watermark == 0;
	return claimer->measuring == 0 && (!counts || session_shape(claimer->session)->position) &&
	       clock_monotonic_us() < claimer->plain_until_us;
}

/* The events of one leaf; how many rows it was asked for. */
static int64_t ask_leaf(struct claimer *claimer, const struct claim *claim, size_t number,
			const struct asked *as)
{
	bool exact = as->exact;
	double part = part_of(claimer, &claimer->leaves[number]);
	int64_t asked = exact ? 1 : share(claim->rows, part);
	struct pg_int8 first = claim_above(claim->low_watermark), rows = pg_put_int8(asked);
	struct pg_int8 bytes = pg_put_int8(share(claim->bytes, part));
	struct pg_param held = held_param(claimer->held);
	struct pg_param params[5] = {pg_param_int8(&first), exact ? held : pg_param_int8(&rows),
				     pg_param_int8(&bytes), held};
	int count = session_param_mine(claimer->session, params, exact ? 2 : 4);
	session_ask_leaf(&claimer->asker, TAG_CLAIM,
			 exact	     ? "claim_exact"
			 : as->plain ? "claim_plain"
				     : "claim",
			 number, params, count, true);
	return asked;
}

/* How far below the low watermark rows are looked for: new ids that have passed the low watermark
 * have passed these too. The figure bounds the entries of dead rows that are walked. */
enum { IDS_BELOW = 100 };

/* Asks whether ids begin again. Behind the claims, since these are then known to have seen nothing
 * newer than the answer. */
static void ask_ids(struct claimer *claimer, int64_t low_watermark)
{
	int64_t first =
	    low_watermark < INT64_MIN + IDS_BELOW ? INT64_MIN : low_watermark - IDS_BELOW;
	struct pg_int8 above = pg_put_int8(low_watermark > 0 ? first : INT64_MIN);
	struct pg_int8 upto = pg_put_int8(low_watermark > 0 ? low_watermark : INT64_MIN);
	struct pg_param params[4] = {pg_param_int8(&above), pg_param_int8(&upto),
				     held_param(claimer->held)};
	session_ask_own_leaves(&claimer->asker, TAG_IDS, "ids", params, 3, true);
}

void claimer_ask(struct claimer *claimer, const struct claim *claim)
{
	struct pg_int8 first = claim_above(claim->low_watermark);
	struct pg_param params[3] = {pg_param_int8(&first)};
	struct asked asked = {.claim = *claim,
			      .exact = claimer->measuring > 0,
			      .plain = may_be_plain(claimer, claim)};
	asked.rows = xcalloc(session_own_count(claimer->session), sizeof(*asked.rows));
	claimer->measuring -= asked.exact;
	if (claim->opens) {
		session_begin(claimer->session);
		held_end_try(claimer->held, false);
		/* All that waits is looked at: what was held is taken in its order. */
		if (claim->low_watermark == 0)
			held_claim_released(claimer->held);
	}
	params[1] = held_param(claimer->held);
	if (claim->observes) {
		/* What the reading is worth depends on what the ids were then. It also takes the
		 * tables' locks: TRUNCATE, which takes them before the sequence's, deadlocks with
		 * a transaction that takes them behind it. */
		ask_ids(claimer, claim->low_watermark);
		/* In this order: the ids first, then who may yet commit one of them. */
		session_ask(&claimer->asker, TAG_DRAWN, "drawn", NULL, 0, true);
		session_ask(&claimer->asker, TAG_WRITERS, "writers", NULL, 0, false);
	}
	sum_rows(claimer);
	for (size_t i = 0; i < session_own_count(claimer->session); i++)
		asked.rows[i] =
		    ask_leaf(claimer, claim, session_own_leaf(claimer->session, i), &asked);
	if (!asked.plain)
		session_ask(&claimer->asker, TAG_ASIDE, "aside", NULL, 0, true);
	ask_ids(claimer, claim->low_watermark);
	if (claim->observes)
		session_ask_own_leaves(&claimer->asker, TAG_LEFT, "left", params, 2, true);
	if (PLANTED("settle-before-ack")) {
		session_ask(&claimer->asker, TAG_IGNORE, "commit", NULL, 0, false);
		session_ask(&claimer->asker, TAG_IGNORE, "begin", NULL, 0, false);
	}
	session_sync(claimer->session);
	claimer->asked[claimer->asked_count++] = asked;
	FAILPOINT("claim-sent");
}

/* ---- what goes wrong ---- */

/* Of the oldest claim, at the first leaf that has not answered. */
static void report_oldest(struct claimer *claimer, enum claim_wrong wrong,
			  const struct pg_failure *failure)
{
	const struct asked *asked = &claimer->asked[0];
	size_t answered = claimer->gathering.count;
	struct claim_trouble trouble = {.wrong = wrong,
					.failure = failure,
					.leaf = session_own_leaf(claimer->session, answered),
					.low_watermark = asked->claim.low_watermark,
					.alone = asked->rows[answered] == 1,
					.exact = asked->exact};
	claimer->events->wrong(claimer->owner, &trouble);
}

static void report_empty(struct claimer *claimer)
{
	struct claim_trouble trouble = {.wrong = CLAIM_EMPTY,
					.leaf = claimer->gathering.leaf_left,
					.low_watermark = claimer->asked[0].claim.low_watermark,
					.alone = true,
					.exact = claimer->asked[0].exact};
	claimer->doubted = claimer->asked[0].claim;
	claimer->doubted_us = clock_monotonic_us();
	claimer->events->wrong(claimer->owner, &trouble);
}

/* ---- answers ---- */

static void on_writers(struct claimer *claimer, PGresult *result)
{
	struct writers writers;
	writers_clear(&writers);
	for (int i = 0; i < PQntuples(result); i++) {
		uint64_t writer;
		if (writers_parse(PQgetvalue(result, i, 0), &writer))
			writers_add(&writers, writer);
		else
			writers.overflow = true; /* another session whose end we could not tell */
	}
	PQclear(result);
	claimer->events->observed(claimer->owner, claimer->drawn, &writers);
}

/* By the answer to "drawn" or "ids"; otherwise the session is given up. */
static bool is_same(struct claimer *claimer, const PGresult *result, int column)
{
	if (PQgetvalue(result, 0, column)[0] != '\0') /* a binary boolean */
		return true;
	session_renew(claimer->session,
		      "another table has taken the outbox's name, or its partitions have changed");
	return false;
}

static void lower(int64_t *upto, int64_t bound)
{
	if (bound < *upto)
		*upto = bound;
}

/* CUT_*, or 0. */
static int cut_of(const PGresult *result)
{
	if (PQntuples(result) == 0 || PQgetisnull(result, 0, CLAIM_CUT))
		return 0;
	return pg_get_int4(PQgetvalue(result, 0, CLAIM_CUT));
}

/* Whether the claim has left nothing before the last row it took: it took rows and passed over
 * none. Of one that took nothing this cannot be told, it may have passed over all; nor where relays
 * compete, who pass over what others have locked without counting it. */
static bool left_nothing(const struct claimer *claimer, const PGresult *result)
{
	if (PQntuples(result) == 0 || session_shape(claimer->session)->competing)
		return false;
	return cut_of(result) != CUT_HELD && cut_of(result) != CUT_HELD_FULL;
}

static void on_claimed(struct claimer *claimer, PGresult *result)
{
	struct gathering *gathering = &claimer->gathering;
	int rows = PQntuples(result);
	int64_t last = 0;
	if (outbox_claim_kept(result)) {
		PQclear(result);
		report_oldest(claimer, CLAIM_KEPT, NULL);
		return;
	}
	for (int i = 0; i < rows; i++) {
		int64_t id = pg_get_int8(PQgetvalue(result, i, CLAIM_ID));
		last = id > last ? id : last;
		gathering->answer.moved += outbox_claim_moved(result, i);
	}
	if (last > gathering->answer.last)
		gathering->answer.last = last;
	if (left_nothing(claimer, result))
		lower(&gathering->answer.upto, last);
	else
		gathering->whole = false;
	gathering->answer.cut |= cut_of(result) != 0;
	gathering->answer.full |=
	    rows == claimer->asked[0].rows[gathering->count] || cut_of(result) == CUT_HELD_FULL;
	claimer->leaves[session_own_leaf(claimer->session, gathering->count)].rows = rows;
	gathering->results[gathering->count++] = result;
}

static void on_left(struct claimer *claimer, PGresult *result)
{
	struct gathering *gathering = &claimer->gathering;
	int64_t upto = INT64_MAX;
	if (PQntuples(result) > 0) {
		int64_t first = pg_get_int8(PQgetvalue(result, 0, 0));
		upto = first > 0 ? first - 1 : 0;
	}
	/* It knows better than the claims before it. */
	if (gathering->lefts == 0)
		gathering->answer.upto = INT64_MAX;
	if (upto < gathering->answer.upto)
		gathering->leaf_left = session_own_leaf(claimer->session, gathering->lefts);
	gathering->lefts++;
	lower(&gathering->answer.upto, upto);
	gathering->whole = true;
	PQclear(result);
}

static void on_ids(struct claimer *claimer, PGresult *result)
{
	struct gathering *gathering = &claimer->gathering;
	size_t own = gathering->ids++ % session_own_count(claimer->session);
	struct ids_seen *before = &claimer->leaves[session_own_leaf(claimer->session, own)].seen;
	struct ids_seen now = ids_seen_read(result);
	/* A row that a claim could not remove stays: it is news once. */
	if (now.found == 0 && claimer->asked[0].claim.low_watermark <= 0)
		now.found = before->found;
	bool found = now.found != 0 && now.found != before->found;
	/* Below the low watermark: a trigger that was made since this session began may put rows
	 * back. */
	claimer->verifies |= found;
	gathering->answer.set_back |= found || ids_set_back(before, &now);
	if (PLANTED("claim-above-last")) /* it would heal this, and the next */
		gathering->answer.set_back = false;
	if (PLANTED("floor-past-writers"))
		gathering->answer.set_back = false;
	*before = now;
	PQclear(result);
}

static void begin_gathering(struct claimer *claimer)
{
	struct gathering *gathering = &claimer->gathering;
	if (gathering->results != NULL)
		return;
	*gathering = (struct gathering){.whole = true, .answer.upto = INT64_MAX};
	gathering->results =
	    xcalloc(session_own_count(claimer->session), sizeof(struct PGresult *));
}

static bool is_gathered(const struct claimer *claimer)
{
	const struct gathering *gathering = &claimer->gathering;
	const struct asked *asked = &claimer->asked[0];
	size_t ids = asked->claim.observes ? session_own_count(claimer->session) * 2
					   : session_own_count(claimer->session);
	return claimer->asked_count > 0 &&
	       gathering->count == session_own_count(claimer->session) && gathering->ids == ids &&
	       (!asked->claim.observes || gathering->lefts == session_own_count(claimer->session));
}

static size_t rows_gathered(const struct gathering *gathering)
{
	size_t rows = 0;
	for (size_t i = 0; i < gathering->count; i++)
		rows += (size_t)PQntuples(gathering->results[i]);
	return rows;
}

/* Nothing was taken though something is there: it is locked, or a trigger keeps it. Only of the
 * first claim, since looking into it rolls back what other claims of the transaction have taken. */
static bool is_in_doubt(const struct claimer *claimer)
{
	const struct gathering *gathering = &claimer->gathering;
	return claimer->asked[0].claim.opens && !gathering->answer.set_back &&
	       gathering->lefts > 0 && gathering->answer.upto < INT64_MAX &&
	       rows_gathered(gathering) == 0 && session_in_transaction(claimer->session) &&
	       clock_monotonic_us() - claimer->doubted_us >= DOUBT_US;
}

/* The first answer is worth nothing: while the row was looked for, the session has been outside of
 * transactions and may have heard the bell, of which is believed that a claim under way saw what it
 * rang for. */
void claimer_ask_again(struct claimer *claimer)
{
	claimer->doubted_us = clock_monotonic_us();
	claimer_ask(claimer, &claimer->doubted);
}

static void look_for(struct claimer *claimer, const struct chunk *chunk)
{
	struct outbox_ids_item *items = xcalloc(chunk->count, sizeof(*items));
	struct outbox_ids ids;
	for (size_t i = 0; i < chunk->count; i++)
		items[i] = (struct outbox_ids_item){.id = chunk->events[i].id,
						    .identity = chunk->events[i].identity};
	outbox_ids_published(&ids, items, chunk->count);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	for (size_t i = 0; i < session_own_count(claimer->session); i++)
		session_ask_leaf(&claimer->asker, TAG_AFTER, "still",
				 session_own_leaf(claimer->session, i), params, 2, false);
	session_sync(claimer->session);
	outbox_ids_free(&ids);
	free(items);
}

/* Tells the claims at the head of the queue that are found good, or hold nothing. */
static void tell_verified(struct claimer *claimer)
{
	struct verification *all = claimer->verifying;
	while (claimer->verifying_count > 0 && all[0].answers_left == 0) {
		struct verification good = all[0];
		claimer->verifying_count--;
		memmove(&all[0], &all[1], claimer->verifying_count * sizeof(all[0]));
		claimer->events->claimed(claimer->owner, good.chunk, &good.answer);
	}
}

static void verify(struct claimer *claimer, const struct verification *claim)
{
	struct verification *added = &claimer->verifying[claimer->verifying_count++];
	bool may = claimer->verifies || opening_verifies(claimer->opening);
	/* Once the ROLLBACK has been asked for, the answer would come behind it. */
	bool asks = may && claim->chunk->count > 0 && session_in_transaction(claimer->session);
	*added = *claim;
	added->answers_left = asks ? session_own_count(claimer->session) : 0;
	if (asks)
		look_for(claimer, added->chunk);
	tell_verified(claimer);
}

static void on_after(struct claimer *claimer, PGresult *result)
{
	struct verification *first = claimer->verifying;
	size_t own = session_own_count(claimer->session) - first->answers_left;
	struct claim_trouble trouble = {.wrong = CLAIM_BACK,
					.leaf = session_own_leaf(claimer->session, own),
					.low_watermark = first->low_watermark,
					.alone = first->chunk->count == 1,
					.exact = true};
	bool back = PQntuples(result) > 0;
	PQclear(result);
	first->answers_left--;
	if (back)
		claimer->events->wrong(claimer->owner, &trouble);
	else
		tell_verified(claimer);
}

static void tell_claimed(struct claimer *claimer)
{
	struct gathering gathering = claimer->gathering;
	if (is_in_doubt(claimer)) {
		report_empty(claimer);
		return;
	}
	struct verification claim = {.chunk = outbox_chunk_new(gathering.results, gathering.count,
							       session_shape(claimer->session)),
				     .answer = gathering.answer,
				     .low_watermark = claimer->asked[0].claim.low_watermark};
	/* It has only gone past rows that are settled: those that are to be measured come later. */
	if (claimer->asked[0].exact && claim.chunk->count == 0 && gathering.answer.moved > 0)
		claimer->measuring++;
	if (!gathering.whole)
		claim.answer.upto = 0;
	claim.answer.too_high = gathering.answer.set_back && claim.low_watermark > 0;
	free(claimer->asked[0].rows);
	claimer->gathering = (struct gathering){0};
	claimer->asked_count--;
	memmove(&claimer->asked[0], &claimer->asked[1],
		claimer->asked_count * sizeof(struct asked));
	verify(claimer, &claim);
}

static void on_answered(void *part, int tag, PGresult *result)
{
	struct claimer *claimer = part;
	bool changed = (tag == TAG_DRAWN && !is_same(claimer, result, 1)) ||
		       (tag == TAG_IDS && !is_same(claimer, result, IDS_SAME));
	if (tag == TAG_DRAWN)
		claimer->drawn = ids_last_drawn(result, 0);
	if (tag == TAG_ASIDE)
		claimer->plain_until_us =
		    PQgetvalue(result, 0, 0)[0] == '\0' ? clock_monotonic_us() + PLAIN_US : 0;
	if (changed || tag == TAG_DRAWN || tag == TAG_ASIDE) {
		PQclear(result);
		return;
	}
	if (tag == TAG_WRITERS) {
		on_writers(claimer, result);
		return;
	}
	claimer->answers++;
	if (tag == TAG_AFTER) {
		on_after(claimer, result);
		return;
	}
	begin_gathering(claimer);
	if (tag == TAG_CLAIM)
		on_claimed(claimer, result);
	else if (tag == TAG_IDS)
		on_ids(claimer, result);
	else
		on_left(claimer, result);
	if (is_gathered(claimer))
		tell_claimed(claimer);
}

static bool on_refused(void *part, const struct pg_failure *failure)
{
	/* undefined_table: the next session sees which there are */
	if (failure->tag != TAG_CLAIM || strcmp(failure->state, "42P01") == 0)
		return false;
	report_oldest(part, CLAIM_REFUSED, failure);
	return true;
}

/* ---- making one ---- */

void claimer_measure(struct claimer *claimer, unsigned claims)
{
	claimer->measuring += claims;
}

unsigned claimer_answers(const struct claimer *claimer)
{
	return claimer->answers;
}

void claimer_forget(struct claimer *claimer)
{
	struct gathering *gathering = &claimer->gathering;
	for (size_t i = 0; i < gathering->count; i++)
		PQclear(gathering->results[i]);
	free(gathering->results);
	memset(gathering, 0, sizeof(*gathering));
	for (size_t i = 0; i < claimer->asked_count; i++)
		free(claimer->asked[i].rows);
	claimer->asked_count = 0;
	for (size_t i = 0; i < claimer->verifying_count; i++)
		claimer->verifying[i].chunk->free(claimer->verifying[i].chunk);
	claimer->verifying_count = 0;
}

static void on_lost(void *part)
{
	struct claimer *claimer = part;
	claimer_forget(claimer);
	memset(claimer->leaves, 0, sizeof(claimer->leaves));
	claimer->doubted_us = 0;
}

struct claimer *claimer_new(struct session *session, struct opening *opening, struct held *held,
			    const struct claimer_events *events, void *owner)
{
	static const struct asker_ops ops = {on_answered, on_refused, on_lost};
	struct claimer *claimer = xcalloc(1, sizeof(*claimer));
	claimer->session = session;
	claimer->asker = session_join(session, &ops, claimer);
	claimer->opening = opening;
	claimer->held = held;
	claimer->events = events;
	claimer->owner = owner;
	return claimer;
}

void claimer_free(struct claimer **claimer)
{
	if (*claimer == NULL)
		return;
	claimer_forget(*claimer);
	free(*claimer);
	*claimer = NULL;
}
