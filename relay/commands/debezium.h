/* SPDX-License-Identifier: ISC */
/*
 * debezium.h - a configuration of Debezium, of Kafka Connect or of Debezium Server, under one set
 * of names. Pure
 *
 * Options have the names that a connector of Kafka Connect gives them. Those of the outbox event
 * router begin with "router:" instead of "transforms.NAME.", those of the producer with "producer:"
 * instead of "producer.override." or "debezium.sink.kafka.producer.".
 */
#ifndef OUTBOX_CMD_DEBEZIUM_H
#define OUTBOX_CMD_DEBEZIUM_H

#include "base/error.h"
#include "import_notes.h"

#include <stdbool.h>
#include <stddef.h>

/* What becomes of an option. */
enum debezium_fate {
	DEBEZIUM_CARRIED, /* it becomes an option of the relay */
	DEBEZIUM_NOTHING, /* it means nothing to the relay */
	DEBEZIUM_LOST	  /* the user must be told */
};

struct debezium_rule {
	const char *name; /* as a shell's pattern; the first that matches counts */
	enum debezium_fate fate;
	const char *fallback; /* the default; NULL: none */
	/* Carried: "group.option", "property NAME" of librdkafka, or "dsn KEYWORD". NULL: code that
	 * asks for it by its name. */
	const char *to;
	/* Carried to another option: "theirs=ours|..."; what is not in it is lost. Lost: "a|b",
	 * with which nothing is. NULL: any, none. */
	const char *values;
	const char *why; /* it is lost, and what to do */
	bool chooses;	 /* carried by code that compares it with words */
};

extern const struct debezium_rule debezium_rules[]; /* debezium_options.c */
extern const size_t debezium_rule_count;

/* Never NULL: what no rule knows has one of its own. */
const struct debezium_rule *debezium_rule(const char *name);

struct debezium_option {
	char *name;    /* owned, like the others */
	char *written; /* as the file has it */
	char *value;
	const struct debezium_rule *rule;
};

struct debezium {
	bool server; /* Debezium Server, not Kafka Connect */
	struct debezium_option *options;
	size_t count;
	char *router;	      /* the name of the transform */
	struct json_t *index; /* of options, by name */
};

/* Reads a connector's JSON, or properties. NULL and err if the text is neither, or holds no
 * connector of Debezium for PostgreSQL with an outbox event router that publishes to Kafka. Notes
 * what may mean something else than it seems to. */
struct debezium *debezium_read(const char *text, struct import_notes *notes, struct error *err);
void debezium_free(struct debezium **debezium);

/* NULL if the file does not have it. */
const struct debezium_option *debezium_find(const struct debezium *debezium, const char *name);

/* The value in the file, or the default; NULL if there is neither. */
const char *debezium_value(const struct debezium *debezium, const char *name);
/* A value without the blanks around it, which are of no account: where it begins, how long it is.
 */
const char *debezium_bare(const char *value, size_t *len);
/* As Java does: true only if it is written so, in any case of letters; blanks around it are of no
 * account. */
bool debezium_says_true(const char *value);
/* Whether it names that class: in whole, or as Kafka Connect lets one shorten it, "Json". */
bool debezium_is_class(const char *value, const char *class);
/* Of an option. */
bool debezium_is_true(const struct debezium *debezium, const char *name);

/* The items of a list between commas, without the blanks around them: the next one from *list on,
 * malloc'd, or NULL. */
char *debezium_item(const char **list);

/* ---- how a file gets there ---- */

/* The options of a connector's JSON as an object of strings, whatever holds them: a bare map, what
 * the REST API takes or answers, or a KafkaConnector of Strimzi. NULL and err. */
struct json_t *debezium_json(const char *text, struct import_notes *notes, struct error *err);

/* Puts values of the same file in the place of ${NAME}, as Debezium Server does; ${env:NAME} stands
 * for what it would take from its environment. Takes those out that are there for others only. */
void debezium_expand(struct json_t *properties, struct import_notes *notes);

#endif
