/* SPDX-License-Identifier: ISC */
/*
 * ids_seen.h - what tells that ids begin again: the sequence's last value, and the files of the
 * sequence and of the leaf, which RESTART and TRUNCATE replace
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_OUTBOX_IDS_SEEN_H
#define OUTBOX_OUTBOX_IDS_SEEN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct ids_seen {
	int64_t last;		     /* DRAWN_UNKNOWN: nothing drawn, or no sequence */
	int64_t sequence_file, file; /* 0: not known */
	int64_t found;		     /* the highest id just below the low watermark; 0: none */
};

/* The last value drawn, in this column of the first row. */
int64_t ids_last_drawn(const PGresult *result, int column);

/* The first row of outbox_sql_ids. */
struct ids_seen ids_seen_read(const PGresult *result);

bool ids_set_back(const struct ids_seen *before, const struct ids_seen *now);

#endif
