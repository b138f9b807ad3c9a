/* SPDX-License-Identifier: ISC */
/*
 * ids_seen.c - what tells that ids begin again
 */
#include "ids_seen.h"

#include "outbox/sql.h"
#include "postgres.h"
#include "writers.h"

/* NULL, no sequence or nothing was ever drawn from it: DRAWN_UNKNOWN. That is the lowest id too, in
 * whose place the next one is a bound as good. */
int64_t ids_last_drawn(const PGresult *result, int column)
{
	if (PQgetisnull(result, 0, column))
		return DRAWN_UNKNOWN;
	int64_t last = pg_get_int8(PQgetvalue(result, 0, column));
	return last == DRAWN_UNKNOWN ? last + 1 : last;
}

struct ids_seen ids_seen_read(const PGresult *result)
{
	struct ids_seen seen = {.last = ids_last_drawn(result, IDS_LAST),
				.sequence_file =
				    pg_get_int8(PQgetvalue(result, 0, IDS_SEQUENCE_FILE)),
				.file = pg_get_int8(PQgetvalue(result, 0, IDS_FILE))};
	if (!PQgetisnull(result, 0, IDS_FOUND))
		seen.found = pg_get_int8(PQgetvalue(result, 0, IDS_FOUND));
	return seen;
}

/* The first id drawn from a sequence may be lower than any id given by hand, too. */
bool ids_set_back(const struct ids_seen *before, const struct ids_seen *now)
{
	bool first = before->last == DRAWN_UNKNOWN && now->last != DRAWN_UNKNOWN;
	return before->file != 0 &&
	       (first || now->last < before->last || now->file != before->file ||
		now->sequence_file != before->sequence_file);
}
