/*
 * internal.h - what the files of the Kafka layer share; nothing else includes it
 *
 * kafka.c makes, serves and ends producers; kafka/conf.c configures them; kafka/sink.c takes events
 * and turns delivery reports into verdicts; kafka/topic.c knows the topics and their limits;
 * kafka/lane.c sends the first record to each partition alone;
 * kafka/creation.c asks why a missing topic is not created; kafka/refusal.c judges what brokers
 * refuse; kafka/log.c passes on what librdkafka says; kafka/probe.c looks at a cluster for `check`.
 */
#ifndef OUTBOX_KAFKA_INTERNAL_H
#define OUTBOX_KAFKA_INTERNAL_H

#include "base/log.h"
#include "base/magic.h"
#include "kafka.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>

typedef struct rd_kafka_mock_cluster_s rd_kafka_mock_cluster_t;

/* An upper bound of what the protocol adds to one record sent alone: the batch's header, the
 * record's own fields at their widest, and two lengths for each header. */
enum { KAFKA_RECORD_OVERHEAD = 61 + 36, KAFKA_HEADER_OVERHEAD = 10 };

/* The same words are not repeated in the log before this. */
#define KAFKA_REPEAT_US (30 * INT64_C(1000000))

/* librdkafka says nothing when a broker closes a connection that it has accepted, as it does if it
 * expects SASL (log.connection.close is false: brokers close idle ones too). */
#define KAFKA_CLOSED_WORDS                                                                         \
	"the broker accepts connections and closes them without an answer; see security.protocol " \
	"in "                                                                                      \
	"kafka.properties"

/* Of a batch of several: under the brokers' default limit (1048588), since librdkafka never splits
 * a batch that a broker finds too large. */
enum { KAFKA_BATCH_BYTES = 900 * 1024 };

enum kafka_state {
	KAFKA_STARTING,	  /* ready() has not been told yet */
	KAFKA_READY,	  /* events are taken */
	KAFKA_DRAINING,	  /* broken() has been told; reports still come */
	KAFKA_REBUILDING, /* rebuild() has been called; the restart timer runs */
	KAFKA_CLOSING,	  /* kafka_sink_free: nothing is told any more */
};

enum topic_state {
	TOPIC_UNKNOWN, /* to be asked for at ask_at_us; no event is taken */
	TOPIC_KNOWN,   /* likewise, to look whether its limit has changed */
};

struct topic {
	enum magic magic;
	char *name;
	size_t len;
	uint32_t hash;
	enum topic_state state;
	bool asking;		       /* an answer of the current producer's is awaited */
	rd_kafka_topic_t *handle;      /* of the current producer; NULL: not made yet */
	struct topic_metrics *metrics; /* borrowed */
	bool limit_told;	       /* that its limit is not known is in the log */
	size_t max_bytes;	       /* the broker's max.message.bytes; SIZE_MAX: not told */
	int64_t ask_at_us;	       /* INT64_MAX: not before an event wants it */
	int64_t wanted_us;	       /* when an event last had to wait for it */
	int64_t trouble_since_us;      /* no event is taken since; 0: they are */
	int64_t warned_us;
	unsigned failures; /* asks in a row without a use */

	/* kafka/refusal.c */
	bool refuses;		  /* every event that is tried, until it takes one */
	unsigned rejected_in_row; /* since it took one, without another event to try */
	struct log_limit refuses_told;

	/* kafka/lane.c; of the current producer */
	int64_t *lanes; /* owned; of each partition: when it last acknowledged, or what follows */
	int32_t lane_count;
	int32_t chosen;		      /* the partition of the record that is being produced */
	const struct event *unplaced; /* went out before the partitions were known */
	pthread_t thread;	      /* that produces */
};

struct topics {
	struct topic **slots; /* open addressing; a power of two */
	size_t capacity, count;
	struct topic *last; /* the one asked for last: events come in runs */
	int64_t due_us;	    /* no topic is to be asked for before */
	size_t smallest;    /* of all max_bytes */
};

/* An event whose fault an incident may be, until it is known which one's it is. */
struct suspect {
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

/* Why no event gets through, for /readyz. */
struct trouble {
	char text[640];
	const struct topic *topic; /* NULL: it is not about one */
	int64_t at_us;
};

/* A producer's destruction under way on a thread of its own, since it may block. */
struct grave {
	pthread_t thread;
	rd_kafka_t *rk;
	struct grave *next;
};

struct kafka {
	struct sink sink; /* first: a struct sink * is a struct kafka * */
	struct kafka_options options;
	char *bootstrap;
	rd_kafka_t *mock_handle; /* embedded only; both live as long as the sink */
	rd_kafka_mock_cluster_t *mock;

	rd_kafka_t *rk;
	rd_kafka_queue_t *queue; /* its events: reports, errors, log lines, answers */
	int wake_fd; /* eventfd: librdkafka writes it when the queue is no longer empty */
	struct loop_io *io;
	struct loop_timer *tick, *restart, *purge, *judge;
	struct grave *graves;

	enum kafka_state state;
	bool reachable;
	bool ever_answered;	    /* more than that a connection was accepted */
	bool refused_connection;    /* at a broker's address nothing listened, as last heard */
	unsigned downs_unexplained; /* all brokers were lost, and no reason was told */
	bool full;		    /* SINK_LATER was answered until something is acknowledged */
	bool blocked;		    /* SINK_LATER was answered because of a topic */
	bool hard;   /* the incident lost the producer; otherwise it is only drained */
	bool blamed; /* it was an event's fault: no reason to wait before going on */
	size_t in_flight;
	int64_t reachable_us;  /* since when it is */
	int64_t now_us;	       /* when the queues were last served */
	int64_t give_up_at_us; /* what is in flight is purged too */
	unsigned failures;     /* rebuilds without an event settled in between */
	uint64_t random;

	size_t max_bytes;	     /* message.max.bytes */
	size_t batch_bytes;	     /* batch.size as wished for */
	size_t producer_batch_bytes; /* batch.size of the current producer */
	bool solo;		     /* the current producer sends one record a batch */
	size_t solo_left;	     /* events to be settled that way */
	struct suspect *suspects;
	size_t suspects_count, suspects_capacity;
	size_t incident_returned;

	struct refusal *refusals; /* room for a fixed number; NULL: none yet */
	size_t refusals_count;
	struct event **held; /* taken, and neither sent nor reported */
	size_t held_count, held_capacity;
	struct trouble trouble;

	struct topics topics;
};

/* kafka.c */
void kafka_restart_in(struct kafka *kafka, int64_t us);
void kafka_purge(struct kafka *kafka);
void kafka_tick_at(struct kafka *kafka, int64_t at_us);
void kafka_set_reachable(struct kafka *kafka, bool yes);
bool kafka_ask(rd_kafka_t *rk);
void kafka_trouble(struct kafka *kafka, const struct topic *topic, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void kafka_trouble_over(struct kafka *kafka);

/* kafka/conf.c */
rd_kafka_conf_t *kafka_conf_new(const struct kafka_options *options, const char *bootstrap,
				struct error *err);
bool kafka_conf_get_size(const rd_kafka_conf_t *conf, const char *name, size_t *value);
void kafka_conf_must_set(rd_kafka_conf_t *conf, const char *name, const char *value);
/* A client whose reports, errors and log lines are events of *queue. Takes conf. */
rd_kafka_t *kafka_client_new(rd_kafka_conf_t *conf, rd_kafka_queue_t **queue, struct error *err);

/* kafka/embedded.c */
rd_kafka_mock_cluster_t *kafka_embedded_new(rd_kafka_t **handle, char **bootstrap,
					    struct error *err);
/* Whether the cluster is another relay's embedded one, which knows no topic's settings and names a
 * controller that does not exist. *is_known: a broker has told which cluster it is. */
bool kafka_serves_embedded(rd_kafka_t *rk, bool *is_known);
void kafka_embedded_free(rd_kafka_mock_cluster_t *cluster, rd_kafka_t *handle);

/* kafka/log.c */
/* Whether an error of a broker's says no more than that it closed a connection it had accepted. */
bool kafka_is_closed(const char *reason);
void kafka_log(int level, const char *facility, const char *text);
void kafka_log_event(rd_kafka_event_t *event);

/* kafka/sink.c */
extern const struct sink_ops kafka_sink_ops;
void kafka_on_reports(struct kafka *kafka, rd_kafka_event_t *event);
void kafka_break(struct kafka *kafka, const char *why);
void kafka_drain(struct kafka *kafka, const char *why);
bool kafka_wants_solo(const struct kafka *kafka);
void kafka_reject(struct kafka *kafka, struct event *event, enum reject_reason reason,
		  rd_kafka_resp_err_t code);
void kafka_return(struct kafka *kafka, struct event *event);

/* kafka/refusal.c */
uint32_t kafka_key_hash(const void *key, size_t len);
/* An event was refused alone, and is not reported yet. */
void kafka_refused(struct kafka *kafka, const struct suspect *suspect);
/* The topic took an event. */
void kafka_taken(struct kafka *kafka, struct topic *topic);
/* Whether the event is kept here for now, instead of being sent. It counts as taken then. */
bool kafka_hold_back(struct kafka *kafka, struct event *event, const struct message *message);
void kafka_judge_soon(struct kafka *kafka);
void kafka_judge(void *arg); /* the timer's */

/* kafka/creation.c: asks a broker whether it would create a topic; none is created */
enum { KAFKA_CREATION_WORDS = 400 };
void kafka_ask_creation(rd_kafka_t *rk, const char *topic, int timeout_ms, void *opaque,
			rd_kafka_queue_t *queue);
/* Its answer: whether the broker would not, and why in words of the broker's. */
bool kafka_creation_refused(rd_kafka_event_t *answer, char why[KAFKA_CREATION_WORDS]);

/* kafka/lane.c: around rd_kafka_producev and its reports */
rd_kafka_topic_t *kafka_lane_handle(rd_kafka_t *rk, struct topic *topic);
/* Before: whether the topic takes a record now. */
bool kafka_lane_is_open(struct topic *topic);
/* After it was refused: whether that was for its partition's first record. */
bool kafka_lane_refused(const struct topic *topic);
void kafka_lane_sent(struct topic *topic, const struct event *event, int64_t now_us);
void kafka_lane_reported(struct topic *topic, const struct event *event, int32_t partition,
			 bool delivered, int64_t now_us);
void kafka_lanes_forget(struct topic *topic);

/* kafka/topic.c */
struct topic *kafka_topic(struct kafka *kafka, struct slice name);
bool kafka_topic_usable(struct kafka *kafka, struct topic *topic);
void kafka_topic_failed(struct kafka *kafka, struct topic *topic, rd_kafka_resp_err_t code);
void kafka_topic_doubt(struct kafka *kafka, struct topic *topic);
void kafka_topics_tick(struct kafka *kafka, int64_t now_us);
void kafka_topics_answer(struct kafka *kafka, rd_kafka_event_t *event);
void kafka_topics_creation(struct kafka *kafka, rd_kafka_event_t *event);
void kafka_topics_forget_producer(struct kafka *kafka);
void kafka_topics_free(struct kafka *kafka);

#endif
