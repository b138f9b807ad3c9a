/* SPDX-License-Identifier: ISC */
/*
 * http.h - /metrics, /healthz, /readyz and /status over HTTP/1.1; and the client `status` uses
 */
#ifndef OUTBOX_HTTP_H
#define OUTBOX_HTTP_H

#include "base/error.h"
#include "base/loop.h"
#include "core/metrics.h"
#include "core/worker.h"

#include <stddef.h>

/* ---- the server. Thread: loop. ---- */

struct http;

/* One page: fills *body (malloc'd, the server frees it) and returns the HTTP status code. path is
 * what was asked for, for this call. */
typedef int (*http_page_fn)(void *arg, const char *path, char **body, size_t *len);

struct http_page {
	const char *path;	  /* "/metrics"; "/runbooks/" stands for all that begins so */
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

/* ---- the pages of the relay. Thread: loop. ---- */

struct pages {
	const struct metrics *metrics; /* borrowed, all of these */
	struct worker *worker;
	const char *outbox;   /* "public.outbox_events" */
	const char *database; /* which, for people: no password */
	const char *brokers;
	int64_t stall_us;
	double started_s; /* CLOCK_MONOTONIC */
};

/* For http_new, with a struct pages as the argument. */
extern const struct http_page relay_pages[];

/* Writes one line to the log (SIGUSR1): state, low watermark, rates, what is wrong. */
void pages_log_status(const struct pages *pages);

/* The process makes progress: false when events wait and nothing moved for twice stall_timeout
 * although both peers answer and no topic is waited for. */
bool pages_healthy(const struct pages *pages);

struct json_t;

/* What is set aside, as members of json; `status` says it of the whole outbox in the same words. */
void letters_json(struct json_t *json, const struct letter_gauges *letters);

/* ---- the client. Thread: main, of a process without a loop. ---- */

/* Blocking GET for command-line use: body malloc'd. The status code, or -1 with err. */
int http_get(const char *listen, const char *path, int timeout_ms, char **body, size_t *len,
	     struct error *err);

#endif
