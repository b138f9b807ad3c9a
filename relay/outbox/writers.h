/* SPDX-License-Identifier: ISC */
/*
 * writers.h - a set of transactions that may yet commit an event: one reading of the writer horizon
 *
 * A transaction is named by its virtual transaction id, packed into 64 bits: backend id << 32 |
 * local id (a prepared transaction: -1 << 32 | xid). Pure, of fixed size.
 */
#ifndef OUTBOX_OUTBOX_WRITERS_H
#define OUTBOX_OUTBOX_WRITERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WRITERS_MAX = 512 };

/* In place of the highest id drawn, which is read with them. */
#define DRAWN_UNKNOWN INT64_MIN

struct writers {
	size_t count;
	bool overflow; /* there were more than fit: the set stands for "another session, always" */
	uint64_t items[WRITERS_MAX];
};

void writers_clear(struct writers *writers);
void writers_add(struct writers *writers, uint64_t writer);

/* Keeps those that are also in now. An overflowed set becomes now. */
void writers_keep(struct writers *writers, const struct writers *now);
bool writers_none(const struct writers *writers);

/* "3/1234" or "-1/789" as pg_locks.virtualtransaction prints it. False if it is something else. */
bool writers_parse(const char *text, uint64_t *writer);

#endif
