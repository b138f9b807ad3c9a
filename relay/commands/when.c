/* SPDX-License-Identifier: ISC */
/*
 * when.c - a point in time as an operator gives it: as PostgreSQL reads one, or how long ago
 */
#include "when.h"

#include "base/text.h"
#include "base/units.h"
#include "base/xalloc.h"
#include "postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char SQL[] =
    "SELECT t.at::text AS at, floor(extract(epoch FROM t.at) * 1000)::int8 AS ms"
    " FROM (SELECT coalesce($1::timestamptz, clock_timestamp()"
    "  - $2::float8 * interval '1 millisecond') AS at) AS t WHERE isfinite(t.at)";

/* What PostgreSQL cannot read is told in our words: data exceptions have the class 22. */
static bool refuse(const PGresult *result, const char *text, struct error *err)
{
	if (!result && strncmp(pgsync_sqlstate(), "22", 2) != 0)
		return false;
	return error_set(err,
			 "\"%s\" is no point in time; write it as PostgreSQL does, \"2026-11-29 "
			 "12:00\", or how long ago, 2h",
			 text);
}

bool when_read(PGconn *conn, const char *text, struct when *when, struct error *err)
{
	char ago_text[24] = "0";
	const char *params[] = {text, ago_text};
	int64_t ago;
	PGresult *result;

	*when = (struct when){.is_given = text != NULL};
	if (!text)
		return true;
	if (units_parse_duration(text, &ago)) {
		snprintf(ago_text, sizeof(ago_text), "%" PRId64, ago);
		params[0] = NULL;
	}
	result = pgsync_query(conn, "reading a time", SQL, 2, params, err);
	if (!result || PQntuples(result) == 0) {
		refuse(result, text, err);
		PQclear(result);
		return false;
	}
	text_print(when->text, sizeof(when->text), "%s", pgsync_text(result, 0, "at"));
	when->ms = pgsync_number(result, 0, "ms");
	PQclear(result);
	return true;
}

char *when_ms_sql(const char *time)
{
	return xasprintf("coalesce(CASE WHEN isfinite(%s) THEN (extract(epoch FROM %s) * "
			 "1000)::int8 END, 0)",
			 time, time);
}
