/* SPDX-License-Identifier: ISC */
/*
 * chunk.h - a claim's result as events, without copying the payloads
 */
#ifndef OUTBOX_OUTBOX_CHUNK_H
#define OUTBOX_OUTBOX_CHUNK_H

#include "core/event.h"
#include "outbox/sql.h"

#include <libpq-fe.h>

/* Takes the result of outbox_sql_claim (binary) over: it is cleared with the chunk. Events are in
 * order of id. identity is the first field (the event id). */
struct chunk *outbox_chunk_new(PGresult **results, size_t count, const struct outbox_shape *shape);

/* Whether a claim's answer shows that it did not take what it meant to. */
bool outbox_claim_kept(const PGresult *result);

#endif
