/* SPDX-License-Identifier: ISC */
/*
 * backoff.c - how long to wait before the next try
 */
#include "base/backoff.h"

enum { FIRST_US = 100 * 1000, MOST_US = 5000 * 1000 };

/* splitmix64 (Steele, Lea, Flood 2014): any seed will do, zero included. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int64_t backoff_us(unsigned failures, uint64_t *random)
{
	int64_t whole = failures < 6 ? (int64_t)FIRST_US << failures : MOST_US;
	if (whole > MOST_US)
		whole = MOST_US;
	int64_t half = whole / 2;
	return half + (int64_t)(next_random(random) % (uint64_t)(whole - half + 1));
}
