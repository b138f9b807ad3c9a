/* SPDX-License-Identifier: ISC */
/*
 * request.h - the head of an HTTP request: what it asks for, or why it is refused
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_HTTP_REQUEST_H
#define OUTBOX_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

struct http_request {
	int refusal;	   /* 0, or the status that refuses it */
	bool head;	   /* HEAD, not GET */
	char path[256];	   /* without the query; "" if it is longer */
	const char *words; /* with a refusal */
};

/* False if more bytes are needed: the head ends with an empty line. size is what the buffer holds
 * at most; a head that fills it is refused. */
bool http_request_parse(const char *text, size_t len, size_t size, struct http_request *request);

#endif
