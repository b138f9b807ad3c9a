/* SPDX-License-Identifier: ISC */
/*
 * follow.c - up to which id rows may be read in order
 */
#include "follow.h"

bool follow_seen(struct follow *follow, int64_t mark)
{
	if (follow->known && mark <= follow->upto)
		return false;
	follow->mark = mark;
	follow->waiting = false;
	return true;
}

bool follow_read(struct follow *follow, const struct writers *writers)
{
	if (follow->waiting)
		writers_keep(&follow->writers, writers);
	else
		follow->writers = *writers;
	follow->waiting = !writers_none(&follow->writers);
	if (follow->waiting)
		return false;
	follow->known = true;
	follow->upto = follow->mark;
	return true;
}

void follow_reset(struct follow *follow)
{
	follow->waiting = false;
	writers_clear(&follow->writers);
}
