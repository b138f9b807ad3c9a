/*
 * sight.c - what the locks of outbox/locks.h say
 */
#include "outbox/locks.h"

#include "base/failpoints.h"
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Owner of a shard whose lock another session holds, which is no relay's. */
enum { STRANGER = -1 };

int outbox_layout(const struct outbox *outbox)
{
	return outbox->shape.competing ? 0 : outbox->source.shards.count;
}

static void add_peer(struct sight *sight, int pid)
{
	for (size_t i = 0; i < sight->peer_count; i++)
		if (sight->peers[i] == pid)
			return;
	if (sight->peer_count < SPREAD_MEMBERS_MAX)
		sight->peers[sight->peer_count++] = pid;
}

static void read_session(struct outbox *outbox, struct sight *sight, const struct session_id *id)
{
	const struct session_id *previous = &outbox->previous;
	add_peer(sight, id->pid);
	if (id->pid == sight->view.self)
		outbox->session = *id;
	else if (id->pid == previous->pid && id->started_us == previous->started_us)
		sight->previous = true;
}

static void note_stranger(struct sight *sight, const char *words)
{
	snprintf(sight->stranger, sizeof(sight->stranger), "%s", words);
}

/* Another session that is no relay's. Where relays compete, shared locks do not disturb. */
static void read_stranger(const struct outbox *outbox, struct sight *sight, const PGresult *result,
			  int row, uint32_t key)
{
	struct spread_view *view = &sight->view;
	int shards = (int)(key >> 12 & 0xfff), shard = (int)(key & 0xfff);
	const char *words = PQgetvalue(result, row, GROUP_STRANGER);
	bool held = PQgetvalue(result, row, GROUP_HELD)[0] == 't';
	bool exclusive = PQgetvalue(result, row, GROUP_EXCLUSIVE)[0] == 't';
	if (key < OUTBOX_SHARD_LOCK) {
		if (sight->stranger[0] == '\0')
			note_stranger(sight, words);
	} else if (held && shards == outbox_layout(outbox) && shard < view->shards &&
		   (exclusive || !outbox->shape.competing)) {
		note_stranger(sight, words);
		sight->occupied++;
		view->owner[shard] = STRANGER;
	}
}

/* A relay's, this one's perhaps. */
static void read_lock(const struct outbox *outbox, struct sight *sight, uint32_t key, int pid,
		      bool alike)
{
	struct spread_view *view = &sight->view;
	int shards = (int)(key >> 12 & 0xfff), shard = (int)(key & 0xfff);
	bool own = pid == view->self;
	if (PLANTED("two-owners") && !own)
		return;
	if (key < OUTBOX_SHARD_LOCK)
		sight->joined |= own;
	if (key < OUTBOX_MEMBER_LOCK) {
		sight->unavailable_peers |= !own;
	} else if (key < OUTBOX_SHARD_LOCK) {
		if (shard == outbox_layout(outbox) && alike)
			spread_add_member(view, pid);
	} else if (shards != outbox_layout(outbox) || !alike) {
		sight->other_layout = shards;
	} else if (shard < view->shards && (!outbox->shape.competing || own)) {
		/* The shard of layout 0 is everybody's. */
		view->owner[shard] = pid;
	}
}

static bool is_alike(const struct outbox *outbox, const PGresult *result, int row)
{
	return !PQgetisnull(result, row, GROUP_FINGERPRINT) &&
	       strtoul(PQgetvalue(result, row, GROUP_FINGERPRINT), NULL, 10) == outbox->fingerprint;
}

static void read_row(struct outbox *outbox, struct sight *sight, const PGresult *result, int row)
{
	uint32_t key = (uint32_t)strtoul(PQgetvalue(result, row, GROUP_KEY), NULL, 10);
	struct session_id id = {.pid = atoi(PQgetvalue(result, row, GROUP_PID)),
				.started_us =
				    strtoll(PQgetvalue(result, row, GROUP_STARTED), NULL, 10)};
	bool alike = is_alike(outbox, result, row);
	if (!PQgetisnull(result, row, GROUP_STRANGER)) {
		read_stranger(outbox, sight, result, row, key);
		return;
	}
	if (PQgetvalue(result, row, GROUP_HELD)[0] != 't')
		return;
	if (id.pid == sight->view.self)
		sight->marked = alike;
	read_lock(outbox, sight, key, id.pid, alike);
	read_session(outbox, sight, &id);
}

bool outbox_sight_read(struct outbox *outbox, const PGresult *result, struct sight *sight)
{
	memset(sight, 0, sizeof(*sight));
	sight->other_layout = -1;
	sight->view.self = pg_backend(outbox->pg);
	sight->view.shards = outbox->source.shards.count;
	sight->view.unavailable = outbox->unavailable;
	sight->view.shared = outbox->shape.competing;
	for (int i = 0; i < PQntuples(result); i++) {
		sight->view.paused = PQgetvalue(result, i, GROUP_PAUSED)[0] == 't';
		if (!PQgetisnull(result, i, GROUP_KEY))
			read_row(outbox, sight, result, i);
	}
	return PQntuples(result) > 0 && PQgetvalue(result, 0, GROUP_SAME)[0] == 't';
}
