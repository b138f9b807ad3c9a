/* SPDX-License-Identifier: ISC */
/*
 * dlq.h - the command `dlq`: its parts, and what they share
 *
 * The relay that owns a letter's shard changes it, nobody else (sql/0008_letters.sql): the command
 * reads letters, writes requests, and waits until they have been carried out. A key's letters are
 * those with held_for 'key' and its hash; the first of them is what keeps the others waiting.
 *
 * Thread: main.
 */
#ifndef OUTBOX_CMD_DLQ_H
#define OUTBOX_CMD_DLQ_H

#include "base/error.h"
#include "base/pgname.h"
#include "commands.h"
#include "dlq_filter.h"

#include <jansson.h>
#include <libpq-fe.h>

enum dlq_action { DLQ_LIST, DLQ_SHOW, DLQ_RETRY, DLQ_DISCARD, DLQ_EDIT, DLQ_ACTIONS };

struct dlq {
	enum dlq_action action;
	const char *path; /* of the configuration */
	struct dlq_filter filter;
	bool json, payload, dry_run, no_wait, force;
	bool limited;
	int64_t limit, wait_ms;
	const char *payload_file, *headers; /* edit: NULL: as they are */

	const struct config *config;
	PGconn *conn;
	char table[PGNAME_FULL_SIZE]; /* quoted for SQL */
	char shown[PGNAME_FULL_SIZE]; /* for people */
};

extern const char *const dlq_actions[DLQ_ACTIONS]; /* their names */

/* Each is a subcommand: the exit status, or -1 and err if the database could not be asked. */
int dlq_list(struct dlq *dlq, struct error *err);    /* and show */
int dlq_request(struct dlq *dlq, struct error *err); /* retry and discard */
int dlq_edit(struct dlq *dlq, struct error *err);

/* Runs a statement with table as $1 and the filter's parameters from $2 on; format has one %s, for
 * the filter's condition. NULL and err. */
PGresult *dlq_query(const struct dlq *dlq, const char *what, const char *format, struct error *err);

/* Says that the filter matches nothing; EXIT_FAILED. */
int dlq_nothing(const struct dlq *dlq);

/* What is asked for, and for which letters. */
struct dlq_asked {
	PGresult *letters; /* in their order: number, id, event_id, key, attempts, asked. Of a
			    * parked key all of them, where only the first is asked for. */
	char *numbers;	   /* of all of them, as an array of Postgres */
	int requested;	   /* so many are asked for; the others follow, or wait for their topic */
	int64_t noted;	   /* the last action of an operator that was noted before */
	bool discarding;   /* another one had asked to discard some of them by then */
};

/* Reads them; none: PQntuples() is 0. False and err. */
bool dlq_asked_read(const struct dlq *dlq, const char *format, struct dlq_asked *asked,
		    struct error *err);
void dlq_asked_free(struct dlq_asked *asked);

/* Waits until all that was asked for has been carried out, no relay can, or the time is over. Then
 * says what became of each letter. The exit status, or -1 and err. */
int dlq_wait(const struct dlq *dlq, const struct dlq_asked *asked, struct error *err);

/* ---- what is said of it (dlq_report.c) ---- */

enum dlq_outcome {
	DLQ_REQUESTED, /* what became of it is not known: nobody waited, or it is a dry run */
	DLQ_FOLLOWS,   /* likewise, of one that is not asked for */
	DLQ_PUBLISHED,
	DLQ_DISCARDED,
	DLQ_EDITED,
	DLQ_GONE,      /* published, or discarded by another operator */
	DLQ_REJECTED,  /* tried, and rejected again */
	DLQ_WAITING,   /* behind another one of its key, or for its topic */
	DLQ_PENDING,   /* not carried out yet */
	DLQ_UNCHANGED, /* the request is gone, and it is as it was */
	DLQ_OUTCOMES
};

/* Why not all was carried out. */
enum dlq_obstacle { DLQ_NO_OBSTACLE, DLQ_NO_RELAY, DLQ_PAUSED, DLQ_TIMEOUT };

/* What is known of a letter in the end. Texts are borrowed, and NULL if there is none. */
struct dlq_fate {
	enum dlq_outcome outcome;
	const char *reason, *error;
	const char *behind; /* the id of the first one of its key */
};

/* fates: one for each of asked->letters, which may be none. Prints them, and the sum; the exit
 * status. */
int dlq_report(const struct dlq *dlq, const struct dlq_asked *asked, const struct dlq_fate *fates,
	       enum dlq_obstacle obstacle);

#endif
