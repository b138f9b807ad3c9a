/* SPDX-License-Identifier: ISC */
/*
 * xalloc.h - allocation that does not fail: when memory is out, the process aborts
 *
 * Memory is bounded by configuration, so running out means a broken machine or a broken bound;
 * there is nothing sensible left to do, and the rows are safe in the source. Freed with free().
 *
 * Thread: any.
 */
#ifndef OUTBOX_XALLOC_H
#define OUTBOX_XALLOC_H

#include <stdarg.h>
#include <stddef.h>

void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *xvasprintf(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

/* Appends to a text, which moves. */
void xappend(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
