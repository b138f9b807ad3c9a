/* SPDX-License-Identifier: ISC */
/*
 * route.h - where an event goes: topic, key and headers by templates over its fields
 *
 * A template is text with ${field} in it ("$$" is a dollar sign). It is compiled once against the
 * source's field names and then rendered per event. Pure: no I/O, no clock.
 * Thread: any, but one at a time for a route.
 *
 * A template that is exactly one ${field} yields that field's bytes without a copy, and NULL if it
 * is NULL. In a longer template, or in a topic, a NULL field is a reject. A key that is exactly one
 * NULL field is a NULL key (the record then has no key); a header that is exactly one NULL field is
 * left out.
 *
 * What the topic's template renders may be renamed (rename.h); then only the new name has to be a
 * topic's.
 */
#ifndef OUTBOX_ROUTE_H
#define OUTBOX_ROUTE_H

#include "base/error.h"
#include "base/slice.h"
#include "config.h"
#include "core/event.h"

struct header {
	struct slice name;
	struct slice value; /* data == NULL: a header with a null value */
};

/* What a sink is asked to publish. Bytes are borrowed from the event or from the route's scratch
 * space and hold until the next route_event on the same route (the payload as long as the event).
 */
struct message {
	struct slice topic; /* also terminated by '\0' */
	struct slice key;   /* data == NULL: no key */
	struct slice value; /* data == NULL: tombstone */
	const struct header *headers;
	size_t header_count;
	size_t configured;   /* so many of them, the first ones, are those of the rules */
	struct slice routed; /* what the topic's template gives, before it is renamed */
	bool transient;	     /* the value's bytes hold no longer than all the others do */
	bool placed;	     /* to this partition, and not where the key says */
	int32_t partition;
	int64_t timestamp_ms; /* 0: when it is published */
};

struct route;

/* Where events go: options of the group "route", borrowed. Any but the first three may be NULL or
 * "". */
struct route_rules {
	const char *topic, *key;
	const struct config_strings *headers;
	const char *topic_regex, *topic_replacement;
	const char *partition, *timestamp; /* columns */
	const char *topic_prefix;	   /* before each topic's name, whatever it is */
};
struct route_rules route_rules_of(const struct config *config);

/* The column that a field stands for: that of a part, or the one of this name. NULL for what is no
 * field: payload, headers, and a part that the table has no column for. */
const char *route_column(const struct config_columns *columns, const char *field);

/* Whether a value of an option of this group ("route.topic", "route.key", an item of
 * "route.headers", "route.partition", "route.timestamp") is right as far as is known without the
 * table. */
bool route_check(const char *option, const char *text, const struct config *config,
		 struct error *err);

/* So many different fields the templates may name. */
enum { ROUTE_FIELDS_MAX = 32 };

/* Whether the rules together name no more of them; also true when one does not parse. */
bool route_check_fields(const struct route_rules *rules, struct error *err);

/* Whether options of the group "route" go together. */
bool route_check_rules(const struct route_rules *rules, struct error *err);

/* Looks a field up by name; -1 if there is none. The source's. */
typedef int (*route_field_fn)(const char *name, void *arg);

/* Compiles the templates. NULL and err when one does not parse, a field does not exist, a header
 * has no name, a topic without fields is not a legal name, or a rule for renaming is wrong. */
struct route *route_new(const struct route_rules *rules, route_field_fn field, void *arg,
			struct error *err);
void route_free(struct route **route);

/* Calls each(name, arg) for every distinct field the rules name, so that the source can fetch
 * them. For use before fields are known; false and err if a template does not parse. */
bool route_fields(const struct route_rules *rules, void (*each)(const char *name, void *arg),
		  void *arg, struct error *err);

/* Whether all events go to the same topic. */
bool route_topic_is_constant(const struct route *route);

/* Routes one event. REJECT_NONE, or why this event can never be routed, with words in err. The
 * event's own headers (JSON) come after the configured ones, in the order of the text. */
enum reject_reason route_event(struct route *route, const struct event *event,
			       struct message *message, struct error *err);

/* The event's key alone, which may be told though the event cannot be routed; data == NULL: it has
 * none. Holds as a message's bytes do. */
struct slice route_key(struct route *route, const struct event *event);

/* The copy of a rejected event, as far as it can be told: to the topic of its notes, with its key
 * and value, the headers it would have had, and a header for each note. A configured header that
 * cannot be rendered is left out. If its own headers are none, their text is one header. */
void route_copy(struct route *route, const struct event *event, struct message *message);

/* Whether a value of route.dead_letter_topic is right, beside this of route.topic; "" is. */
bool route_check_dead_letters(const char *text, const char *topic, struct error *err);

/* Kafka's rule: 1 to 249 of [a-zA-Z0-9._-], not "." or "..".
 * org.apache.kafka.common.internals.Topic. Names beginning with "__" are refused too: they are
 * Kafka's own. */
bool route_topic_is_legal(struct slice topic);

#endif
