/*
 * verify.c - whether what a claim has taken is gone, where triggers run after it
 *
 * A trigger that runs after a row was deleted (or marked) may put it back. The claim's answer does
 * not show that, and the event would be published at every claim. So on such a table the rows of a
 * claim are looked for behind it, in its transaction, before its events are told. Claims wait in
 * the order of their asks.
 */
#include "base/xalloc.h"
#include "ids.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static void ask(struct outbox *outbox, const struct chunk *chunk)
{
	struct outbox_ids_item *items = xcalloc(chunk->count, sizeof(*items));
	struct outbox_ids ids;
	for (size_t i = 0; i < chunk->count; i++)
		items[i] =
		    (struct outbox_ids_item){chunk->events[i].id, chunk->events[i].identity, NULL};
	outbox_ids_published(&ids, items, chunk->count);
	struct pg_param params[] = {pg_param_text(ids.ids), pg_param_text(ids.identities)};
	for (size_t i = 0; i < session_own_count(outbox->session); i++)
		session_ask_leaf(&outbox->claiming, TAG_AFTER, "still",
				 session_own_leaf(outbox->session, i), params, 2, false);
	session_sync(outbox->session);
	outbox_ids_free(&ids);
	free(items);
}

/* Tells the claims at the head of the queue that are found good, or hold nothing. */
static void tell_verified(struct outbox *outbox)
{
	struct verification *all = outbox->verifying;
	while (outbox->verifying_count > 0 && all[0].answers_left == 0) {
		struct verification done = all[0];
		outbox->verifying_count--;
		memmove(&all[0], &all[1], outbox->verifying_count * sizeof(all[0]));
		outbox_claimed(outbox, done.chunk, done.answer);
	}
}

void outbox_verify(struct outbox *outbox, const struct verification *claim)
{
	struct verification *added = &outbox->verifying[outbox->verifying_count++];
	/* Once the ROLLBACK has been asked for, the answer would come behind it. */
	bool asks =
	    outbox->verifies && claim->chunk->count > 0 && session_in_transaction(outbox->session);
	*added = *claim;
	added->answers_left = asks ? session_own_count(outbox->session) : 0;
	if (asks)
		ask(outbox, added->chunk);
	tell_verified(outbox);
}

void outbox_verify_answered(struct outbox *outbox, PGresult *result)
{
	struct verification *first = outbox->verifying;
	size_t leaf = session_own_leaf(outbox->session,
				       session_own_count(outbox->session) - first->answers_left);
	bool back = PQntuples(result) > 0;
	PQclear(result);
	first->answers_left--;
	if (back)
		outbox_refuse_back(outbox, leaf, first->low_watermark, first->chunk->count == 1);
	else
		tell_verified(outbox);
}

void outbox_verify_forget(struct outbox *outbox)
{
	for (size_t i = 0; i < outbox->verifying_count; i++)
		outbox->verifying[i].chunk->free(outbox->verifying[i].chunk);
	outbox->verifying_count = 0;
}
