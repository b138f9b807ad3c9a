/* SPDX-License-Identifier: ISC */
/*
 * status.h - /status: what the relay does, for people and for `outbox-relay status`
 */
#ifndef OUTBOX_HTTP_STATUS_H
#define OUTBOX_HTTP_STATUS_H

#include "core/health.h"
#include "http.h"

/* The state of the worker and what is wrong, as every page judges it. */
void pages_judge(const struct pages *pages, struct worker_status *status, struct health *health);

/* Seconds since the start, never 0. */
double pages_uptime(const struct pages *pages);

/* The JSON as a string; malloc'd, the caller's. Thread: loop. */
char *status_json(const struct pages *pages);

#endif
