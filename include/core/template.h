/* SPDX-License-Identifier: ISC */
/*
 * template.h - text with ${field} in it, compiled once and rendered per event
 *
 * "$$" is a dollar sign; any other "$" must begin a ${field}. Rendering allocates nothing: the
 * caller measures, makes room, and renders into it. Pure. Thread: any.
 */
#ifndef OUTBOX_TEMPLATE_H
#define OUTBOX_TEMPLATE_H

#include "base/error.h"
#include "base/slice.h"
#include "core/route.h"

#include <stdbool.h>
#include <stddef.h>

struct template;

/* NULL and err (which does not name the template's place in the configuration: the caller adds
 * that) when text does not parse or field() does not know a name. */
struct template *template_new(const char *text, route_field_fn field, void *arg, struct error *err);
void template_free(struct template **tpl);

/* True if no field is in it: it renders to the same bytes for every event. */
bool template_is_constant(const struct template *tpl);

/* True if rendering needs no copy: a constant (its text, terminated by '\0', as long as the
 * template lives) or exactly one field (its bytes; data == NULL where it is NULL). */
bool template_borrow(const struct template *tpl, const struct slice *fields, struct slice *bytes);

/* The length that the template renders to. False, and the field's name in *null_field, when a field
 * is NULL. */
bool template_measure(const struct template *tpl, const struct slice *fields, size_t *length,
		      const char **null_field);

/* Renders to out, which has the measured room; the end of what was written. No field may be NULL.
 */
char *template_write(const struct template *tpl, const struct slice *fields, char *out);

/* The index of the field that is all of it; -1: it is more than that, or less. */
int template_field(const struct template *tpl);

/* Tells its parts in their order: text as it is, and fields by their index. */
void template_walk(const struct template *tpl, void (*literal)(struct slice text, void *arg),
		   void (*field)(int index, void *arg), void *arg);

#endif
