/* SPDX-License-Identifier: ISC */
/*
 * pace.c - so many events a second, and no more
 */
#include "core/pace.h"

enum { SECOND_US = 1000 * 1000, TURNS = 4 };

int64_t pace_rows(const struct pace *pace, int64_t most)
{
	int64_t rows = pace->rate / TURNS;

	if (pace->rate == 0 || rows > most)
		return most;
	return rows > 0 ? rows : 1;
}

int64_t pace_wait_us(const struct pace *pace, int64_t now_us)
{
	return pace->rate > 0 && pace->next_us > now_us ? pace->next_us - now_us : 0;
}

void pace_took(struct pace *pace, int64_t count, int64_t now_us)
{
	int64_t from = pace->next_us > now_us ? pace->next_us : now_us;

	if (pace->rate > 0)
		pace->next_us = from + count * SECOND_US / pace->rate;
}
