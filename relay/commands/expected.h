/* SPDX-License-Identifier: ISC */
/*
 * expected.h - what the record of a row must be, by the code that publishes it: topic, key,
 * partition and time
 *
 * Thread: main; expected_new blocks.
 */
#ifndef OUTBOX_CMD_EXPECTED_H
#define OUTBOX_CMD_EXPECTED_H

#include "base/error.h"
#include "config.h"
#include "core/field.h"
#include "core/route.h"

#include <libpq-fe.h>
#include <stdbool.h>

struct expected;

/* Looks what columns the table (quoted for SQL) has. config is borrowed. NULL and err: it could not
 * be asked, or lacks a column that the configuration names. */
struct expected *expected_new(const struct config *config, PGconn *conn, const char *table,
			      struct error *err);
void expected_free(struct expected **expected);

/* ", t.a::text, t.b::text": what a query for rows "t" has to ask for at the end of its list.
 * Borrowed. */
const char *expected_columns(const struct expected *expected);

/* The record of a row of such a query's answer, in which those columns begin with this one; without
 * value and headers. Its bytes are borrowed until the next call. False: it would be rejected. */
bool expected_record(struct expected *expected, const PGresult *rows, int row, int first,
		     struct message *message);

/* Of what type the column of the event id is. */
enum field_kind expected_id_kind(const struct expected *expected);

/* Whether keys that differ in their rows differ in their records. */
bool expected_tells_keys(const struct expected *expected);

#endif
