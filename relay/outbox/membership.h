/* SPDX-License-Identifier: ISC */
/*
 * membership.h - this relay among the others: which shards are ours
 *
 * Writes the shards and the obstacle of the source.
 *
 * Thread: loop.
 */
#ifndef OUTBOX_OUTBOX_MEMBERSHIP_H
#define OUTBOX_OUTBOX_MEMBERSHIP_H

#include "group.h"
#include "open.h"

struct membership;

/* What a poll of the group has found. */
struct membership_events {
	/* Shards are ours, and none was gained. Otherwise they are probed first, see opening_probe.
	 */
	void (*kept)(void *owner);
	/* None is. yields: only because this relay is unavailable. */
	void (*busy)(void *owner, const char *why, bool yields);
	/* These are about to be handed over. False: the session has been ended instead. */
	bool (*given)(void *owner, const struct shards *shards);
};

struct membership *membership_new(struct session *session, struct opening *opening,
				  struct source *source, const struct membership_events *events,
				  void *owner);
void membership_free(struct membership **membership);

/* Joins the other relays and polls; unavailable: this relay does not reach the sink. */
void membership_join(struct membership *membership, bool unavailable);
/* Polls. keeps: takes and gives nothing. Outside a transaction. */
void membership_poll(struct membership *membership, bool unavailable, bool keeps);
/* Gives all shards up. */
void membership_leave(struct membership *membership);

/* Another session says that it has handed over these of so many shards, "8 {0,3}". Only a relay
 * that the last poll has seen is believed: without its word they are left to their owner for a
 * moment longer. */
void membership_freed(struct membership *membership, const char *which, int sender);

/* This process was stopped: what was ours may be another relay's, see group_forget. */
void membership_forget(struct membership *membership);

/* As the last poll has seen them. */
struct group_peers membership_peers(const struct membership *membership);
/* Likewise, as far as the sink is concerned. */
struct source_peers membership_sink_peers(const struct membership *membership);

#endif
