/*
 * thinned.c - a message that may repeat: written the first time, then at most once in a while
 */
#include "base/thinned.h"

#include <stdio.h>

bool thinned_due(struct thinned *thinned, int64_t now_us, int64_t every_us)
{
	if (thinned->written_us != 0 && now_us - thinned->written_us < every_us) {
		thinned->suppressed++;
		return false;
	}
	thinned->note[0] = '\0';
	if (thinned->suppressed > 0)
		snprintf(thinned->note, sizeof(thinned->note), " (%u similar messages suppressed)",
			 thinned->suppressed);
	thinned->written_us = now_us;
	thinned->suppressed = 0;
	return true;
}
