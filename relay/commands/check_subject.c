/* SPDX-License-Identifier: ISC */
/*
 * check_subject.c - how the parts of `check` ask for the outbox
 */
#include "check_subject.h"

#include "postgres.h"

#include <string.h>

#define LOCKED "end the transaction that holds the lock, then check again"

const char *subject_remedy(const char *usual)
{
	return strcmp(pgsync_sqlstate(), "55P03") == 0 ? LOCKED : usual;
}

PGresult *subject_query(const struct subject *s, const char *what, const char *sql, int count,
			const char *const *params)
{
	struct error err;
	PGresult *result = pgsync_query(s->conn, what, sql, count, params, &err);

	if (!result)
		check_error(s->check, subject_remedy(RIGHTS), "%s", err.text);
	return result;
}

PGresult *subject_ask(const struct subject *s, const char *what, const char *sql)
{
	const char *params[] = {s->name, s->config->outbox.columns.id};

	return subject_query(s, what, sql, 2, params);
}

bool subject_refuse(const struct subject *s, struct error *err)
{
	char *remedy = strstr(err->text, "; "), *next;

	while (remedy && (next = strstr(remedy + 1, "; ")))
		remedy = next;
	if (remedy)
		*remedy = '\0';
	check_error(s->check, remedy ? remedy + 2 : MIGRATE, "%s", err->text);
	return false;
}
