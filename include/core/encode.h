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

/* ---- the options ---- */

/* Whether the options of the group "encode" go together. */
bool encode_check(const struct config_encoding *options, struct error *err);

/* Whether an item of encode.envelope is right as far as is known without the table. */
bool encode_check_member(const char *text, const struct config_columns *columns, struct error *err);

/* Whether the groups "route" and "encode" together name no more fields than there may be. */
bool encode_check_fields(const struct config *config, struct error *err);

/* Whether a column of this type can be written as the options want it, and be a record's partition,
 * its timestamp or the schema's version where it is that. */
bool encode_check_column(const struct config *config, const char *column,
			 const struct field_type *type, struct error *err);

/* Whether anything is written otherwise than it is. */
bool encode_is_needed(const struct config_encoding *options);

/* ---- the encoder ---- */

struct encoder;

/* Options, rules (key and headers) and payload (the column's name) are borrowed. NULL and err where
 * a template does not parse or a field does not exist. */
struct encoder *encoder_new(const struct config_encoding *options, const struct route_rules *rules,
			    const char *payload, route_field_fn field, void *arg,
			    struct error *err);
void encoder_free(struct encoder **encoder);

/* As of now fields are of these types, by their index, and the payload of the last one. Copied. To
 * be called before the first event. */
void encoder_types(struct encoder *encoder, const struct field_type *fields, size_t count,
		   const struct field_type *payload);

/* Calls each(name, arg) for the fields that are in no rule of the route. */
void encode_fields(const struct config_encoding *options, void (*each)(const char *name, void *arg),
		   void *arg);

/* Writes key, value and headers of a routed event anew, all of which hold until the next call.
 * REJECT_NONE, or why this event can never be encoded, with words in err. */
enum reject_reason encode_event(struct encoder *encoder, const struct event *event,
				struct message *message, struct error *err);

#endif
