/* SPDX-License-Identifier: ISC */
/*
 * compare_text.c - times and values as `compare` reads them
 */
#include "base/units.h"
#include "compare.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- times ---- */

/* timegm takes the 31st of February for the 3rd of March. */
static bool is_date(struct tm *tm, int64_t *time_ms)
{
	struct tm given = *tm;

	*time_ms = (int64_t)timegm(tm) * 1000;
	return tm->tm_mday == given.tm_mday && tm->tm_mon == given.tm_mon &&
	       tm->tm_hour == given.tm_hour && tm->tm_min == given.tm_min &&
	       tm->tm_sec == given.tm_sec;
}

static bool read_point(const char *text, int64_t *time_ms)
{
	struct tm tm = {.tm_isdst = 0};
	int used = 0;

	if (sscanf(text, "%4d-%2d-%2d%*1[T ]%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		   &tm.tm_hour, &tm.tm_min, &used) != 5 ||
	    used == 0)
		return false;
	text += used;
	if (*text == ':' && sscanf(text, ":%2d%n", &tm.tm_sec, &used) == 1)
		text += used;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return strcmp(text, "Z") == 0 && is_date(&tm, time_ms);
}

bool compare_time(const char *text, int64_t now_ms, int64_t *time_ms, struct error *err)
{
	int64_t ago;

	if (units_parse_duration(text, &ago)) {
		*time_ms = now_ms - ago;
		return true;
	}
	return read_point(text, time_ms) ||
	       error_set(err,
			 "\"%s\" is no point in time; write it like 2026-11-30T03:00:00Z, or how "
			 "long ago, 2h",
			 text);
}

/* ---- values ---- */

size_t compare_first(struct slice a, struct slice b)
{
	size_t shorter = a.len < b.len ? a.len : b.len, at = 0;

	while (at < shorter && a.data[at] == b.data[at])
		at++;
	return at;
}

bool compare_same_json(struct slice a, struct slice b)
{
	json_error_t ignored;
	json_t *left = a.len > 0 ? json_loadb(a.data, a.len, JSON_DECODE_ANY, &ignored) : NULL;
	json_t *right = b.len > 0 ? json_loadb(b.data, b.len, JSON_DECODE_ANY, &ignored) : NULL;
	bool same = left != NULL && right != NULL && json_equal(left, right);

	json_decref(left);
	json_decref(right);
	return same;
}
