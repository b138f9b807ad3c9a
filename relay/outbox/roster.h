/* SPDX-License-Identifier: ISC */
/*
 * roster.h - which relays are there and what each owns, for people
 *
 * What the same poll of the locks shows that group.c decides by; nothing is decided by this. A
 * relay that counts other shards is there too, with its own count. Pure. Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_ROSTER_H
#define OUTBOX_OUTBOX_ROSTER_H

#include "core/source.h"
#include "group.h"

struct roster {
	struct source_relay *relays; /* owned; as the poll tells them */
	size_t count, room;
};

/* A poll begins to be read. */
void roster_clear(struct roster *roster);
void roster_fini(struct roster *roster);

/* A lock of the poll. application and client (NULL: a unix socket, or not to be seen) are those of
 * its session; self: it is ours. What is no relay's lock, or only waited for, is left out. */
void roster_add(struct roster *roster, const struct group_lock *lock, const char *application,
		const char *client, bool self);

#endif
