/* SPDX-License-Identifier: ISC */
/*
 * parts.c - the end of the outbox source
 */
#include "parts.h"

#include <stdlib.h>

void outbox_free(struct source **source)
{
	if (*source == NULL)
		return;
	struct outbox *outbox = (struct outbox *)*source;
	loop_timer_free(&outbox->poll_timer);
	notified_free(&outbox->notified);
	bell_free(&outbox->bell);
	heartbeat_free(&outbox->heartbeat);
	durable_free(&outbox->durable);
	gauger_free(&outbox->gauger);
	ranges_free(&outbox->ranges);
	purger_free(&outbox->purger);
	producers_free(&outbox->producers);
	reconciler_free(&outbox->reconciler);
	examiner_free(&outbox->examiner);
	letters_free(&outbox->letters);
	trial_free(&outbox->trial);
	take_up_free(&outbox->take_up);
	claimer_free(&outbox->claimer);
	held_free(&outbox->held);
	actions_free(&outbox->actions);
	membership_free(&outbox->membership);
	opening_free(&outbox->opening);
	session_free(&outbox->session);
	free(outbox);
	*source = NULL;
}
