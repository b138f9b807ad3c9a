/* SPDX-License-Identifier: ISC */
/*
 * heap.c - stands in for xalloc.c: during a search all that a run allocates lies in one place
 *
 * A worker takes a large block, a chunk of few events a small one. The first free block is taken,
 * so that the same steps lead to the same addresses. What lies there is freed there: free() itself
 * is replaced (--wrap=free), since the relay's modules free what they have allocated themselves.
 * Texts lie there, too: what a state that is put back points to must be as it was.
 */
#include "search.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL = 512, LARGE = 20480, SMALLS = 64, LARGES = 12 };

void __real_free(void *memory);
void __wrap_free(void *memory);

static struct {
	_Alignas(16) uint8_t small[SMALLS][SMALL];
	_Alignas(16) uint8_t large[LARGES][LARGE];
	size_t sizes[SMALLS + LARGES]; /* 0: free; the small ones first */
	bool open;
} heap;

void heap_open(void)
{
	memset(heap.sizes, 0, sizeof(heap.sizes));
	heap.open = true;
}

void heap_close(void)
{
	heap.open = false;
}

static bool owns(const void *memory)
{
	const uint8_t *at = memory;

	return at >= &heap.small[0][0] && at < &heap.large[0][0] + sizeof(heap.large);
}

static void *block(unsigned i)
{
	return i < SMALLS ? heap.small[i] : heap.large[i - SMALLS];
}

static void *take(size_t size)
{
	unsigned i = size <= SMALL ? 0 : SMALLS, end = size <= SMALL ? SMALLS : SMALLS + LARGES;

	while (i < end && heap.sizes[i] != 0)
		i++;
	assert(i < end && size <= LARGE);
	heap.sizes[i] = size > 0 ? size : 1;
	return memset(block(i), 0, size);
}

static void give(void *memory)
{
	size_t at = (size_t)((uint8_t *)memory - &heap.small[0][0]);
	size_t i =
	    at < sizeof(heap.small) ? at / SMALL : SMALLS + (at - sizeof(heap.small)) / LARGE;

	heap.sizes[i] = 0;
}

/* What was allocated before a search may be freed in it, and the other way round. */
void __wrap_free(void *memory)
{
	if (owns(memory))
		give(memory);
	else
		__real_free(memory);
}

unsigned heap_parts(struct part *parts)
{
	unsigned count = 1;

	parts[0] = (struct part){heap.sizes, sizeof(heap.sizes)};
	for (unsigned i = 0; i < SMALLS + LARGES; i++)
		if (heap.sizes[i] != 0)
			parts[count++] = (struct part){block(i), heap.sizes[i]};
	return count;
}

/* ---- as in xalloc.h ---- */

void *xmalloc(size_t size)
{
	return heap.open ? take(size) : malloc(size ? size : 1);
}

void *xcalloc(size_t count, size_t size)
{
	return heap.open ? take(count * size) : calloc(count ? count : 1, size ? size : 1);
}

void *xrealloc(void *old, size_t size)
{
	assert(!heap.open);
	return realloc(old, size ? size : 1);
}

char *xstrdup(const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(xmalloc(size), text, size);
}

char *xasprintf(const char *format, ...)
{
	va_list args, again;

	va_start(args, format);
	va_copy(again, args);
	int length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	assert(length >= 0);
	char *text = xmalloc((size_t)length + 1);
	vsnprintf(text, (size_t)length + 1, format, again);
	va_end(again);
	return text;
}
