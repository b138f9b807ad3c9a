/*
 * notified.c - notifications on channel outbox_relay
 *
 * "OID": the bell. "OID rest": it was put to rest. "OID group": another relay has come. "OID free 8
 * {0,3}": it has handed these of 8 shards over.
 *
 * Any login may send them. So each kind is passed on at most once in a while, late rather than
 * never; what it leads to is a statement or two that find nothing. Only a relay that the last look
 * has seen is believed to have handed shards over: without its word they are left to their owner
 * for a moment longer.
 */
#include "base/clock.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* A relay that was woken looks for some milliseconds by itself (idle.c), so that a ring sooner
 * than that tells it nothing. Where many come all the time, few are passed on. */
enum { MANY = 8, FLOOD_US = 50 * 1000 };
static const int64_t spacing_us[NOTIFIED_KINDS] = {
    [NOTIFIED_RING] = 8 * 1000, [NOTIFIED_REST] = 8 * 1000, [NOTIFIED_GROUP] = 20 * 1000};

static void pass_on(struct outbox *outbox, enum notified_kind kind)
{
	struct notified *notified = &outbox->notified[kind];
	bool many = notified->count >= MANY && notified->spacing_us > 0;
	notified->spacing_us = many ? 2 * notified->spacing_us : spacing_us[kind];
	if (notified->spacing_us > FLOOD_US)
		notified->spacing_us = FLOOD_US;
	notified->pending = false;
	notified->count = 0;
	notified->passed_us = clock_monotonic_us();
	if (kind == NOTIFIED_RING)
		outbox_polled(outbox, POLL_RUNG);
	else if (kind == NOTIFIED_REST)
		outbox_polled(outbox, POLL_RESTED);
	else
		outbox_polled(outbox, POLL_MEMBERSHIP);
}

static int64_t wait_us(const struct outbox *outbox, enum notified_kind kind)
{
	const struct notified *notified = &outbox->notified[kind];
	return notified->passed_us + notified->spacing_us - clock_monotonic_us();
}

/* Until the first of those that wait may be passed on. */
static void set_timer(struct outbox *outbox)
{
	int64_t first = INT64_MAX;
	for (int kind = 0; kind < NOTIFIED_KINDS; kind++) {
		int64_t wait = wait_us(outbox, (enum notified_kind)kind);
		if (outbox->notified[kind].pending && wait < first)
			first = wait;
	}
	if (first != INT64_MAX)
		loop_timer_set(outbox->notified_timer, first > 0 ? first : 0);
}

static void on_timer(void *arg)
{
	struct outbox *outbox = arg;
	for (int kind = 0; kind < NOTIFIED_KINDS; kind++)
		if (outbox->notified[kind].pending &&
		    wait_us(outbox, (enum notified_kind)kind) <= 0)
			pass_on(outbox, (enum notified_kind)kind);
	set_timer(outbox);
}

static enum notified_kind kind_of(const char *words)
{
	if (*words == '\0')
		return NOTIFIED_RING;
	return strcmp(words, " rest") == 0 ? NOTIFIED_REST : NOTIFIED_GROUP;
}

void outbox_notified(void *owner, const char *payload, int sender)
{
	struct outbox *outbox = owner;
	char *words;
	if (strtoul(payload, &words, 10) != outbox->shape->oid)
		return;
	if (strncmp(words, " free ", 6) == 0)
		outbox_group_freed(outbox, words + 6, sender);
	enum notified_kind kind = kind_of(words);
	outbox->notified[kind].pending = true;
	outbox->notified[kind].count++;
	if (wait_us(outbox, kind) <= 0)
		pass_on(outbox, kind);
	else
		set_timer(outbox);
}

void outbox_notified_new(struct outbox *outbox)
{
	outbox->notified_timer = loop_timer_new(outbox->loop, on_timer, outbox);
}

/* The next session's first look sees whatever they were about. */
void outbox_notified_forget(void *part)
{
	struct outbox *outbox = part;
	for (int kind = 0; kind < NOTIFIED_KINDS; kind++)
		outbox->notified[kind].pending = false;
	loop_timer_stop(outbox->notified_timer);
}
