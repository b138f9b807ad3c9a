/*
 * claims.c - how many events to ask for, and how many asks to have under way
 */
#include "core/claims.h"

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

void claims_begin(struct claims *claims)
{
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

static int64_t rows_left(const struct claims *claims, const struct claims_limits *limits,
			 size_t events)
{
	return limits->batch_rows - (int64_t)events - promised(claims);
}

static int64_t bytes_left(const struct claims *claims, const struct claims_limits *limits,
			  size_t bytes)
{
	return limits->batch_bytes - (int64_t)bytes - promised(claims) * claims->event_bytes;
}

bool claims_want(const struct claims *claims, const struct claims_limits *limits, size_t events,
		 size_t bytes)
{
	return !claims->dry && claims->most == 0 && claims->under_way < CLAIMS_UNDER_WAY &&
	       rows_left(claims, limits, events) > 0 && bytes_left(claims, limits, bytes) > 0;
}

void claims_next(struct claims *claims, const struct claims_limits *limits, size_t events,
		 size_t bytes, struct claim *claim)
{
	int64_t room = rows_left(claims, limits, events);
	int64_t rows = room / 2 > SMALLEST ? room / 2 : min64(room, SMALLEST);
	assert(claims->under_way < CLAIMS_UNDER_WAY);
	claim->bytes = bytes_left(claims, limits, bytes);
	rows = min64(min64(rows, limits->claim_rows), claim->bytes / claims->event_bytes);
	if (claims->most > 0)
		rows = min64(rows, claims->most);
	claim->rows = rows > 0 ? rows : 1;
	claims->asked[claims->under_way++] = claim->rows;
}

void claims_answered(struct claims *claims, bool full)
{
	assert(claims->under_way > 0);
	for (unsigned i = 1; i < claims->under_way; i++)
		claims->asked[i - 1] = claims->asked[i];
	claims->under_way--;
	if (!full)
		claims->dry = true;
	claims->most = claims->most < MOST_AT_LAST ? claims->most * 2 : 0;
}

void claims_failed(struct claims *claims)
{
	assert(claims->under_way > 0);
	claims->most = claims->asked[0] > 1 ? claims->asked[0] / 2 : 1;
}

void claims_learn(struct claims *claims, size_t events, size_t bytes)
{
	if (events == 0)
		return;
	int64_t now = (int64_t)(bytes / events) + 1;
	/* Up immediately, down slowly: a guess that is too low costs memory. */
	claims->event_bytes =
	    now > claims->event_bytes ? now : (claims->event_bytes * 7 + now) / 8 + 1;
}
