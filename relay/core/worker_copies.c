/* SPDX-License-Identifier: ISC */
/*
 * worker_copies.c - copies of rejected events, which stay where they are
 *
 * A copy is no event of the outbox: it counts as none, holds no key, and is never rejected. What
 * cannot be copied is settled as if it had been.
 */
#include "worker_internal.h"

void worker_drop_copy(struct worker *worker, struct event *event, const char *code, const char *why)
{
	log_fact(LOG_WARNING, "dead_letter_not_copied",
		 LOG_FIELDS(field_number("id", event->id), field_slice("event_id", event->identity),
			    field_slice("topic", event->copy[COPY_TO]),
			    field_text("error_code", code)),
		 "rejected event %lld cannot be copied to topic \"%s\": %s; it stays in "
		 "outbox_relay.dead_letters without a copy",
		 (long long)event->id, event->copy[COPY_TO].data, why);
	if (event->state == EVENT_CLAIMED)
		batch_sent(&worker->batch, event);
	batch_delivered(&worker->batch, event);
	worker->tell_progress = true;
}
