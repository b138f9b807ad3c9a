/* SPDX-License-Identifier: ISC */
/*
 * json_tree.h - a JSON document as a tree, whose numbers are as Jackson reads them
 *
 * Pure. Thread: any, but one at a time for an arena.
 */
#ifndef OUTBOX_CORE_JSON_TREE_H
#define OUTBOX_CORE_JSON_TREE_H

#include "arena.h"
#include "base/slice.h"

#include <stdbool.h>

enum json_kind {
	JSON_NULL,
	JSON_BOOLEAN,
	JSON_INTEGER, /* of 64 bits */
	JSON_BIG,     /* a whole number of more bits */
	JSON_REAL,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
};

struct json {
	enum json_kind kind;
	int64_t integer; /* or a boolean */
	double real;
	struct slice text;   /* of a string */
	struct slice *names; /* of an object's members; each once */
	struct json *items;  /* of an array or an object */
	size_t count;
};

/* The document that the text begins with, in the arena; NULL if there is none. What is behind it
 * is not looked at. Of members with one name the last counts, in the place of the first. */
const struct json *json_tree(struct arena *arena, struct slice text);

/* Whether a member of the object or array that the text begins with has a NUL (\u0000) in its name,
 * of which the tree has only what is before it. The text is such that json_tree reads it. */
bool json_has_nul_name(struct slice text);

#endif
