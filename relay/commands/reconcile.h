/* SPDX-License-Identifier: ISC */
/*
 * reconcile.h - what the files of the command `reconcile` share
 *
 * reconcile.c: options, and one run; reconcile_check.c: whether it may begin; reconcile_rows.c: the
 * rows that wait; reconcile_topics.c: the topics, and whether they can be believed;
 * reconcile_settle.c: settles what is published; reconcile_ledger.c: producers that begin anew;
 * reconcile_report.c prints. core/published.c (pure) matches.
 *
 * Thread: main, of a process without a loop; all block.
 */
#ifndef OUTBOX_CMD_RECONCILE_H
#define OUTBOX_CMD_RECONCILE_H

#include "base/error.h"
#include "base/pgname.h"
#include "config.h"
#include "core/published.h"
#include "routed.h"
#include "when.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct reconcile_options {
	const char *path, *before, *id_header, *slot; /* the last three NULL: not given */
	int64_t samples;			      /* -1: as the output has by default */
	bool dry_run, json, stay_paused, ignore_retention, after_restore;
};

struct reconcile {
	const struct reconcile_options *options;
	const struct config *config;
	char table[PGNAME_FULL_SIZE], shown[PGNAME_FULL_SIZE]; /* for SQL; for people */
	PGconn *conn;					       /* owned */
	char *header;					       /* owned; of the event id */
	struct when before; /* rows created before count as published */
	struct routed routed;
	struct published *rows; /* owned */
	uint64_t *records;	/* owned; of each topic of rows; NULL: none was read */
	bool *missing;		/* owned; likewise: it does not exist */
	json_t *slot;		/* owned; name, confirmed_flush_lsn; or null */
	json_t *notes;		/* owned */
	uint64_t read, named;	/* records; with an event id */
	uint64_t settled, held; /* rows; those that could not be settled now */
	char *producers;	/* owned; the new ones; NULL: there are none */
	bool paused, paused_it; /* the outbox is, and by this command */
};

/* ---- reconcile_check.c. False and err, which says what to do ---- */

/* A session with the settings that this needs, in place of one that was lost. */
bool reconcile_connect(struct reconcile *reconcile, struct error *err);
/* Whether the outbox, the role and the options go together. */
bool reconcile_check(struct reconcile *reconcile, struct error *err);
/* Whether nobody publishes: no relay is connected, and the slot is not read from. */
bool reconcile_is_alone(struct reconcile *reconcile, struct error *err);

/* ---- reconcile_rows.c ---- */

/* Reads all rows that wait, in one snapshot. */
bool reconcile_read_rows(struct reconcile *reconcile, struct error *err);
/* The condition on a row "t" that it waits. Malloc'd; NULL and err. */
char *reconcile_waits(const struct reconcile *reconcile, struct error *err);
/* When a row "t" was created. Malloc'd. */
char *reconcile_created(const struct reconcile *reconcile);
/* Some of the rows that are behind, with event id and key, as JSON; NULL and err. */
json_t *reconcile_behind(struct reconcile *reconcile, struct error *err);

/* ---- reconcile_topics.c ---- */

bool reconcile_read_topics(struct reconcile *reconcile, struct error *err);

/* ---- reconcile_settle.c ---- */

bool reconcile_settle(struct reconcile *reconcile, struct error *err);

/* ---- reconcile_ledger.c: with --after-restore ---- */

/* Whether the ledger that the relays will have is there, and new. */
bool reconcile_check_ledger(const struct reconcile *reconcile, struct error *err);
/* Nothing is in doubt any more, and relays have other producers. */
bool reconcile_renew(struct reconcile *reconcile, struct error *err);

/* ---- reconcile_report.c ---- */

void reconcile_note(struct reconcile *reconcile, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "20 rows", "1 row". Malloc'd. */
char *reconcile_rows_in_words(uint64_t count);
/* "2026-11-30T03:00:00Z"; malloc'd. */
char *reconcile_time(int64_t ms);
/* What happened, for outbox_relay.operator_actions. Malloc'd. */
char *reconcile_summary(const struct reconcile *reconcile);
/* Prints all of it. behind: what reconcile_behind has. */
void reconcile_report(const struct reconcile *reconcile, const json_t *behind);

#endif
