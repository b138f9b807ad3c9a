/* SPDX-License-Identifier: ISC */
/*
 * dlq_text.h - what was in an event, as text that does a terminal no harm; tables. Pure
 */
#ifndef OUTBOX_CMD_DLQ_TEXT_H
#define OUTBOX_CMD_DLQ_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* A copy with \n, \t, \r, \xNN for controls and for bytes that are no UTF-8, and \u{NNNN} for what
 * turns the direction of writing or hides; malloc'd. */
char *dlq_escape(const char *text);
char *dlq_escape_bytes(const char *bytes, size_t len);

/* Whether they are text: UTF-8, and no NUL. */
bool dlq_is_text(const char *bytes, size_t len);

/* Lines of cells, as wide as the widest of each column, but for the last one; the first line has
 * the names. Widths count characters. */
struct dlq_table {
	char **cells;
	size_t count, columns;
};

/* Adds an escaped copy, cut to at most so many characters. */
void dlq_table_add(struct dlq_table *table, size_t max, const char *text);

/* malloc'd. Frees the cells. */
char *dlq_table_draw(struct dlq_table *table);

#endif
