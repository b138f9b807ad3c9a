/* SPDX-License-Identifier: ISC */
/*
 * check_subject.h - the outbox that `check` looks at, and how its parts ask for it
 *
 * Thread: main, of a process without a loop; all of them block.
 */
#ifndef OUTBOX_CMD_CHECK_SUBJECT_H
#define OUTBOX_CMD_CHECK_SUBJECT_H

#include "adopt.h"
#include "base/error.h"
#include "base/pgname.h"
#include "check.h"
#include "config.h"

#include <libpq-fe.h>
#include <stdbool.h>

#define MIGRATE "run `outbox-relay migrate`"
#define RIGHTS	"run `outbox-relay migrate` as the table's owner; it grants them to outbox_relay"

struct subject {
	struct check *check;
	const struct config *config;
	PGconn *conn;
	struct adopt_table table;
	char name[PGNAME_FULL_SIZE];  /* for SQL */
	char shown[PGNAME_FULL_SIZE]; /* for people */
};

/* What to do after a query that failed. */
const char *subject_remedy(const char *usual);

/* NULL after telling of an error. what: "looking at indexes". */
PGresult *subject_query(const struct subject *s, const char *what, const char *sql, int count,
			const char *const *params);

/* The parameters are the table and its id column. */
PGresult *subject_ask(const struct subject *s, const char *what, const char *sql);

/* What `run` refuses to begin without, in its words: "what is wrong; what to do". False. */
bool subject_refuse(const struct subject *s, struct error *err);

/* Partitions that do not follow the key, of an outbox that is migrated; nothing is found where
 * there are none. */
void check_parts(const struct subject *s);

/* What outbox.publish_after rests on. */
void check_standbys(const struct subject *s);

/* What positions rest on, of an outbox that is migrated; nothing is found in the other modes. */
void check_position(const struct subject *s);

/* Sessions that are no relays, and whose locks keep events waiting. */
void check_strangers(const struct subject *s);

#endif
