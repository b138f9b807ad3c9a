/*
 * claim.c - asking for events, leaf by leaf, and putting the answers together
 */
#include "base/failpoints.h"
#include "base/xalloc.h"
#include "chunk.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* A leaf counts as if it had had so many rows more, so that each is asked for some. */
enum { LEAF_ROWS = 100 };

/* ---- asking ---- */

struct pg_int8 outbox_above(int64_t low_watermark)
{
	return pg_put_int8(low_watermark > 0 && low_watermark < INT64_MAX ? low_watermark + 1
									  : INT64_MIN);
}

/* Of all that the leaves of the claim get, the part of each by what it had the last time. */
static double part_of(const struct outbox *outbox, const struct outbox_leaf *leaf)
{
	return (double)(leaf->rows + LEAF_ROWS) / (double)outbox->rows_had;
}

static int64_t share(int64_t whole, double part)
{
	int64_t rows = (int64_t)((double)whole * part);
	return rows > 0 ? rows : 1;
}

static void sum_rows(struct outbox *outbox)
{
	outbox->rows_had = 0;
	for (size_t i = 0; i < session_own_count(outbox->session); i++)
		outbox->rows_had +=
		    outbox->shape->leaves[session_own_leaf(outbox->session, i)].rows + LEAF_ROWS;
}

/* The events of one leaf; how many rows it was asked for. */
static int64_t ask_leaf(struct outbox *outbox, const struct claim *claim, size_t number, bool exact)
{
	double part = part_of(outbox, &outbox->shape->leaves[number]);
	int64_t asked = exact ? 1 : share(claim->rows, part);
	struct pg_int8 first = outbox_above(claim->low_watermark), rows = pg_put_int8(asked);
	struct pg_int8 bytes = pg_put_int8(share(claim->bytes, part));
	struct pg_param held = pg_param_text(outbox->held_text);
	struct pg_param params[5] = {pg_param_int8(&first), exact ? held : pg_param_int8(&rows),
				     pg_param_int8(&bytes), held};
	int count = session_param_mine(outbox->session, params, exact ? 2 : 4);
	session_ask_leaf(&outbox->claiming, TAG_CLAIM, exact ? "claim_exact" : "claim", number,
			 params, count, true);
	return asked;
}

/* How far below the low watermark rows are looked for: new ids that have passed the low watermark
 * have passed these too. The figure bounds the entries of dead rows that are walked. */
enum { IDS_BELOW = 100 };

/* Asks whether ids begin again. Behind the claims, since these are then known to have seen nothing
 * newer than the answer. */
static void ask_ids(struct outbox *outbox, int64_t low_watermark)
{
	int64_t first =
	    low_watermark < INT64_MIN + IDS_BELOW ? INT64_MIN : low_watermark - IDS_BELOW;
	struct pg_int8 above = pg_put_int8(low_watermark > 0 ? first : INT64_MIN);
	struct pg_int8 upto = pg_put_int8(low_watermark > 0 ? low_watermark : INT64_MIN);
	struct pg_param params[4] = {pg_param_int8(&above), pg_param_int8(&upto),
				     pg_param_text(outbox->held_text)};
	session_ask_own_leaves(&outbox->claiming, TAG_IDS, "ids", params, 3, true);
}

void outbox_claim(struct outbox *outbox, const struct claim *claim)
{
	bool exact = outbox->exact_claims > 0;
	struct pg_int8 first = outbox_above(claim->low_watermark);
	struct pg_param params[3] = {pg_param_int8(&first)};
	struct asked asked = {.opens = claim->opens,
			      .observes = claim->observes,
			      .exact = exact,
			      .low_watermark = claim->low_watermark};
	asked.rows = xcalloc(session_own_count(outbox->session), sizeof(*asked.rows));
	if (exact)
		outbox->exact_claims--;
	if (claim->opens) {
		session_begin(outbox->session);
		/* All that waits is looked at: what was held is taken in its order. */
		if (claim->low_watermark == 0 && outbox->holds.released > 0) {
			outbox_holds_drop_released(&outbox->holds);
			outbox_holds_changed(outbox);
		}
	}
	params[1] = pg_param_text(outbox->held_text);
	if (claim->observes) {
		/* What the reading is worth depends on what the ids were then. It also takes the
		 * tables' locks: TRUNCATE, which takes them before the sequence's, deadlocks with
		 * a transaction that takes them behind it. */
		ask_ids(outbox, claim->low_watermark);
		/* In this order: the ids first, then who may yet commit one of them. */
		session_ask(&outbox->claiming, TAG_DRAWN, "drawn", NULL, 0, true);
		session_ask(&outbox->claiming, TAG_WRITERS, "writers", NULL, 0, false);
	}
	sum_rows(outbox);
	for (size_t i = 0; i < session_own_count(outbox->session); i++)
		asked.rows[i] =
		    ask_leaf(outbox, claim, session_own_leaf(outbox->session, i), exact);
	ask_ids(outbox, claim->low_watermark);
	if (claim->observes)
		session_ask_own_leaves(&outbox->claiming, TAG_LEFT, "left", params, 2, true);
	if (PLANTED("settle-before-ack")) {
		session_ask(&outbox->claiming, TAG_IGNORE, "commit", NULL, 0, false);
		session_ask(&outbox->claiming, TAG_IGNORE, "begin", NULL, 0, false);
	}
	session_sync(outbox->session);
	outbox->asked[outbox->asked_count++] = asked;
	FAILPOINT("claim-sent");
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
			writers.overflow = true; /* another session whose end we could not tell */
	}
	PQclear(result);
	outbox_poll(outbox, (struct poll_input){.event = POLL_OBSERVED,
						.drawn = outbox->drawn,
						.writers = &writers});
}

/* NULL, no sequence or nothing was ever drawn from it: DRAWN_UNKNOWN. That is the lowest id too, in
 * whose place the next one is a bound as good. */
static int64_t last_drawn(const PGresult *result, int column)
{
	if (PQgetisnull(result, 0, column))
		return DRAWN_UNKNOWN;
	int64_t last = pg_get_int8(PQgetvalue(result, 0, column));
	return last == DRAWN_UNKNOWN ? last + 1 : last;
}

static void on_drawn(struct outbox *outbox, PGresult *result)
{
	outbox->drawn = last_drawn(result, 0);
	bool same = PQgetvalue(result, 0, 1)[0] != '\0'; /* a binary boolean */
	PQclear(result);
	if (!same)
		session_give_up(outbox->session, false,
				"another table has taken the outbox's name, or its partitions have "
				"changed");
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
static bool left_nothing(const struct outbox *outbox, const PGresult *result)
{
	if (PQntuples(result) == 0 || outbox->shape->competing)
		return false;
	return cut_of(result) != CUT_HELD && cut_of(result) != CUT_HELD_FULL;
}

static void on_claimed(struct outbox *outbox, PGresult *result)
{
	struct gathering *gathering = &outbox->gathering;
	int rows = PQntuples(result);
	int64_t last = 0;
	if (outbox_claim_kept(result)) {
		PQclear(result);
		outbox_refuse_kept(outbox);
		return;
	}
	for (int i = 0; i < rows; i++) {
		int64_t id = pg_get_int8(PQgetvalue(result, i, CLAIM_ID));
		last = id > last ? id : last;
	}
	if (left_nothing(outbox, result))
		lower(&gathering->answer.upto, last);
	else
		gathering->whole = false;
	gathering->answer.cut |= cut_of(result) != 0;
	gathering->answer.full |=
	    rows == outbox->asked[0].rows[gathering->count] || cut_of(result) == CUT_HELD_FULL;
	outbox->shape->leaves[session_own_leaf(outbox->session, gathering->count)].rows = rows;
	gathering->results[gathering->count++] = result;
}

static void on_left(struct outbox *outbox, PGresult *result)
{
	struct gathering *gathering = &outbox->gathering;
	int64_t upto = INT64_MAX;
	if (PQntuples(result) > 0) {
		int64_t first = pg_get_int8(PQgetvalue(result, 0, 0));
		upto = first > 0 ? first - 1 : 0;
	}
	/* It knows better than the claims before it. */
	if (gathering->lefts == 0)
		gathering->answer.upto = INT64_MAX;
	if (upto < gathering->answer.upto)
		gathering->leaf_left = session_own_leaf(outbox->session, gathering->lefts);
	gathering->lefts++;
	lower(&gathering->answer.upto, upto);
	gathering->whole = true;
	PQclear(result);
}

/* The first id drawn from a sequence may be lower than any id given by hand, too. */
static bool is_set_back(const struct ids_seen *before, const struct ids_seen *now)
{
	bool first = before->last == DRAWN_UNKNOWN && now->last != DRAWN_UNKNOWN;
	return before->file != 0 &&
	       (first || now->last < before->last || now->file != before->file ||
		now->sequence_file != before->sequence_file);
}

static void on_ids(struct outbox *outbox, PGresult *result)
{
	struct gathering *gathering = &outbox->gathering;
	size_t own = gathering->ids++ % session_own_count(outbox->session);
	struct ids_seen *before =
	    &outbox->shape->leaves[session_own_leaf(outbox->session, own)].seen;
	struct ids_seen now = {.last = last_drawn(result, IDS_LAST),
			       .sequence_file =
				   pg_get_int8(PQgetvalue(result, 0, IDS_SEQUENCE_FILE)),
			       .file = pg_get_int8(PQgetvalue(result, 0, IDS_FILE))};
	/* A row that a claim could not remove stays: it is news once. */
	if (!PQgetisnull(result, 0, IDS_FOUND))
		now.found = pg_get_int8(PQgetvalue(result, 0, IDS_FOUND));
	else if (outbox->asked[0].low_watermark <= 0)
		now.found = before->found;
	bool found = now.found != 0 && now.found != before->found;
	/* Below the low watermark: a trigger that was made since this session began may put rows
	 * back. */
	outbox->verifies |= found;
	/* These two it would heal. */
	bool heals = PLANTED("claim-above-last") || PLANTED("floor-past-writers"); // NOLINT
	if (!heals)
		gathering->answer.set_back |= found || is_set_back(before, &now);
	*before = now;
	PQclear(result);
}

static void begin_gathering(struct outbox *outbox)
{
	struct gathering *gathering = &outbox->gathering;
	if (gathering->results != NULL)
		return;
	*gathering = (struct gathering){.whole = true, .answer.upto = INT64_MAX};
	gathering->results = xcalloc(session_own_count(outbox->session), sizeof(struct PGresult *));
}

static bool is_gathered(const struct outbox *outbox)
{
	const struct gathering *gathering = &outbox->gathering;
	const struct asked *asked = &outbox->asked[0];
	size_t ids = asked->observes ? session_own_count(outbox->session) * 2
				     : session_own_count(outbox->session);
	return gathering->count == session_own_count(outbox->session) && gathering->ids == ids &&
	       (!asked->observes || gathering->lefts == session_own_count(outbox->session));
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
static bool is_in_doubt(const struct outbox *outbox)
{
	const struct gathering *gathering = &outbox->gathering;
	return outbox->asked[0].opens && !gathering->answer.set_back && gathering->lefts > 0 &&
	       gathering->answer.upto < INT64_MAX && rows_gathered(gathering) == 0 &&
	       outbox_may_refuse_empty(outbox);
}

void outbox_claim_tell_empty(struct outbox *outbox, int64_t upto)
{
	struct chunk *chunk = outbox_chunk_new(NULL, 0, outbox->shape);
	session_begin(outbox->session);
	session_sync(outbox->session);
	outbox_claimed(outbox, chunk, (struct claim_answer){.upto = upto});
}

static void tell_claimed(struct outbox *outbox)
{
	struct gathering gathering = outbox->gathering;
	if (is_in_doubt(outbox)) {
		outbox_refuse_empty(outbox, gathering.leaf_left, gathering.answer.upto);
		return;
	}
	struct verification claim = {
	    .chunk = outbox_chunk_new(gathering.results, gathering.count, outbox->shape),
	    .answer = gathering.answer,
	    .low_watermark = outbox->asked[0].low_watermark};
	if (!gathering.whole)
		claim.answer.upto = 0;
	claim.answer.too_high = gathering.answer.set_back && claim.low_watermark > 0;
	free(outbox->asked[0].rows);
	memset(&outbox->gathering, 0, sizeof(outbox->gathering));
	outbox->asked_count--;
	memmove(&outbox->asked[0], &outbox->asked[1], outbox->asked_count * sizeof(struct asked));
	outbox_verify(outbox, &claim);
}

void outbox_claim_answered(void *part, int tag, PGresult *result)
{
	struct outbox *outbox = part;
	if (tag == TAG_DRAWN) {
		on_drawn(outbox, result);
		return;
	}
	if (tag == TAG_WRITERS) {
		on_writers(outbox, result);
		return;
	}
	outbox->deaf = 0;
	if (tag == TAG_AFTER) {
		outbox_verify_answered(outbox, result);
		return;
	}
	begin_gathering(outbox);
	if (tag == TAG_CLAIM)
		on_claimed(outbox, result);
	else if (tag == TAG_IDS)
		on_ids(outbox, result);
	else
		on_left(outbox, result);
	if (!outbox->refusal.dealing && is_gathered(outbox))
		tell_claimed(outbox);
}

void outbox_claim_forget(void *part)
{
	struct outbox *outbox = part;
	struct gathering *gathering = &outbox->gathering;
	for (size_t i = 0; i < gathering->count; i++)
		PQclear(gathering->results[i]);
	free(gathering->results);
	memset(gathering, 0, sizeof(*gathering));
	for (size_t i = 0; i < outbox->asked_count; i++)
		free(outbox->asked[i].rows);
	outbox->asked_count = 0;
	outbox_verify_forget(outbox);
}
