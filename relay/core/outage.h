/* SPDX-License-Identifier: ISC */
/*
 * outage.h - what is to be said of a peer that cannot be used: few lines, and one when it is back
 *
 * An outage is told when it begins, and then ever less often, from once a minute to once in ten. It
 * is told again, sooner, if the reason has changed. The peer's return is told immediately, except
 * of one that comes and goes, lost again and again soon after its return: it has to stay for a
 * while first, each time longer, and meanwhile it is one outage.
 *
 * Pure: time comes in, what to say goes out. Thread: loop.
 */
#ifndef OUTBOX_CORE_OUTAGE_H
#define OUTBOX_CORE_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

enum outage_line {
	OUTAGE_NOTHING,
	OUTAGE_BEGAN,
	OUTAGE_LASTS, /* or its reason has changed */
	OUTAGE_ENDED, /* it lasted from since_us to back_us */
};

/* Zeroed: the peer is well, or nothing is known yet. Times are monotonic. */
struct outage {
	bool down;	    /* now */
	bool told;	    /* a line said so, and none that it is over */
	int64_t since_us;   /* when it began; the last one, if it is over */
	int64_t back_us;    /* when the peer was back; 0: it never went */
	int64_t up_us;	    /* since when it answers; 0: it never did */
	unsigned failures;  /* of this outage: sessions lost, attempts in vain */
	int64_t written_us; /* the last line */
	int64_t every_us;   /* until the next one */
	unsigned soon;	    /* losses in a row soon after the peer was back */
	int64_t stay_us;    /* how long the peer has to stay before its return is told */
	bool why_changed;   /* once or more in this outage */
	char why[400];	    /* as last written */
};

/* The peer is not there yet, as ever at a start: that is told if it takes a while. */
void outage_expect(struct outage *outage, int64_t now_us);

/* It is lost, or an attempt to reach it has failed. */
enum outage_line outage_failed(struct outage *outage, int64_t now_us, const char *why);

/* It answers. */
enum outage_line outage_answered(struct outage *outage, int64_t now_us);

/* Something may be due. */
enum outage_line outage_on_time(struct outage *outage, int64_t now_us, const char *why);

/* When it is; INT64_MAX: only after one of the above. */
int64_t outage_due_us(const struct outage *outage);

#endif
