/* SPDX-License-Identifier: ISC */
/*
 * server_line.c - a database server and its timeline
 */
#include "core/server_line.h"

#include <stdlib.h>
#include <string.h>

bool server_line_same_server(const char *a, const char *b)
{
	size_t len = strcspn(a, "/");
	return len == strcspn(b, "/") && strncmp(a, b, len) == 0;
}

long server_line_timeline(const char *line)
{
	const char *slash = strchr(line, '/');
	return slash != NULL ? strtol(slash + 1, NULL, 10) : 0;
}

bool server_line_follows(const char *line, const char *earlier)
{
	return server_line_same_server(line, earlier) &&
	       server_line_timeline(line) > server_line_timeline(earlier);
}
