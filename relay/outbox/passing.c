/* SPDX-License-Identifier: ISC */
/*
 * passing.c - errors of the server that pass by themselves and say nothing of a row
 */
#include "passing.h"

#include <string.h>

enum { PASSES_WITHIN_US = 10 * 1000 * 1000, PASSED_US = 20 * 1000 * 1000 };

bool sqlstate_is(const char *sqlstate, const char *const *prefixes)
{
	for (; *prefixes != NULL; prefixes++)
		if (strncmp(sqlstate, *prefixes, strlen(*prefixes)) == 0)
			return true;
	return false;
}

/* Serialization failure and deadlock, full disk and too many connections, objects in use, locks not
 * to be had, operator intervention, system errors (manual: "PostgreSQL Error Codes"). Not 55000 and
 * 53400, which triggers raise because of a row. */
bool passing_kind(const char *sqlstate)
{
	static const char *const kinds[] = {"40",    "530", "531", "532", "533",
					    "55006", "55P", "57",  "58",  NULL};
	return sqlstate_is(sqlstate, kinds);
}

/* Of these, what a trigger may cause whenever it meets a certain row. */
static bool may_be_a_rows(const char *sqlstate)
{
	static const char *const kinds[] = {"40", "55", "57014", NULL};
	return sqlstate_is(sqlstate, kinds);
}

bool passing_still(struct passing *passing, const char *sqlstate, int64_t now_us)
{
	if (!passing_kind(sqlstate))
		return false;
	if (now_us - passing->last_us > PASSED_US)
		passing->since_us = now_us;
	passing->last_us = now_us;
	return !may_be_a_rows(sqlstate) || now_us - passing->since_us < PASSES_WITHIN_US;
}
