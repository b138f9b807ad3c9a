/* SPDX-License-Identifier: ISC */
/*
 * encode.h - what a routed event is as a record: as it is, or as converters of Kafka Connect write
 * what Debezium's outbox event router makes of it
 *
 * Between routing and producing. Pure: no I/O, no clock. Thread: any, but one at a time for an
 * encoder.
 */
#ifndef OUTBOX_ENCODE_H
#define OUTBOX_ENCODE_H

#include "base/error.h"
#include "config.h"
#include "core/field.h"
#include "core/route.h"

/* Whether the options of the group "encode" go together. */
bool encode_check(const struct config_encoding *options, struct error *err);

/* Whether an item of encode.envelope is right as far as is known without the table. */
bool encode_check_member(const char *text, const struct config_columns *columns, struct error *err);

#endif
