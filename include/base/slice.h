/* SPDX-License-Identifier: ISC */
/*
 * slice.h - bytes somewhere else, never copied: a pointer and a length
 *
 * data == NULL stands for SQL NULL; an empty string has a data pointer and len 0. Thread: any.
 */
#ifndef OUTBOX_SLICE_H
#define OUTBOX_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const char *data; /* borrowed */
	size_t len;
};

#define SLICE_NULL ((struct slice){NULL, 0})

static inline struct slice slice_of(const char *s)
{
	return (struct slice){s, s ? strlen(s) : 0};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
	if (a.data == NULL || b.data == NULL)
		return a.data == b.data && a.len == b.len;
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* FNV-1a. */
static inline uint64_t slice_hash(struct slice s)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < s.len; i++)
		hash = (hash ^ (unsigned char)s.data[i]) * UINT64_C(1099511628211);
	return hash;
}

#endif
