/* SPDX-License-Identifier: ISC */
/*
 * route_topic.h - the topic of an event, by a template and a rule that renames what it renders
 */
#ifndef OUTBOX_CORE_ROUTE_TOPIC_H
#define OUTBOX_CORE_ROUTE_TOPIC_H

#include "core/route.h"
#include "core/template.h"

struct topic_route;

/* NULL and err, as of route_new. */
struct topic_route *topic_route_new(const struct route_rules *rules, route_field_fn field,
				    void *arg, struct error *err);
void topic_route_free(struct topic_route **route);

/* Whether it is the same for all events. */
bool topic_route_is_constant(const struct topic_route *route);

/* topic, terminated, and what was rendered before it was renamed; both hold until the next call. */
enum reject_reason topic_route_event(struct topic_route *route, const struct slice *fields,
				     struct slice *topic, struct slice *routed, struct error *err);

/* A field that a rule needs is NULL: sets err, and is the reason. */
enum reject_reason route_reject_null(struct error *err, enum reject_reason reason,
				     const char *option, const char *field);

/* Neither NULL nor "". */
bool route_is_given(const char *option);

/* Compiles an option's template; err names the option. */
bool route_compile(struct template **tpl, const char *option, const char *text,
		   route_field_fn field, void *arg, struct error *err);

#endif
