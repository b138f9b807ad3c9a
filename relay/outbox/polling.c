/*
 * polling.c - the outbox as it is polled: tells poll.c what is asked and what is answered, and
 * carries out what that says
 */
#include "base/clock.h"
#include "internal.h"

enum { HOUSEKEEP_US = 5 * 1000 * 1000, STREAM_EVENTS = 32 };

static struct poll_options options(const struct outbox *outbox)
{
	const struct config *config = outbox->config;
	return (struct poll_options){.claim_rows = config->outbox.claim_rows,
				     .poll_us = config->outbox.poll_interval_ms * 1000,
				     .sweep_us = config->outbox.sweep_interval_ms * 1000,
				     .housekeep_us = HOUSEKEEP_US,
				     .stream_events = STREAM_EVENTS};
}

static void tell_fetched(struct outbox *outbox, const struct poll_action *action)
{
	struct chunk *chunk = outbox->answered;
	outbox->answered = NULL;
	chunk->took_us = action->took_us;
	outbox->source.events->fetched(outbox->source.owner, chunk, action->last);
}

static void count_wakeup(struct outbox *outbox, enum poll_cause cause)
{
	static const enum metrics_wakeup wakeups[] = {
	    [CAUSE_BELL] = WAKEUP_BELL,
	    [CAUSE_POLL] = WAKEUP_POLL,
	    [CAUSE_SWEEP] = WAKEUP_SWEEP,
	};
	outbox->metrics->wakeups[wakeups[cause]]++;
}

/* What tells the owner something comes last in a step: the owner asks for more at once, and that is
 * a step too. */
static void perform(struct outbox *outbox, const struct poll_action *action)
{
	switch (action->kind) {
	case POLL_DO_LOOK:
		outbox->polling->look(outbox, !outbox->poll.available, action->keeps);
		break;
	case POLL_DO_CLAIM:
		outbox->polling->claim(outbox, &action->claim);
		break;
	case POLL_DO_TELL:
		tell_fetched(outbox, action);
		break;
	case POLL_DO_END:
		outbox->polling->end(outbox);
		break;
	case POLL_DO_ROLL_BACK:
		outbox->polling->roll_back(outbox);
		break;
	case POLL_DO_ABORT:
		outbox->polling->abort(outbox);
		break;
	case POLL_DO_TELL_ROLLED_BACK:
		outbox->source.events->rolled_back(outbox->source.owner);
		break;
	case POLL_DO_BELL_ON:
	case POLL_DO_BELL_OFF:
		outbox->polling->bell(outbox, action->kind == POLL_DO_BELL_ON);
		break;
	case POLL_DO_HOUSEKEEP:
		outbox->polling->housekeep(outbox);
		break;
	case POLL_DO_WOKEN:
		count_wakeup(outbox, action->cause);
		break;
	case POLL_DO_CLOSE:
		outbox->polling->close(outbox);
		break;
	case POLL_DO_TIMER:
		loop_timer_set(outbox->poll_timer, action->after_us);
		break;
	}
}

void outbox_poll(struct outbox *outbox, struct poll_input input)
{
	struct poll_options now = options(outbox);
	struct poll_actions actions;
	input.now_us = clock_monotonic_us();
	input.halted =
	    outbox->source.held > 0 && outbox->config->outbox.on_reject != ON_REJECT_DEAD_LETTER;
	input.releases = outbox->holds.released > 0;
	poll_step(&outbox->poll, &now, &input, &actions);
	outbox->source.position = outbox->poll.horizon.low_watermark;
	for (unsigned i = 0; i < actions.count; i++)
		perform(outbox, &actions.items[i]);
}

void outbox_polled(struct outbox *outbox, enum poll_event event)
{
	outbox_poll(outbox, (struct poll_input){.event = event});
}

void outbox_claimed(struct outbox *outbox, struct chunk *chunk, struct claim_answer answer)
{
	outbox->source.refusal[0] = '\0';
	answer.count = (int64_t)chunk->count;
	answer.bytes = chunk->bytes;
	if (chunk->count > 0) {
		answer.first = chunk->events[0].id;
		answer.last = chunk->events[chunk->count - 1].id;
	}
	outbox->answered = chunk;
	outbox_poll(outbox, (struct poll_input){.event = POLL_CLAIMED, .answer = answer});
	if (outbox->answered != NULL) /* nobody has asked for it, or it is empty */
		outbox->answered->free(outbox->answered);
	outbox->answered = NULL;
}

static void on_timer(void *arg)
{
	outbox_polled(arg, POLL_TIMER);
}

void outbox_polling_new(struct outbox *outbox, const struct polling_ops *ops)
{
	outbox->polling = ops;
	poll_init(&outbox->poll);
	outbox->poll_timer = loop_timer_new(outbox->loop, on_timer, outbox);
}
