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
 * order of id. identity is the first field (the event id). What a claim has moved is left out. */
struct chunk *outbox_chunk_new(PGresult **results, size_t count, const struct outbox_shape *shape);

/* Likewise of outbox_sql_letters_claim: events are in order of their letters' numbers. */
struct chunk *outbox_chunk_of_letters(PGresult *result, const struct outbox_shape *shape);

/* Likewise of outbox_sql_copies_claim. */
struct chunk *outbox_chunk_of_copies(PGresult *result, const struct outbox_shape *shape);

/* Whether a row of a claim's answer is no event: the claim has moved it. */
bool outbox_claim_moved(const PGresult *result, int row);

/* Whether a claim's answer shows that it did not take what it meant to. */
bool outbox_claim_kept(const PGresult *result);

#endif
