/* SPDX-License-Identifier: ISC */
/*
 * notified.c - notifications on channel outbox_relay, passed on at most once in a while
 */
#include "notified.h"

#include "base/clock.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

/* A relay that was woken looks for some milliseconds by itself (idle.c), so that a ring sooner
 * than that tells it nothing. Where many come all the time, few are passed on. */
enum { MANY = 8, FLOOD_US = 50 * 1000 };
static const int64_t spacing_us[NOTIFIED_KINDS] = {
    [NOTIFIED_RING] = 8 * 1000, [NOTIFIED_REST] = 8 * 1000, [NOTIFIED_GROUP] = 20 * 1000};

/* Of one kind. */
struct kind {
	int64_t passed_us;  /* the last one that was passed on */
	int64_t spacing_us; /* at least so long before the next one */
	bool pending;	    /* others have come since */
	unsigned count;	    /* of those */
};

struct notified {
	void (*pass_on)(void *owner, enum notified_kind kind);
	void *owner;
	struct kind kinds[NOTIFIED_KINDS];
	struct loop_timer *timer;
};

static void pass_on(struct notified *notified, enum notified_kind which)
{
	struct kind *kind = &notified->kinds[which];
	bool many = kind->count >= MANY && kind->spacing_us > 0;
	kind->spacing_us = many ? 2 * kind->spacing_us : spacing_us[which];
	if (kind->spacing_us > FLOOD_US)
		kind->spacing_us = FLOOD_US;
	kind->pending = false;
	kind->count = 0;
	kind->passed_us = clock_monotonic_us();
	notified->pass_on(notified->owner, which);
}

static int64_t wait_us(const struct kind *kind)
{
	return kind->passed_us + kind->spacing_us - clock_monotonic_us();
}

/* Until the first of those that wait may be passed on. */
static void set_timer(struct notified *notified)
{
	int64_t first = INT64_MAX;
	for (int i = 0; i < NOTIFIED_KINDS; i++) {
		int64_t wait = wait_us(&notified->kinds[i]);
		if (notified->kinds[i].pending && wait < first)
			first = wait;
	}
	if (first != INT64_MAX)
		loop_timer_set(notified->timer, first > 0 ? first : 0);
}

static void on_timer(void *arg)
{
	struct notified *notified = arg;
	for (int i = 0; i < NOTIFIED_KINDS; i++)
		if (notified->kinds[i].pending && wait_us(&notified->kinds[i]) <= 0)
			pass_on(notified, (enum notified_kind)i);
	set_timer(notified);
}

static enum notified_kind kind_of(const char *words)
{
	if (*words == '\0')
		return NOTIFIED_RING;
	return strcmp(words, " rest") == 0 ? NOTIFIED_REST : NOTIFIED_GROUP;
}

void notified_receive(struct notified *notified, const char *words)
{
	enum notified_kind which = kind_of(words);
	struct kind *kind = &notified->kinds[which];
	kind->pending = true;
	kind->count++;
	if (wait_us(kind) <= 0)
		pass_on(notified, which);
	else
		set_timer(notified);
}

void notified_forget(struct notified *notified)
{
	for (int i = 0; i < NOTIFIED_KINDS; i++)
		notified->kinds[i].pending = false;
	loop_timer_stop(notified->timer);
}

struct notified *notified_new(struct loop *loop, void (*tell)(void *owner, enum notified_kind kind),
			      void *owner)
{
	struct notified *notified = xcalloc(1, sizeof(*notified));
	notified->pass_on = tell;
	notified->owner = owner;
	notified->timer = loop_timer_new(loop, on_timer, notified);
	return notified;
}

void notified_free(struct notified **notified)
{
	if (*notified == NULL)
		return;
	loop_timer_free(&(*notified)->timer);
	free(*notified);
	*notified = NULL;
}
