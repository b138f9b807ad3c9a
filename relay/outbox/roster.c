/* SPDX-License-Identifier: ISC */
/*
 * roster.c - which relays are there and what each owns, for people
 */
#include "roster.h"

#include "base/text.h"
#include "base/xalloc.h"
#include "outbox/locks.h"

#include <stdlib.h>
#include <string.h>

void roster_clear(struct roster *roster)
{
	roster->count = 0;
}

void roster_fini(struct roster *roster)
{
	free(roster->relays);
	*roster = (struct roster){0};
}

/* The relay of this session; a new one without shards, if it was not there. NULL: too many. */
static struct source_relay *relay_of(struct roster *roster, int pid, int layout)
{
	for (size_t i = 0; i < roster->count; i++)
		if (roster->relays[i].pid == pid)
			return &roster->relays[i];
	if (roster->count == REBALANCE_MEMBERS_MAX)
		return NULL;
	if (roster->count == roster->room) {
		roster->room = 2 * roster->room + 4;
		roster->relays = xrealloc(roster->relays, roster->room * sizeof(*roster->relays));
	}
	struct source_relay *relay = &roster->relays[roster->count++];
	*relay = (struct source_relay){.pid = pid, .layout = layout};
	shards_clear(&relay->shards, layout > 0 ? layout : 1);
	return relay;
}

void roster_add(struct roster *roster, const struct group_lock *lock, const char *application,
		const char *client, bool self)
{
	int shard = outbox_lock_shard(lock->key);
	if (lock->stranger != NULL || !lock->held)
		return;
	struct source_relay *relay =
	    relay_of(roster, lock->session.pid, outbox_lock_layout(lock->key));
	if (relay == NULL)
		return;
	relay->self = self;
	text_print(relay->application, sizeof(relay->application), "%s", application);
	text_print(relay->client, sizeof(relay->client), "%s", client != NULL ? client : "");
	if (lock->key < OUTBOX_MEMBER_LOCK)
		relay->unavailable = true;
	else if (lock->key >= OUTBOX_SHARD_LOCK && shard < SHARDS_MAX)
		relay->shards.owned[shard] = true;
}
