/*
 * pages.h - what the relay tells over HTTP: /metrics, /healthz, /readyz, /status
 */
#ifndef OUTBOX_PAGES_H
#define OUTBOX_PAGES_H

#include "core/metrics.h"
#include "core/worker.h"
#include "http/http.h"

struct pages {
	const struct metrics *metrics; /* borrowed, both */
	const struct worker *worker;
	int64_t stall_us;
	double started_s; /* CLOCK_MONOTONIC */
};

/* For http_new, with a struct pages as the argument. */
extern const struct http_page pages[];

/* One line for the log (SIGUSR1): state, low watermark, rates. malloc'd. */
char *pages_status_line(const struct pages *pages);

/* The process makes progress: false when events wait and nothing moved for twice stall_timeout
 * although both peers answer and no topic is waited for. */
bool pages_healthy(const struct pages *pages);

#endif
