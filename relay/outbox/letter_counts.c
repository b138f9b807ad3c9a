/* SPDX-License-Identifier: ISC */
/*
 * letter_counts.c - what the statement of the gauges tells of letters
 */
#include "outbox/letter_counts.h"

#include "outbox/sql.h"

#include <stdlib.h>

char *letter_counts_question(uint32_t oid)
{
	const struct outbox_shape all = {.oid = oid, .competing = true};
	return outbox_sql_letters_gauges(&all);
}

static double number(const PGresult *answer, int column)
{
	return strtod(PQgetvalue(answer, 0, column), NULL);
}

/* What is not parked is told by each answer anew. */
void letter_counts_add(const PGresult *answer, struct letter_gauges *letters)
{
	struct parked_gauges *parked = &letters->parked;
	double age = number(answer, LETTERS_PARKED_AGE);
	letters->dead = number(answer, LETTERS_DEAD);
	letters->deferred = number(answer, LETTERS_FOR_TOPICS);
	parked->keys += number(answer, LETTERS_PARKED_KEYS);
	parked->events += number(answer, LETTERS_PARKED_EVENTS);
	if (age > parked->oldest_age_seconds)
		parked->oldest_age_seconds = age;
	for (int reason = 0; reason < REJECT_REASONS; reason++) {
		letters->dead_by_reason[reason] = number(answer, LETTERS_DEAD_BY_REASON + reason);
		parked->by_reason[reason] += number(answer, LETTERS_PARKED_BY_REASON + reason);
	}
}

int64_t letter_counts_next(const PGresult *answer)
{
	return PQgetisnull(answer, 0, LETTERS_NEXT)
		   ? INT64_MIN
		   : strtoll(PQgetvalue(answer, 0, LETTERS_NEXT), NULL, 10);
}
