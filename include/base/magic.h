/* SPDX-License-Identifier: ISC */
/*
 * magic.h - a mark in every object that passes through a library's void *
 *
 * A library that hands back another pointer than the code takes it for ends the process with a
 * message here, instead of a crash somewhere else. Each callback checks it first
 * (tests/lint/callbacks.py).
 */
#ifndef OUTBOX_MAGIC_H
#define OUTBOX_MAGIC_H

#include <assert.h>
#include <stddef.h>

/* Different for each type. */
enum magic {
	MAGIC_NONE, /* of an object that is freed */
	MAGIC_LOOP_IO = 0x10f1a201,
	MAGIC_LOOP_TIMER,
	MAGIC_LOOP_SIGNAL,
	MAGIC_PG,
	MAGIC_KAFKA_TOPIC,
	MAGIC_KAFKA_HELPER,
	MAGIC_KAFKA_END_REQUESTS,
};

#define MAGIC_CHECK(object, expected)                                                              \
	assert((object) != NULL && (object)->magic == (expected) && "a library's void *")

#endif
