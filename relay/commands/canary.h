/* SPDX-License-Identifier: ISC */
/*
 * canary.h - `verify --continuous`
 */
#ifndef OUTBOX_CMD_CANARY_H
#define OUTBOX_CMD_CANARY_H

#include "config.h"

#include <stdint.h>

struct canary_options {
	const char *dsn;    /* NULL: database.dsn */
	const char *type;   /* the aggregate type of canaries */
	const char *listen; /* NULL: no pages, and the first lost one ends it */
	int64_t interval_ms, timeout_ms;
};

/* Runs until it is told to stop; the exit status. Thread: main. */
int canary_run(const struct config *config, const struct canary_options *options);

#endif
