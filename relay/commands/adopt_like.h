/* SPDX-License-Identifier: ISC */
/*
 * adopt_like.h - the outbox tables of known frameworks: what becomes of each (`migrate --adopt
 * --like NAME`)
 *
 * Pure. Thread: any.
 */
#ifndef OUTBOX_COMMANDS_ADOPT_LIKE_H
#define OUTBOX_COMMANDS_ADOPT_LIKE_H

#include "adopt.h"

struct adopt_like {
	const char *name;    /* "debezium" */
	const char *title;   /* for words */
	const char *table;   /* as it is called unless the application says otherwise */
	const char *refusal; /* why no table of this kind will do; NULL: it does */
	const char *instead; /* what to do then */
	const char *columns[ADOPT_ROLES]; /* NULL: found as in any table; "": there is none */
	bool asks;  /* nothing in a row says whether it was published: the owner has to */
	bool stays; /* it is a store of events: none is deleted (settle = "position") */
	const char *published; /* the column that says so, in mark mode; NULL: none */
	const char *published_value, *pending_value;
	const char *where;		   /* of outbox.where; NULL: all rows are events */
	const char *topic, *key, *headers; /* templates; headers as in the file; NULL: the usual */
	const char *note;		   /* what has to be known; NULL: nothing */
};

/* NULL if there is none of this name. */
const struct adopt_like *adopt_like_find(const char *name);

/* All names, for words: "debezium, axon". Malloc'd. */
char *adopt_like_names(void);

#endif
