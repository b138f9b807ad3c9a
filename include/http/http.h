/*
 * http.h - /metrics, /healthz, /readyz and /status over HTTP/1.1; and the client `status` uses
 */
#ifndef OUTBOX_HTTP_H
#define OUTBOX_HTTP_H

#include "base/error.h"
#include "base/loop.h"

#include <stddef.h>

struct http;

/* One page: fills *body (malloc'd, the server frees it) and returns the HTTP status code. */
typedef int (*http_page_fn)(void *arg, char **body, size_t *len);

struct http_page {
	const char *path;	  /* "/metrics" */
	const char *content_type; /* "text/plain; version=0.0.4" */
	http_page_fn page;
};

/* Listens on "host:port", "[v6]:port" (port 0 picks a free one) or "unix:/path" (an old socket
 * there is replaced). pages ends with a NULL path and must outlive the server. Only GET and HEAD;
 * anything else is 405, another path 404. A connection serves one request. There are 64
 * connections at most, fewer where the limit of open files is low; the oldest idle one is closed
 * for a new one. */
struct http *http_new(struct loop *loop, const char *listen, const struct http_page *pages,
		      void *arg, struct error *err);
void http_free(struct http **http);

/* How long a request may take to arrive (10 s) and its answer to leave (30 s), from the first byte
 * to the last; the connection is closed then. For tests. */
void http_set_patience(struct http *http, int64_t request_us, int64_t answer_us);

/* The address it really listens on, e.g. "127.0.0.1:40123"; for the log. */
const char *http_address(const struct http *http);

/* Blocking GET for command-line use: body malloc'd. The status code, or -1 with err. */
int http_get(const char *listen, const char *path, int timeout_ms, char **body, size_t *len,
	     struct error *err);

#endif
