/* SPDX-License-Identifier: ISC */
/*
 * outbox.h - the outbox table as a source
 *
 * One Postgres session: it holds the advisory locks of the shards that are ours, claims for all of
 * them with DELETE (or UPDATE) ... RETURNING inside one transaction per batch, and listens for the
 * bell and for other relays.
 *
 * Thread: loop; outbox_libpq_version any.
 */
#ifndef OUTBOX_OUTBOX_H
#define OUTBOX_OUTBOX_H

#include "base/error.h"
#include "base/loop.h"
#include "config.h"
#include "core/metrics.h"
#include "core/source.h"

/* config is borrowed and read again at every connect (the dsn may change by a reload). NULL and err
 * if the table's name does not parse. withhold_bytes: larger payloads are not fetched.
 * metrics: counts what made it poll when it found something. */
struct source *outbox_new(struct loop *loop, const struct config *config, size_t withhold_bytes,
			  struct metrics *metrics, const struct source_events *events, void *owner,
			  struct error *err);
void outbox_free(struct source **source);

/* A route_field_fn (arg: the source): the index of a field by its role's name (aggregate_id) or by
 * the column's own name; the column is fetched from then on. Whether it exists shows at connect. -1
 * for payload and headers, which are no fields. To be called before the source is first asked
 * anything. */
int outbox_field(const char *name, void *source);

/* libpq's version, e.g. "15.20". */
const char *outbox_libpq_version(void);

#endif
