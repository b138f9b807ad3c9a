/* SPDX-License-Identifier: ISC */
/*
 * columns.h - the outbox's columns, as the catalog has them and as fields
 */
#ifndef OUTBOX_OUTBOX_COLUMNS_H
#define OUTBOX_OUTBOX_COLUMNS_H

#include "core/source.h"
#include "outbox/sql.h"
#include "outbox/table.h"

#include <libpq-fe.h>

/* Puts the answer to outbox_columns_question, which is text, into the shape; the table's oid, or 0
 * if it has no columns. */
uint32_t columns_read(struct outbox_shape *shape, const PGresult *result);

/* Sets the types of the shape's fields. False and err if one of them cannot be written as the
 * options say. */
bool columns_fields(struct outbox_shape *shape, const struct config *config, struct error *err);

/* Of the shape's fields and of its payload; they hold as long as the shape. */
struct source_types columns_types(const struct outbox_shape *shape);

#endif
