/* SPDX-License-Identifier: ISC */
/*
 * ranges.h - partitions by range: made ahead and dropped behind
 *
 * The relay owns no table. It asks the functions of sql/0012_ranges.sql, which look at everything
 * themselves. Every relay makes what is missing, standbys too, since inserts need it while the
 * outbox is paused; the one that owns the first shard drops, for all.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_RANGES_H
#define OUTBOX_OUTBOX_RANGES_H

#include "session.h"

struct ranges;

/* source->partitions_ahead is written here alone. */
struct ranges *ranges_new(struct session *session, struct source *source);
void ranges_free(struct ranges **ranges);

/* Makes some, when it is time for that; outside a transaction. */
void ranges_make(struct ranges *ranges);
/* Likewise, and drops some if the first shard is ours. Nothing is left to be published up to the
 * low watermark. */
void ranges_run(struct ranges *ranges, int64_t low_watermark);

/* Whether published rows are to be deleted one by one: nobody drops their partition. */
bool ranges_leave_rows(const struct ranges *ranges);

#endif
