/* SPDX-License-Identifier: ISC */
/*
 * config.h - the configuration, read once and then constant
 *
 * Every option stands once, in the table of config/table.c, which yields the parser, the defaults,
 * the checks and the lint that holds docs/configuration.md and conf/ to it.
 *
 * Thread: any, on a configuration that no other thread uses meanwhile.
 */
#ifndef OUTBOX_CONFIG_H
#define OUTBOX_CONFIG_H

#include "base/error.h"
#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_pooler { POOLER_NONE, POOLER_SESSION };
enum config_ordering { ORDERING_KEY, ORDERING_NONE };
enum config_settle { SETTLE_DELETE, SETTLE_MARK, SETTLE_POSITION };

/* As the configuration, the database and --json say it. Thread: any. */
const char *config_settle_word(int settle);
/* SETTLE_DELETE if it is no such word. */
int config_settle_of(const char *word);

enum config_publish_after { PUBLISH_AFTER_COMMIT, PUBLISH_AFTER_FLUSH, PUBLISH_AFTER_STANDBY };
enum config_delivery { DELIVERY_AT_LEAST_ONCE, DELIVERY_EXACTLY_ONCE };
enum config_on_reject { ON_REJECT_HALT, ON_REJECT_DEAD_LETTER, ON_REJECT_PARK };

/* How a part of a record is written: as PostgreSQL prints it, or as a converter of Kafka Connect
 * does. */
enum config_encode {
	ENCODE_PLAIN,	   /* "text", of values "bytes" */
	ENCODE_STRING,	   /* StringConverter */
	ENCODE_SIMPLE,	   /* SimpleHeaderConverter; of headers only */
	ENCODE_JSON,	   /* JsonConverter, schemas.enable = false */
	ENCODE_JSON_SCHEMA /* the same with schemas */
};
enum config_expand { EXPAND_DROP, EXPAND_KEEP };
enum config_decimal { DECIMAL_PRECISE, DECIMAL_STRING, DECIMAL_DOUBLE };
enum config_time { TIME_ADAPTIVE, TIME_MICROSECONDS, TIME_CONNECT };
enum config_binary { BINARY_BYTES, BINARY_BASE64, BINARY_BASE64_URL, BINARY_HEX };
enum config_interval { INTERVAL_NUMERIC, INTERVAL_STRING };

struct config_strings {
	char **items; /* owned, each too */
	size_t count;
};

/* Standbys of which so many must have what is to be published, by their application_name. */
struct config_standbys {
	int64_t needed;
	struct config_strings names; /* none: nobody's word counts */
};
/* Reads outbox.publish_standbys; to be freed if true. False and err, which does not name the
 * option. Pure. */
bool config_standbys_read(const char *text, struct config_standbys *standbys, struct error *err);
void config_standbys_free(struct config_standbys *standbys);
/* Whether a text may stand for outbox.where, as far as no server is needed for that. Pure. */
bool config_where_check(const char *text, struct error *err);
/* What outbox.where calls as a function or names as a type, by chr(31), for SQL; malloc'd. Pure. */
char *config_where_functions(const char *text);

/* The names by chr(31), for SQL; malloc'd. */
char *config_standbys_join(const struct config_standbys *standbys);

/* The columns of the outbox table by the role they play. Names are as in the catalog, unquoted.
 * aggregate_type, event_type, headers and created_at may be "" where the table has none; the others
 * may not. published_at is of use with SETTLE_MARK only. */
struct config_columns {
	char *id;
	char *event_id;
	char *aggregate_type;
	char *aggregate_id;
	char *event_type;
	char *payload;
	char *headers;
	char *created_at;
	char *published_at;
};

/* What is written of an event, and how; core/encode.h. */
struct config_encoding {
	int key, value, headers;	/* enum config_encode */
	struct config_strings envelope; /* "name=template"; none: the value is the payload */
	bool tombstone_on_empty;
	bool expand;
	int null_fields, empty_arrays; /* enum config_expand */
	char *schema_namespace;
	char *schema_version; /* a column; "" = none */
	int decimal;	      /* enum config_decimal */
	int time;	      /* enum config_time */
	int binary;	      /* enum config_binary */
	int interval;	      /* enum config_interval */
};

struct config {
	/* Not options, but what the file was seen to be made of: */
	struct config_strings secret_files; /* the paths of all ${file:PATH} */
	bool holds_secret;		    /* a password stands in it in plain text */
	struct {
		char *dsn;		/* secret: never logged, never printed */
		char *password_file;	/* "" = none; base/secret.h */
		char *password_command; /* "" = none; never printed, as the dsn */
		int pooler;		/* enum config_pooler: what may be in between */
	} database;
	struct {
		char *table; /* "name" or "schema.name"; parts may be double-quoted as in SQL */
		struct config_columns columns;
		int ordering; /* enum config_ordering */
		int settle;   /* enum config_settle */
		/* What the column published_at has of rows that are published, and that wait; "":
		 * its type tells. */
		char *published_value, *pending_value;
		char *where; /* a condition on the table's columns; "": all rows are events */
		int64_t retention_ms;
		int64_t partitions_ahead;
		int64_t shards;
		int64_t claim_rows;
		int64_t batch_rows;
		int64_t batch_bytes;
		int64_t poll_interval_ms;
		int64_t sweep_interval_ms;
		int64_t stall_timeout_ms;
		int64_t session_timeout_ms;
		int on_reject;	   /* enum config_on_reject */
		int publish_after; /* enum config_publish_after */
		char *publish_standbys;
	} outbox;
	struct {
		char *bootstrap_servers;
		int delivery; /* enum config_delivery */
		char *ledger_topic;
		bool embedded;
		char *sasl_password_file;	 /* "" = none */
		char *oauthbearer_token_command; /* "" = none; never printed */
		struct config_strings
		    properties; /* "name=value", checked against the denied ones */
	} kafka;
	struct {
		char *topic;
		char *key;
		struct config_strings headers; /* "name=template" */
		char *topic_regex;	       /* "" = none */
		char *topic_replacement;
		char *partition;	 /* a column; "" = none */
		char *timestamp;	 /* a column; "" = none */
		char *dead_letter_topic; /* "" = none */
	} route;
	struct config_encoding encode;
	struct {
		char *listen; /* "" = off, "host:port" ("[::1]:port"), "unix:/path" */
	} http;
	struct {
		int level;  /* enum log_level */
		int format; /* enum log_format */
	} log;
};

struct config_problem {
	char *text; /* "FILE:LINE: what is wrong; what to do" */
};

/* All that is wrong with a file, not only the first thing. */
struct config_problems {
	struct config_problem *items; /* owned */
	size_t count;
};

/* Says what only other parts of the relay know of a value: asked for each string and each item of a
 * list that stands in the file and is right in itself, once the whole file is read, and for the
 * groups "route" and "encode" (with text "") if they are there. False and err, which names the
 * option. */
typedef bool (*config_judge_fn)(const struct config *config, const char *option, const char *text,
				struct error *err);

/* Reads path into a new configuration; the caller frees it with config_free. NULL when anything is
 * wrong, and then problems lists everything found, in the order of the file. problems must be
 * zeroed by the caller and is freed with config_problems_free either way. judge may be NULL; the
 * commands have command_load. */
struct config *config_load(const char *path, config_judge_fn judge,
			   struct config_problems *problems);

/* Frees and sets the pointer to NULL; secrets are overwritten first. */
void config_free(struct config **config);
void config_problems_free(struct config_problems *problems);

/* Takes the options that may change while the relay runs from fresh into live (dsn included: it is
 * used at the next connect), and calls changed(path, applied, arg) for each option that differs;
 * applied is false where the change waits for a restart. */
void config_reload(struct config *live, struct config *fresh,
		   void (*changed)(const char *path, bool applied, void *arg), void *arg);

/* Where the database's password comes from (base/secret.h); it borrows the options. */
struct secret_source;
void config_password(const struct config *config, struct secret_source *source);

/* Why kafka.properties may not set the librdkafka property of this name, because the relay sets it
 * itself or a guarantee hangs on it; NULL if it may. Pure. Whether such a property exists is
 * librdkafka's to say. */
const char *config_property_denied(const char *name);

#endif
