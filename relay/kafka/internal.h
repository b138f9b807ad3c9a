/* SPDX-License-Identifier: ISC */
/*
 * internal.h - what the files of the Kafka part share; nothing else includes it
 *
 * From the bottom: login.c knows what librdkafka's words of a connection mean; log.c passes on what
 * librdkafka says; conf.c configures and makes clients; admin.c asks brokers for settings;
 * incident.c knows whether the producer can be used, and ends its use; connection.c tells why
 * brokers are not reached; topic.c knows the topics, their limits and the first record to each
 * partition; refusal.c judges what brokers refuse; sink.c takes events and turns delivery reports
 * into answers; kafka.c makes, serves and destroys producers; secrets.c keeps what they show to
 * brokers up to date, and token.c reads tokens. profile.c knows products and what brokers offer;
 * probe.c reads what a cluster says, for `check`; reader.c and record.c what topics hold, for
 * others.
 *
 * With transactions: ledger_record.c knows the bytes of the ledger and puts notes together;
 * helper.c is the thread of a producer's calls that block; ledger.c reads the ledger there;
 * takeover.c gives a new producer its id, and the ledger to the owner; transaction.c begins a
 * transaction, writes its note, and commits it.
 */
#ifndef OUTBOX_KAFKA_INTERNAL_H
#define OUTBOX_KAFKA_INTERNAL_H

#include "base/error.h"
#include "base/log.h"
#include "base/magic.h"
#include "kafka.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>

typedef struct rd_kafka_mock_cluster_s rd_kafka_mock_cluster_t;

/* ---- login.c ---- */

enum {
	LOGIN_BROKER = 128, /* an address */
	REFUSERS_MOST = 16,
	/* The first librdkafka that logs in to Kafka 4 by SCRAM (librdkafka#4895), as
	 * rd_kafka_version has it. */
	KAFKA_SCRAM_VERSION = 0x02060100,
};

enum login_kind {
	LOGIN_OTHER,	   /* not known, or it may pass by itself */
	LOGIN_UNREACHABLE, /* no broker is there */
	LOGIN_MISMATCH,	   /* the broker's listener probably speaks another protocol */
	LOGIN_REFUSED,	   /* certain; trying again is no use before somebody changes something */
};

/* Why a connection does not come about. */
struct login_fault {
	enum login_kind kind;
	const char *words; /* librdkafka's, by which it is known; NULL: by something else */
	/* About the broker, without its address; at the end ": " if librdkafka's words say more.
	 * NULL: as librdkafka says it. */
	const char *what;
	const char *remedy; /* NULL: none is known */
};

/* What lines of librdkafka's log have told, of which errors say less. */
struct login_notes {
	bool is_kafka_4;	       /* the broker that was last asked */
	const struct login_fault *tls; /* what was last found about a certificate; NULL: nothing */
	char tls_broker[LOGIN_BROKER]; /* whose; "": not known */
};

/* A line of librdkafka's log. */
void kafka_login_note(struct login_notes *notes, const char *facility, const char *text);
/* Whether an error of a broker's says no more than that it closed a connection it had accepted. */
bool kafka_is_closed(const char *reason);
/* What an error of librdkafka's means. version: rd_kafka_version(). */
struct login_fault kafka_login_fault(const struct login_notes *notes, const char *words,
				     int version);
/* What a broker may want that closes connections without an answer, about which librdkafka says
 * nothing. protocol: security.protocol as librdkafka prints it, "sasl_ssl". */
struct login_fault kafka_login_closed(const char *protocol);
/* Of "sasl_ssl://127.0.0.1:9093/bootstrap: words" the address; false if words begin otherwise. */
bool kafka_login_broker(const char *words, char broker[LOGIN_BROKER]);
/* The broker and the fault, without the remedy. words: as given to kafka_login_fault. */
void kafka_login_print(char *text, size_t size, const struct login_fault *fault, const char *words);
/* Words for an error of OpenSSL's verification (X509_V_ERR_...) that kafka_login_note knows again;
 * NULL: there are none. */
const char *kafka_certificate_words(int x509_error);
/* Why no client can be made, of librdkafka's words for it. */
void kafka_login_set_up(const char *words, struct error *err);

enum kafka_state {
	KAFKA_STARTING,	  /* ready() has not been called yet */
	KAFKA_READY,	  /* events are taken */
	KAFKA_DRAINING,	  /* broken() has been called; reports still come */
	KAFKA_REBUILDING, /* rebuild() has been called; the restart timer runs */
	KAFKA_CLOSING,	  /* kafka_sink_free: nothing is reported any more */
};

/* What the event waits for that SINK_LATER was answered to. */
enum kafka_wait {
	WAITS_FOR_NOTHING,
	WAITS_FOR_REPORTS, /* the queue is full, or a partition's first record is in flight */
	WAITS_FOR_TOPIC,
	WAITS_FOR_BEGIN, /* the ledger does not have the transaction's beginning yet */
};

/* librdkafka's in-process broker; it outlives the producers. */
struct embedded {
	rd_kafka_t *handle;
	rd_kafka_mock_cluster_t *cluster; /* NULL: none */
};

/* The current producer. */
struct producer {
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue; /* its events: reports, errors, log lines, answers */
	size_t in_flight;
	size_t max_bytes;	   /* message.max.bytes */
	size_t batch_bytes;	   /* batch.size */
	size_t wanted_batch_bytes; /* batch.size of the configuration */
	bool single;		   /* it sends one record a batch */
	bool compresses;
	int64_t no_id_us;      /* since when brokers give it no id; 0: not heard of */
	struct helper *helper; /* of one with transactions; NULL: it has none */
};

/* The destruction of a producer on a thread of its own, since it may block. */
struct background_destroy {
	pthread_t thread;
	struct helper *helper; /* whose thread it is; NULL: its own */
	bool may_init;	       /* its request for an id may still be answered */
	int64_t since_us;
	struct background_destroy *next;
};

/* What is known of the brokers. */
struct connection {
	bool reachable;
	int64_t reachable_us; /* since when it is */
	bool ever_answered;   /* more than which requests are known: a broker has served us */
	int64_t connected_us; /* since when one is connected that has not yet; 0: none is */
	bool ever_reachable;
	bool refused_connection; /* at a broker's address nothing listened, as last heard */
	int64_t all_down_us;	 /* since when no broker is connected; 0: one is, or may be */
	int64_t lost_us;   /* when a connection was lost that may be the last one; 0: none was */
	unsigned refusals; /* of the login, for certain, since it was last reachable */
	uint32_t refusers[REFUSERS_MOST]; /* by whom: hashes of addresses */
	size_t refuser_count;
	bool ended;	   /* the owner was told that it is refused */
	bool other_faults; /* since then brokers were not reached for another reason */
	struct login_notes notes;
	char explained[256]; /* the beginning of what was last logged of it */
	struct log_limit explained_log;
};

/* Why no event gets through, for /readyz. */
struct trouble {
	char text[640];
	const struct topic *topic; /* NULL: it is not about one */
	int64_t at_us;
};

/* Why the producer is to be replaced, and how far that is. */
struct incident {
	bool hard;   /* the producer can no longer be used; otherwise it is only drained */
	bool blamed; /* it was an event's fault: no reason to wait before going on */
	size_t returned;
	int64_t give_up_at_us; /* what is in flight is purged too */
	unsigned failures;     /* rebuilds without an event delivered in between */
	struct loop_timer *purge, *restart;
};

enum topic_state {
	TOPIC_UNKNOWN, /* to be asked for at ask_at_us; no event is taken */
	TOPIC_KNOWN,   /* likewise, to see whether its limit has changed */
};

struct topic {
	enum magic magic;
	char *name;
	size_t len;
	struct topic *next;
	enum topic_state state;
	bool asking;		       /* an answer of the current producer's is awaited */
	rd_kafka_topic_t *handle;      /* of the current producer; NULL: not made yet */
	struct topic_metrics *metrics; /* borrowed */
	uint64_t uncommitted;	       /* events that are published once that is committed */
	bool limit_logged;	       /* that its limit is not known is in the log */
	size_t max_bytes;	       /* the broker's max.message.bytes; SIZE_MAX: not known */
	int64_t learned_us;	       /* when the broker told that last */
	int64_t ask_at_us;	       /* INT64_MAX: not before an event wants it */
	int64_t wanted_us;	       /* when an event last had to wait for it */
	int64_t trouble_since_us;      /* no event is taken since; 0: they are */
	int64_t warned_us;
	int64_t absent_since_us; /* brokers say since then that it is not there; 0: they do not */
	int64_t denied_until_us; /* they have said that it is not ours to write; until then */
	unsigned denials;	 /* in a row */
	unsigned failures;	 /* questions in a row without a use */
	unsigned unknown;	 /* questions in a row that brokers seem not to know */

	/* The first-record gates; of the current producer. */
	int64_t *gates; /* owned; of each partition: when it last acknowledged, or a gate_state */
	int32_t gate_count;
	int32_t chosen;		      /* the partition of the record that is being produced */
	int32_t short_of;	      /* it is to go to one that is not there: so many are; or 0 */
	const struct event *unplaced; /* sent before the partitions were known */
	pthread_t thread;	      /* that produces */

	/* refusal.c */
	bool refuses;		  /* every event that is tried, until it takes one */
	unsigned rejected_in_row; /* since it took one, without another event to try */
	struct log_limit refuses_logged;
};

struct topics {
	void *tree;	     /* tsearch(3), by name */
	struct topic *first; /* of the list of all */
	struct topic *last;  /* the one asked for last: events come in runs */
	int64_t due_us;	     /* no topic is to be asked for before */
	size_t smallest;     /* of all max_bytes */
	bool mute;	     /* brokers do not answer questions for topics */
};

/* An event that a broker may have refused a batch for. */
struct candidate {
	struct event *event;
	enum reject_reason reason;
	rd_kafka_resp_err_t code;
	uint32_t key; /* its hash */
};

/* An event that a broker refused alone, and that is not judged yet. */
struct refusal {
	int64_t id;
	struct topic *topic;
	uint32_t key; /* its hash */
	bool held;    /* the event is in the list of those held back */
	bool again;   /* its topic took another event since: it is sent once more */
	enum reject_reason reason;
	rd_kafka_resp_err_t code;
};

struct refusals {
	struct candidate candidate; /* the first of them */
	size_t candidates;
	size_t singles_left;	   /* events to be settled by a producer that sends one a batch */
	struct verdict_kept *kept; /* room for a fixed number; NULL: none yet */
	size_t kept_next;

	struct refusal *items; /* room for a fixed number; NULL: none yet */
	size_t count;
	struct event **held; /* taken, and neither sent nor reported */
	size_t held_count, held_capacity;
	struct loop_timer *judge;
};

enum { KAFKA_EXTENSIONS_MAX = 16 };

struct kafka_token {
	char *value;	    /* owned, and what follows */
	int64_t expires_ms; /* since 1970 */
	char *principal;
	char *extensions[2 * KAFKA_EXTENSIONS_MAX]; /* name, value, ... */
	size_t extension_count;			    /* of both */
};

/* What is shown to brokers. */
struct kafka_secrets {
	char *password;	      /* owned; the last one read, which the producer has; NULL: none yet */
	int64_t read_us;      /* when its file was last looked at */
	struct secret *asked; /* a token is being asked for; NULL: none is */
	struct kafka_token token; /* the last one taken; its value is NULL before */
	int64_t renew_ms;	  /* when another is due, since 1970 */
	bool token_given;	  /* the producer has it, before it has asked */
	struct log_limit unreadable, no_token;
};

/* What another client of this relay's shows to brokers, on another thread. */
struct kafka_pass {
	char *password; /* owned; NULL: none */
	bool by_command;
	struct kafka_token token; /* its value is NULL: none is known */
};

struct helper;
struct ledger_notes;

enum transaction_state {
	TRANSACTION_NONE,    /* the producer has no id yet, or the ledger is not read */
	TRANSACTION_IDLE,    /* none has begun */
	TRANSACTION_BEGINS,  /* the report of BEGIN is awaited before any event is taken */
	TRANSACTION_OPEN,    /* events are taken */
	TRANSACTION_ENDS,    /* reports of its note are awaited */
	TRANSACTION_COMMITS, /* the helper is at it */
	TRANSACTION_OVER,    /* nothing more is begun with this producer */
};

struct transaction {
	enum transaction_state state;
	struct producer_id id;	   /* of the last rebuild; number -1: none */
	bool leaves_open;	   /* the producer's, and the next one has another id */
	bool fenced;		   /* the owner was told so, of this producer */
	rd_kafka_topic_t *ledger;  /* of the current producer; NULL: not made yet */
	bool ledger_known;	   /* that producer has written to it */
	bool begins;		   /* the report of BEGIN has not come yet */
	size_t chunk_bytes;	   /* of a note; the most that a record has of it */
	size_t events;		   /* delivered by it */
	struct ledger_batch batch; /* that is committed; the note is owned */
	uint32_t checksum, chunk;  /* of the note; the chunk that was sent last */
	/* What could not be told from inside a function of the sink; "": nothing. */
	struct error failure;
	/* Of a new producer: */
	int64_t since_us;	    /* since when it is to have its id */
	bool reads;		    /* it has it, and its ledger is read */
	unsigned tries;		    /* of what is tried now */
	struct loop_timer *again;   /* for the next one */
	struct ledger_notes *notes; /* owned; the sink's ledger borrows from it */
	char *cluster;		    /* owned; likewise */
	struct log_limit log;
};

struct kafka {
	struct sink sink; /* first: a struct sink * is a struct kafka * */
	struct kafka_options options;
	struct loop *loop; /* borrowed */
	char *bootstrap;
	uint64_t random;
	int wake_fd; /* eventfd: librdkafka writes it when the queue is no longer empty */
	struct loop_io *io;
	struct loop_timer *tick;
	int64_t now_us; /* when the queue was last served */

	enum kafka_state state;
	enum kafka_wait waits_for;

	struct embedded embedded;
	struct producer producer;
	struct background_destroy *destroys;
	struct connection connection;
	struct trouble trouble;
	struct incident incident;
	struct topics topics;
	bool uncompressed; /* from here on, since brokers have refused the compression */
	struct refusals refusals;
	struct kafka_secrets secrets;
	struct transaction transaction;
};

static inline bool kafka_is_transactional(const struct kafka *kafka)
{
	return kafka->options.transactional_prefix != NULL;
}

/* log.c */
void kafka_log(int level, const char *facility, const char *text);
void kafka_log_event(rd_kafka_event_t *event, struct login_notes *notes);

/* conf.c */
/* password: see kafka_secrets_conf. */
rd_kafka_conf_t *kafka_conf_new(const struct kafka_options *options, const char *bootstrap,
				const char *password, struct error *err);
size_t kafka_conf_get_size(const rd_kafka_conf_t *conf, const char *name);
void kafka_conf_must_set(rd_kafka_conf_t *conf, const char *name, const char *value);
bool kafka_conf_compresses(const rd_kafka_conf_t *conf);
/* The id, for a producer with transactions. */
void kafka_conf_transactional(rd_kafka_conf_t *conf, const struct kafka_options *options,
			      const struct producer_id *id);
/* A client whose reports, errors and log lines are events of *queue. Takes conf. */
rd_kafka_t *kafka_client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_queue_t **queue,
			     struct error *err);
/* The same of a conf with interceptors. */
rd_kafka_t *kafka_watched_client_new(rd_kafka_conf_t *conf, rd_kafka_queue_t **queue,
				     struct error *err);
/* Why a broker may close connections, by the client's security.protocol. */
struct login_fault kafka_closed_fault(const rd_kafka_t *rk);
bool kafka_embedded_new(struct embedded *embedded, char **bootstrap, struct error *err);
void kafka_embedded_free(struct embedded *embedded);
/* Whether the cluster is another relay's embedded broker, which knows no topic's settings and names
 * a controller that does not exist. *is_known: a broker has said which cluster it is. */
bool kafka_serves_embedded(rd_kafka_t *rk, bool *is_known);

/* admin.c: questions to brokers; the answers are events of queue, with opaque */
struct settings {
	rd_kafka_resp_err_t code; /* of the question */
	const char *why;	  /* borrowed from the answer, as the entries are */
	const rd_kafka_ConfigEntry_t **entries;
	size_t count;
};

enum { KAFKA_CREATION_WORDS = 400 };

void kafka_ask_settings(rd_kafka_t *rk, rd_kafka_ResourceType_t type, const char *name,
			int timeout_ms, void *opaque, rd_kafka_queue_t *queue);
/* answer may be NULL: none came. */
struct settings kafka_settings_of(rd_kafka_event_t *answer);
/* NULL: not among them. */
const char *kafka_setting(const struct settings *settings, const char *name);
/* Whether a broker would create the topic; none is created. */
void kafka_ask_creation(rd_kafka_t *rk, const char *topic, int timeout_ms, void *opaque,
			rd_kafka_queue_t *queue);
/* Likewise, to make it, or only to see whether it would be made. Takes the topic. */
void kafka_ask_topic(rd_kafka_t *rk, rd_kafka_NewTopic_t *wanted, bool only_validates,
		     int timeout_ms, void *opaque, rd_kafka_queue_t *queue);
/* True if it would not, and why in words of the broker's. answer may be NULL. */
bool kafka_creation_refused(rd_kafka_event_t *answer, char why[KAFKA_CREATION_WORDS]);

/* profile.c: pure */
/* What a broker offers, as it says itself. */
struct kafka_offers {
	bool heard;
	uint64_t keys; /* a bit for each of the protocol's ApiKeys below 64 */
	int oldest_produce;
};

/* NULL: not recognised. cluster may be NULL. */
const struct kafka_product *kafka_product_of(const char *bootstrap, const char *cluster);
/* A line of librdkafka's log with debug=feature. The broker that is heard last counts. */
void kafka_offers_note(struct kafka_offers *offers, const char *facility, const char *text);
enum probe_answer kafka_offers_idempotence(const struct kafka_offers *offers);
enum probe_answer kafka_offers_transactions(const struct kafka_offers *offers);
enum probe_answer kafka_offers_settings(const struct kafka_offers *offers);
/* Whether a librdkafka (rd_kafka_version) sends uncompressed to them, whatever codec says. */
bool kafka_offers_defeat(const struct kafka_offers *offers, const char *codec, int version);

/* incident.c: the others call it; it calls none of them */
void kafka_trouble(struct kafka *kafka, const struct topic *topic, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void kafka_trouble_over(struct kafka *kafka);
void kafka_set_reachable(struct kafka *kafka, bool yes);
/* Ticks at the time given, or sooner. */
void kafka_tick_at(struct kafka *kafka, int64_t at_us);
/* An event that waited for it is worth another try. For nothing else: the owner takes it for
 * progress. */
void kafka_writable(struct kafka *kafka, enum kafka_wait reason);
/* The producer can no longer be used: what it has is taken back. */
void kafka_break(struct kafka *kafka, const char *why);
/* The producer is to be replaced, but finishes what it has. */
void kafka_drain(struct kafka *kafka, const char *why);
/* As kafka_break, and the owner knows. */
void kafka_give_up(struct kafka *kafka);
/* The producer is to be replaced, and the owner knows: nothing is in flight. */
void kafka_retire(struct kafka *kafka);
/* Another producer has the id: as kafka_break, and the owner is told so once. */
void kafka_fence(struct kafka *kafka, const char *why);
void kafka_rebuild(struct kafka *kafka);
void kafka_return(struct kafka *kafka, struct event *event);
void kafka_on_purge(void *arg); /* the timer's */

/* connection.c */
void kafka_on_error(struct kafka *kafka, rd_kafka_event_t *event);
/* To be called now and then: librdkafka does not tell of everything. */
void kafka_look_for_broker(struct kafka *kafka);
void kafka_look_for_loss(struct kafka *kafka);
void kafka_explain_silence(struct kafka *kafka);

/* topic.c */
uint32_t kafka_hash(const void *bytes, size_t len);
struct topic *kafka_topic(struct kafka *kafka, struct slice name);
bool kafka_topic_usable(struct kafka *kafka, struct topic *topic);
/* The brokers say that it is not there, or not ours to write, and that is not about to change:
 * events of other topics should not wait for it. */
bool kafka_topic_is_out(const struct kafka *kafka, const struct topic *topic);
/* A broker has said that this relay may not write to it. */
void kafka_topic_denied(struct kafka *kafka, struct topic *topic);
/* A record was refused immediately because of what librdkafka knows of the topic. */
void kafka_topic_failed(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code);
/* What is known of it is no longer true: a broker found something too large, or no such topic. */
void kafka_topic_doubt(struct kafka *kafka, struct topic *topic);
/* Whether its limit may be another one by now. */
bool kafka_topic_is_stale(const struct kafka *kafka, const struct topic *topic);
void kafka_topics_tick(struct kafka *kafka, int64_t now_us);
void kafka_topics_settings(struct kafka *kafka, rd_kafka_event_t *answer);
void kafka_topics_creation(struct kafka *kafka, rd_kafka_event_t *answer);
void kafka_topics_forget_producer(struct kafka *kafka);
void kafka_topics_free(struct kafka *kafka);
/* Around rd_kafka_producev and its reports. Before: whether the topic takes a record now. */
bool kafka_gate_is_open(struct topic *topic);
/* After it was refused: whether that was for its partition's first record. */
bool kafka_gate_refused(const struct topic *topic);
void kafka_gate_sent(struct topic *topic, const struct event *event, int64_t now_us);
void kafka_gate_reported(struct topic *topic, const struct event *event, int32_t partition,
			 bool delivered, int64_t now_us);

/* verdict.c: pure */
/* The reject an error may stand for, by the protocol's name of it ("MSG_SIZE_TOO_LARGE");
 * REJECT_NONE for an error that is always the environment's, and for one that is not known. */
enum reject_reason kafka_verdict(const char *error_name);
/* Whether the error is one that a produced record may come back with, as far as is known. */
bool kafka_knows(const char *error_name);
size_t kafka_verdicts(void); /* so many are known */
/* Whether it says that another producer has taken the place of this one. */
bool kafka_is_fenced(rd_kafka_resp_err_t code);
/* What to do about an error, to be put behind its description: "; ...", or "". */
const char *kafka_advice(const char *error_name);
/* Whether brokers may mean the compression by an error, by the protocol's name of it. */
bool kafka_refuses_codec(const char *error_name);

/* refusal.c */
/* A broker refused the event with an error that may be its own fault. */
void kafka_refused(struct kafka *kafka, const struct candidate *candidate);
/* Nothing is in flight any more. */
void kafka_all_reported(struct kafka *kafka);
/* The topic took an event. */
void kafka_taken(struct kafka *kafka, struct topic *topic);
/* One of the events that are to be sent one a batch is settled. */
void kafka_single_settled(struct kafka *kafka);
/* Whether the event is kept here for now, instead of being sent. It counts as taken then. */
bool kafka_hold_back(struct kafka *kafka, struct event *event, const struct message *message);
void kafka_judge(void *arg); /* the timer's */
/* To be called when an event could be tried that could not before. */
void kafka_judge_soon(struct kafka *kafka);
/* With transactions: so many are settled with a commit. True if all of those are that are to be
 * sent one a batch. */
bool kafka_singles_are_over(struct kafka *kafka, size_t settled);
/* Likewise: it was found to be refused, in a transaction that had to end for it. True, with reason
 * and err, if it need not be sent again to know that. */
bool kafka_was_rejected(struct kafka *kafka, const struct event *event,
			const struct message *message, enum reject_reason *reason,
			struct error *err);

/* token.c: pure */
/* text is what a command printed: the token alone, or JSON. False and err, which holds nothing of
 * it; otherwise kafka_token_clear frees. */
bool kafka_token_parse(const char *text, int64_t now_ms, struct kafka_token *token,
		       struct error *err);
void kafka_token_clear(struct kafka_token *token);

/* secrets.c */
/* Gives a client that is to be made the password, if that is in a file: librdkafka makes none
 * without. password: the last one known, for as long as the file cannot be read; NULL: none. */
bool kafka_secrets_conf(const struct kafka_options *options, rd_kafka_conf_t *conf,
			const char *password, struct error *err);
/* Whether tokens are asked for by events. */
bool kafka_wants_token_events(const struct kafka_options *options);
/* The producer has asked for a token: it is given one, or told why not, in time. */
void kafka_token_wanted(struct kafka *kafka);
/* The same for a client of a command's, awaited. */
void kafka_token_awaited(rd_kafka_t *rk, const struct kafka_options *options);
/* Gives the producer the password that is in the file now, if that is another. */
void kafka_secrets_tick(struct kafka *kafka, int64_t now_us);
/* The producer is new. */
void kafka_secrets_begin(struct kafka *kafka);
/* The same for a client of a command's. */
void kafka_password_awaited(rd_kafka_t *rk, const struct kafka_options *options);
void kafka_secrets_free(struct kafka *kafka);
struct kafka_pass *kafka_pass_new(const struct kafka *kafka);
/* Gives it to a client, also when that asks for a token. Thread: any. */
void kafka_pass_show(const struct kafka_pass *pass, rd_kafka_t *rk);
void kafka_pass_free(struct kafka_pass **pass);

/* transaction.c */
/* Whether an event may be produced; if not, kafka_writable tells when. */
bool kafka_transaction_takes(struct kafka *kafka);
/* Whether the topic is the ledger, which no event may go to. */
bool kafka_is_ledger(const struct kafka *kafka, struct slice topic);
/* An event would go with the commit. */
void kafka_transaction_delivered(struct kafka *kafka, const struct event *event);
void kafka_transaction_commit(struct kafka *kafka, const struct ledger_batch *batch);
/* A report of a record of the ledger's. */
void kafka_ledger_reported(struct kafka *kafka, const rd_kafka_message_t *report);
/* A line of librdkafka's log: the only place where it says why a transaction has failed. */
void kafka_transaction_note(struct kafka *kafka, rd_kafka_event_t *event);
/* What has come about on another thread, or inside a function of the sink. */
void kafka_transaction_serve(struct kafka *kafka);
/* Ends an open one, so that no reader waits for it: librdkafka's events are to be served until
 * kafka_transaction_aborted says that it has ended, or cannot. False: there is none. */
bool kafka_transaction_abort(struct kafka *kafka);
bool kafka_transaction_aborted(struct kafka *kafka);
/* A rebuild is asked for: nothing may come of this producer any more. */
void kafka_transaction_supersede(struct kafka *kafka, const struct producer_id *id);
/* The producer is about to go. */
void kafka_transaction_forget_producer(struct kafka *kafka);
void kafka_transaction_free(struct kafka *kafka);

/* takeover.c */
/* The producer is new: it takes its id over, then ready() is told. */
void kafka_take_over(struct kafka *kafka);
void kafka_take_over_again(void *arg); /* the timer's */
/* Whether it has come a step further. */
void kafka_takeover_serve(struct kafka *kafka);

/* sink.c */
extern const struct sink_ops kafka_sink_ops, kafka_transactional_ops;
/* Whether a broker is connected and has said which requests it knows. */
bool kafka_ask(rd_kafka_t *rk);
void kafka_on_reports(struct kafka *kafka, rd_kafka_event_t *event);

#endif
