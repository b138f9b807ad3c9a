/* SPDX-License-Identifier: ISC */
/*
 * check.h - the findings of `check`, and the parts that find them
 */
#ifndef OUTBOX_CHECK_H
#define OUTBOX_CHECK_H

#include "config.h"
#include "kafka.h"

#include <jansson.h>
#include <libpq-fe.h>

enum check_level { CHECK_OK, CHECK_WARN, CHECK_ERROR };

struct check {
	json_t *list; /* owned; NULL: findings are printed as they come */
	bool failed;  /* there was an error among them */
	bool creates; /* the ledger's topic, where it is missing */
};

/* remedy is NULL when all is well. */
void check_add(struct check *check, enum check_level level, const char *remedy, const char *format,
	       ...) __attribute__((format(printf, 4, 5)));

#define check_ok(check, ...)		(check_add(check, CHECK_OK, NULL, __VA_ARGS__))
#define check_warn(check, remedy, ...)	(check_add(check, CHECK_WARN, remedy, __VA_ARGS__))
#define check_error(check, remedy, ...) (check_add(check, CHECK_ERROR, remedy, __VA_ARGS__))

/* Whether others may read the connection; a file with a secret, the configuration in path among
 * them. */
void check_transport(struct check *check, PGconn *conn);
void check_kafka_transport(struct check *check, const struct config *config);
void check_secret_files(struct check *check, const char *path, const struct config *config);

/* Schema, table, columns, rights, bell, ids, vacuum. */
void check_outbox(struct check *check, const struct config *config, PGconn *conn);

/* Whether what is parked lies by the key that the configuration names. table: for SQL, and for the
 * words. */
bool check_parked(struct check *check, const struct config *config, PGconn *conn,
		  const char *table);

/* version: of librdkafka, "2.0.2". */
void check_library(struct check *check, const char *version);

/* What the brokers are and offer. */
void check_broker(struct check *check, const struct kafka_probe_cluster *cluster);

/* Transactions and the ledger, where they are used. conn may be NULL: then no transactional id is
 * tried. */
void check_ledger(struct check *check, const struct config *config, PGconn *conn);

/* Brokers and topics; conn, which may be NULL, tells which topics the waiting events go to. */
void check_kafka(struct check *check, const struct config *config, PGconn *conn);

#endif
