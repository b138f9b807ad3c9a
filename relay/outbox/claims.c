/* SPDX-License-Identifier: ISC */
/*
 * claims.c - how many events to ask for, and how many asks to have under way
 */
#include "claims.h"

#include <assert.h>

/* No claim but a batch's very last is smaller than this: each costs a round trip. */
enum { SMALLEST = 400, FIRST_GUESS_BYTES = 1024 };

/* Claims of so many rows are no longer held to a limit. */
enum { MOST_AT_LAST = 4096 };

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void claims_init(struct claims *claims)
{
	*claims = (struct claims){.event_bytes = FIRST_GUESS_BYTES};
}

void claims_begin(struct claims *claims, const struct claims_limits *limits)
{
	claims->limits = *limits;
	claims->events = claims->moved = claims->bytes = 0;
	claims->under_way = 0;
	claims->dry = false;
}

static int64_t promised(const struct claims *claims)
{
	int64_t rows = 0;
	for (unsigned i = 0; i < claims->under_way; i++)
		rows += claims->asked[i];
	return rows;
}

static int64_t rows_left(const struct claims *claims)
{
	return claims->limits.batch_rows - claims->events - claims->moved - promised(claims);
}

static int64_t bytes_left(const struct claims *claims)
{
	return claims->limits.batch_bytes - claims->bytes - promised(claims) * claims->event_bytes;
}

bool claims_want(const struct claims *claims)
{
	return !claims->dry && claims->most == 0 && claims->under_way < CLAIMS_UNDER_WAY &&
	       rows_left(claims) > 0 && bytes_left(claims) > 0;
}

void claims_next(struct claims *claims, struct claim *claim)
{
	int64_t room = rows_left(claims);
	int64_t rows = room / 2 > SMALLEST ? room / 2 : min64(room, SMALLEST);
	assert(claims->under_way < CLAIMS_UNDER_WAY);
	claim->bytes = bytes_left(claims);
	rows = min64(min64(rows, claims->limits.claim_rows), claim->bytes / claims->event_bytes);
	if (claims->most > 0)
		rows = min64(rows, claims->most);
	claim->rows = rows > 0 ? rows : 1;
	claims->asked[claims->under_way++] = claim->rows;
}

void claims_single(struct claims *claims, const struct claims_limits *limits, struct claim *claim)
{
	claims_begin(claims, limits);
	claim->opens = true;
	claims_next(claims, claim);
	claims->dry = true;
}

static void learn(struct claims *claims)
{
	if (claims->events == 0)
		return;
	int64_t now = claims->bytes / claims->events + 1;
	/* Up immediately, down slowly: a guess that is too low costs memory. */
	claims->event_bytes =
	    now > claims->event_bytes ? now : (claims->event_bytes * 7 + now) / 8 + 1;
}

void claims_answered(struct claims *claims, int64_t events, int64_t moved, size_t bytes, bool full)
{
	assert(claims->under_way > 0);
	for (unsigned i = 1; i < claims->under_way; i++)
		claims->asked[i - 1] = claims->asked[i];
	claims->under_way--;
	if (!full)
		claims->dry = true;
	claims->most = claims->most < MOST_AT_LAST ? claims->most * 2 : 0;
	claims->events += events;
	claims->moved += moved;
	claims->bytes += (int64_t)bytes;
	learn(claims);
}

void claims_failed(struct claims *claims)
{
	assert(claims->under_way > 0);
	claims->most = claims->asked[0] > 1 ? claims->asked[0] / 2 : 1;
}
