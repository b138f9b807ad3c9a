/* SPDX-License-Identifier: ISC */
/*
 * ledger.h - reads the ledger of a producer: what its earlier transactions have committed
 *
 * A job of the helper's, to be done once the producer has its id: then all earlier transactions of
 * that id have ended. One try: it finds everything, or says why not.
 */
#ifndef OUTBOX_KAFKA_LEDGER_H
#define OUTBOX_KAFKA_LEDGER_H

#include "helper.h"
#include "ledger_record.h"

struct ledger_reading {
	/* what to read */
	rd_kafka_conf_t *conf;	 /* owned: of a client, to be copied */
	struct kafka_pass *pass; /* owned */
	char *topic;		 /* owned */
	struct producer_id id;

	/* what came of it */
	bool good;
	bool spoiled; /* and this producer is of no use any more */
	bool fenced;  /* likewise: another one has its id */
	struct error err;
	struct ledger_notes *notes; /* owned, as the rest; ledger borrows from it */
	struct ledger ledger;
	char *cluster;	  /* NULL: not known */
	size_t max_bytes; /* what the topic takes as a record; SIZE_MAX: not known */
};

/* The job. Thread: the helper's. */
void ledger_read(struct helper *helper, void *arg);
/* Sends it, as a part of the open transaction. topic: the ledger, of this client. Thread: any. */
rd_kafka_resp_err_t ledger_send(rd_kafka_t *rk, rd_kafka_topic_t *topic, int partition,
				const struct ledger_record *record);
/* Once it was read: the ledger has the line of the id from now on, if it is one to be written.
 * False: err, and spoiled or fenced. Thread: the helper's, inside a job. */
bool ledger_announce(struct ledger_reading *reading, struct helper *helper);
/* conf is of one that is to be copied for each try; pass likewise. Takes both. */
struct ledger_reading *ledger_reading_new(rd_kafka_conf_t *conf, struct kafka_pass *pass,
					  const char *topic, const struct producer_id *id);
void ledger_reading_free(void *arg);

#endif
