/*
 * thinned.h - a message that may repeat: written the first time, then at most once in a while
 *
 * Thread: that of the owner.
 */
#ifndef OUTBOX_THINNED_H
#define OUTBOX_THINNED_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed, it has written nothing yet. */
struct thinned {
	int64_t written_us;
	unsigned suppressed; /* since then */
	char note[48];	     /* " (3 similar messages suppressed)", or "" */
};

/* True if the message is to be written now: the first one, or the first after every_us. The note is
 * then its end. now_us is of the monotonic clock. */
bool thinned_due(struct thinned *thinned, int64_t now_us, int64_t every_us);

#endif
