/* SPDX-License-Identifier: ISC */
/*
 * connection.c - what librdkafka's errors say of the way to the brokers, and what follows
 */
#include "base/clock.h"
#include "base/text.h"
#include "internal.h"

enum {
	/* All brokers are down for so long, and librdkafka has given no reason. */
	SILENCE_US = 2 * 1000 * 1000,
	/* One that names no cluster cannot be told from one that has not answered. It keeps the
	 * connection for so long, which one does not that expects a login. */
	NAMELESS_US = 2 * 1000 * 1000,
	/* A loss is told before it counts; and another broker, to which there was no connection,
	 * gets time for one. */
	LOSS_COUNTS_US = 100 * 1000,
	ALL_LOST_US = 5 * 1000 * 1000,
	REFUSALS_SURE = 2,
	RECENT_US = 20 * 1000 * 1000,
	EXPLAINED_US = 60 * 1000 * 1000,
};

/* The event has but the code for all of them (rd_kafka_set_fatal_error0). */
static rd_kafka_resp_err_t fatal_code(const struct kafka *kafka)
{
	char words[8];

	return rd_kafka_fatal_error(kafka->producer.rk, words, sizeof(words));
}

/* The call that takes an id over, or commits, fails with it too. */
static bool is_told_by_its_call(const struct kafka *kafka)
{
	return kafka_is_transactional(kafka) && (kafka->state == KAFKA_REBUILDING ||
						 kafka->transaction.state == TRANSACTION_COMMITS);
}

static void on_fatal_error(struct kafka *kafka, rd_kafka_resp_err_t code, const char *words)
{
	/* Follows from the refusal of a record, whose report comes next and says more
	 * (rd_kafka_handle_Produce_error). */
	if (code == RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE)
		return;
	if (is_told_by_its_call(kafka))
		return;
	if (kafka_is_transactional(kafka) && kafka_is_fenced(fatal_code(kafka))) {
		kafka_fence(kafka, words);
		return;
	}
	kafka_trouble(kafka, NULL, "%s%s", words, kafka_advice(rd_kafka_err2name(code)));
	kafka_break(kafka, kafka->trouble.text);
}

/* Kept for /readyz until a broker lets the relay in. */
static void keep_reason(struct kafka *kafka, const char *text, bool login_refused)
{
	bool same = strcmp(kafka->trouble.text, text) == 0;

	kafka_trouble(kafka, NULL, "%s", text);
	kafka->sink.login_refused = login_refused;
	if (!same)
		kafka->sink.events->unreachable_why(kafka->sink.owner);
}

/* A broker that refuses the login says more than one that is not there. */
static bool is_recently_refused(const struct kafka *kafka)
{
	return kafka->sink.login_refused && clock_monotonic_us() - kafka->trouble.at_us < RECENT_US;
}

static void count_refusal(struct connection *connection, const char *reason)
{
	char broker[LOGIN_BROKER] = "";
	uint32_t who;

	kafka_login_broker(reason, broker);
	who = kafka_hash(broker, strlen(broker));
	connection->refusals++;
	for (size_t i = 0; i < connection->refuser_count; i++)
		if (connection->refusers[i] == who)
			return;
	if (connection->refuser_count < REFUSERS_MOST)
		connection->refusers[connection->refuser_count++] = who;
}

/* Of those that the configuration names; others are not known before a first login. One of several
 * that closes the connection gives no reason, and might let us in. */
static bool have_all_refused(const struct kafka *kafka)
{
	static const char between[] = ", ";
	size_t named = 0;

	for (const char *at = kafka->bootstrap; *(at += strspn(at, between)) != '\0';
	     at += strcspn(at, between))
		named++;
	return kafka->connection.refuser_count >= (named < REFUSERS_MOST ? named : REFUSERS_MOST);
}

/* That nothing listens at an address says no more than that no broker answers. */
static void note_reason(struct kafka *kafka, const struct login_fault *fault, const char *text,
			const char *reason)
{
	struct connection *connection = &kafka->connection;

	connection->refused_connection = fault->kind == LOGIN_UNREACHABLE && fault->what == NULL;
	if (fault->kind == LOGIN_REFUSED)
		count_refusal(connection, reason);
	else
		connection->other_faults = true;
	if (connection->refused_connection) {
		if (!is_recently_refused(kafka))
			kafka_trouble_over(kafka);
	} else if (fault->what != NULL || !kafka_is_closed(reason)) {
		keep_reason(kafka, text, fault->what != NULL && fault->kind != LOGIN_UNREACHABLE);
	}
}

/* What has never worked is a mistake in the set-up, if every broker is sure of it; one that cannot
 * be reached might let us in. Twice, as brokers hear of a new password one after the other. */
static void end_if_refused(struct kafka *kafka)
{
	struct connection *connection = &kafka->connection;

	if (connection->ever_reachable || connection->all_down_us == 0 ||
	    connection->refusals < REFUSALS_SURE || connection->other_faults ||
	    !have_all_refused(kafka) || connection->ended)
		return;
	connection->ended = true;
	kafka->sink.events->refused(kafka->sink.owner, kafka->trouble.text);
}

/* One broker of several. That none lets the relay in is the owner's to tell. */
static void log_explained(struct connection *connection, const struct login_fault *fault,
			  const char *text)
{
	/* It may be that the last token still serves. Of a command's secrets.c tells itself. */
	bool no_token = fault->kind == LOGIN_OTHER;

	if (no_token && fault->remedy == NULL)
		return;
	if (strncmp(connection->explained, text, sizeof(connection->explained) - 1) != 0)
		connection->explained_log = (struct log_limit){0};
	text_print(connection->explained, sizeof(connection->explained), "%s", text);
	if (log_limit_due(&connection->explained_log, clock_monotonic_us(), EXPLAINED_US))
		log_fact(LOG_WARNING, "kafka_broker_login", NULL, "%s: %s%s",
			 no_token ? "Kafka's next login would fail"
				  : "a broker does not let this relay in",
			 text, connection->explained_log.note);
}

static void explain(struct kafka *kafka, const char *reason)
{
	struct login_fault fault =
	    kafka_login_fault(&kafka->connection.notes, reason, rd_kafka_version());
	char what[500], text[sizeof(kafka->trouble.text)];

	kafka_login_print(what, sizeof(what), &fault, reason);
	text_print(text, sizeof(text), "%s%s%s", what, fault.remedy != NULL ? "; " : "",
		   fault.remedy != NULL ? fault.remedy : "");
	if (kafka->connection.reachable) {
		if (fault.what != NULL && fault.kind != LOGIN_UNREACHABLE)
			log_explained(&kafka->connection, &fault, text);
		return;
	}
	note_reason(kafka, &fault, text, reason);
	end_if_refused(kafka);
}

/* The reason for it may come after it, so it gets some time. */
void kafka_explain_silence(struct kafka *kafka)
{
	struct connection *connection = &kafka->connection;
	char text[sizeof(kafka->trouble.text)];
	struct login_fault fault;

	if (connection->all_down_us == 0 || connection->ever_answered ||
	    connection->refused_connection || kafka->trouble.text[0] != '\0' ||
	    clock_monotonic_us() - connection->all_down_us < SILENCE_US)
		return;
	fault = kafka_closed_fault(kafka->producer.rk);
	text_print(text, sizeof(text), "broker %s: %s; %s", kafka->bootstrap, fault.what,
		   fault.remedy);
	keep_reason(kafka, text, true);
}

/* Brokers name their cluster, or at least its controller, in their answer to the first question.
 * Without waiting: librdkafka keeps both. */
static bool has_answered(rd_kafka_t *rk)
{
	char *cluster = rd_kafka_clusterid(rk, 0);
	bool named = cluster != NULL;

	if (named)
		rd_kafka_mem_free(rk, cluster);
	return named || rd_kafka_controllerid(rk, 0) >= 0;
}

/* A broker that expects a login, and gets none, tells even so which requests it knows. librdkafka
 * takes it for connected then, until it closes the connection at the first question. So none is
 * believed to serve us before a first answer. After that a connection is enough. */
void kafka_look_for_broker(struct kafka *kafka)
{
	struct connection *connection = &kafka->connection;
	int64_t now = clock_monotonic_us();
	bool is_asked = connection->connected_us != 0;

	if (connection->reachable)
		return;
	if (!connection->ever_answered)
		connection->ever_answered = has_answered(kafka->producer.rk);
	if (!connection->ever_answered && is_asked && now - connection->connected_us < NAMELESS_US)
		return;
	if (!kafka_ask(kafka->producer.rk))
		connection->connected_us = 0;
	else if (connection->ever_answered || is_asked)
		kafka_set_reachable(kafka, true);
	else
		connection->connected_us = now;
}

static void on_all_down(struct kafka *kafka)
{
	if (kafka->connection.all_down_us == 0)
		kafka->connection.all_down_us = clock_monotonic_us();
	/* A broker that hangs later is not one that expects another protocol. */
	if (has_answered(kafka->producer.rk))
		kafka->connection.ever_answered = true;
	kafka->connection.connected_us = 0;
	kafka_set_reachable(kafka, false);
	end_if_refused(kafka);
}

/* librdkafka (2.0.2, rd_kafka_broker_set_state) counts a coordinator that has no address any more
 * among those that are down, and not among those that there are. Then it says that all brokers are
 * down while one is not, and nothing when that one goes, too. */
void kafka_look_for_loss(struct kafka *kafka)
{
	struct connection *connection = &kafka->connection;
	int64_t since_us = clock_monotonic_us() - connection->lost_us;

	if (!connection->reachable || connection->lost_us == 0 || since_us < LOSS_COUNTS_US)
		return;
	if (kafka_ask(kafka->producer.rk))
		connection->lost_us = 0;
	else if (since_us >= ALL_LOST_US)
		on_all_down(kafka);
}

void kafka_on_error(struct kafka *kafka, rd_kafka_event_t *event)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(event);
	const char *reason = rd_kafka_event_error_string(event);

	if (rd_kafka_event_error_is_fatal(event)) {
		on_fatal_error(kafka, code, reason);
	} else if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
		on_all_down(kafka); /* which the owner tells, once */
	} else {
		if (kafka->connection.lost_us == 0)
			kafka->connection.lost_us = clock_monotonic_us();
		explain(kafka, reason);
	}
}
