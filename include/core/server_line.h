/* SPDX-License-Identifier: ISC */
/*
 * server_line.h - a database server and its timeline, as "7234234234/3": the system identifier,
 * which a cluster keeps for life and its standbys share, and a number that each promotion and each
 * recovery to a point in time raises (manual: 26.3.5, Timelines)
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_SERVER_LINE_H
#define OUTBOX_SERVER_LINE_H

#include <stdbool.h>

enum { SERVER_LINE = 80 }; /* room for any */

bool server_line_same_server(const char *a, const char *b);
/* 0: it has none. */
long server_line_timeline(const char *line);
/* The same server as earlier, on a later timeline. */
bool server_line_follows(const char *line, const char *earlier);

#endif
