/* SPDX-License-Identifier: ISC */
/*
 * sql_replay.h - the statements of a replay, made to the table's shape
 *
 * Pure: text in, text out; malloc'd, the caller's. The shape's fields are those of both templates.
 * settled: the condition that a row "t" is settled, where rows are not marked.
 * Thread: any.
 */
#ifndef OUTBOX_OUTBOX_SQL_REPLAY_H
#define OUTBOX_OUTBOX_SQL_REPLAY_H

#include "outbox/replay.h"
#include "outbox/sql.h"

/* See replay_rows_count. */
char *outbox_sql_replay_count(const struct outbox_shape *shape,
			      const struct replay_selection *selection, const char *settled,
			      const char *topic);

/* The next rows in the columns CLAIM_*, in no order. $1: ids above this one, up to last_id; $2
 * rows; $3 bytes, of all but the first row. */
char *outbox_sql_replay_page(const struct outbox_shape *shape,
			     const struct replay_selection *selection, const char *settled,
			     int64_t last_id);

/* The same of all rows: $4 the last id. */
char *outbox_sql_follow_page(const struct outbox_shape *shape);
/* The highest id that is visible; NULL: there is no row. */
char *outbox_sql_follow_last(const struct outbox_shape *shape);
/* The transactions that may yet commit a row: a column of virtual transaction ids. */
char *outbox_sql_follow_writers(const struct outbox_shape *shape);

#endif
