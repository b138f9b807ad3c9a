/* SPDX-License-Identifier: ISC */
/*
 * address.h - sockets by the spelling of http.listen: "host:port", "[v6]:port" or "unix:/path"
 */
#ifndef OUTBOX_HTTP_ADDRESS_H
#define OUTBOX_HTTP_ADDRESS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* The path in "unix:/path", or NULL if it is another kind of address. */
const char *http_address_path(const char *listen);

/* A listening socket (not blocking, closed on exec), or -1 with err. An old unix socket without
 * a listener is replaced; any other file is left alone. */
int http_address_listen(const char *listen, struct error *err);

/* A socket (not blocking, closed on exec) that is connected by deadline_us (monotonic), or -1 with
 * err. */
int http_address_connect(const char *listen, int64_t deadline_us, struct error *err);

/* Waits for events of poll(2) on fd; false when the deadline has passed. */
bool http_address_wait(int fd, short events, int64_t deadline_us);

/* How a listening socket's address is written; malloc'd. */
char *http_address_name(int fd);

#endif
