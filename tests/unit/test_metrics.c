/* SPDX-License-Identifier: ISC */
/*
 * test_metrics.c - the exposition: what is printed, escaping, and promtool's opinion of it
 */
#include "core/metrics.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

static struct metrics metrics;

static int setup(void **state)
{
	(void)state;
	metrics_init(&metrics, "shop", "public.outbox_events");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	metrics_fini(&metrics);
	return 0;
}

/* The line with the labels that every sample carries: behind its bracket, or in brackets of their
 * own.
 */
static void add_labels(const char *line, char *out, size_t size)
{
	size_t name = strcspn(line, "{ ");
	bool bracket = line[name] == '{';

	if (line[0] == '#')
		snprintf(out, size, "%s", line);
	else
		snprintf(out, size, "%.*s{%s%s%s", (int)name, line, metrics.labels,
			 bracket ? "," : "}", line + name + bracket);
}

/* True if the exposition holds this line, which is written without the labels of every sample. */
static bool prints(const char *bare)
{
	size_t len, line_len;
	char *text = metrics_print(&metrics, &len), line[300];
	bool found = false;

	add_labels(bare, line, sizeof(line));
	line_len = strlen(line);
	assert_int_equal(strlen(text), len);
	assert_int_equal(text[len - 1], '\n');
	for (const char *at = text; !found && (at = strstr(at, line)) != NULL; at++)
		found = (at == text || at[-1] == '\n') && at[line_len] == '\n';
	free(text);
	return found;
}

static bool mentions(const char *words)
{
	size_t len;
	char *text = metrics_print(&metrics, &len);
	bool found = strstr(text, words) != NULL;

	free(text);
	return found;
}

/* The value of a metric without labels of its own. */
static double value_of(const char *name)
{
	size_t len;
	char *text = metrics_print(&metrics, &len);
	char start[128];
	const char *at;
	double value;

	snprintf(start, sizeof(start), "\n%s{%s} ", name, metrics.labels);
	at = strstr(text, start);
	assert_non_null(at);
	value = strtod(at + strlen(start), NULL);
	free(text);
	return value;
}

static void test_at_rest(void **state)
{
	static const char *const lines[] = {
	    "outbox_relay_depth 0",
	    "outbox_relay_oldest_age_seconds 0",
	    "outbox_relay_retries_total{peer=\"database\"} 0",
	    "outbox_relay_retries_total{peer=\"kafka\"} 0",
	    "outbox_relay_parked_keys 0",
	    "outbox_relay_parked_keys_by_reason{reason=\"policy_violation\"} 0",
	    "outbox_relay_parked_events 0",
	    "outbox_relay_parked_oldest_age_seconds 0",
	    "outbox_relay_dead_letters 0",
	    "outbox_relay_dead_letters_by_reason{reason=\"too_large\"} 0",
	    "outbox_relay_latency_seconds_bucket{le=\"0.0005\"} 0",
	    "outbox_relay_claim_seconds_bucket{le=\"300\"} 0",
	    "outbox_relay_publish_seconds_bucket{le=\"+Inf\"} 0",
	    "outbox_relay_settle_seconds_sum 0",
	    "outbox_relay_batch_events_bucket{le=\"20000\"} 0",
	    "outbox_relay_batch_events_count 0",
	    "outbox_relay_shard_owned{shard=\"0\"} 0",
	    "outbox_relay_connected{peer=\"database\"} 0",
	    "outbox_relay_connected{peer=\"kafka\"} 0",
	    "outbox_relay_halted 0",
	    "outbox_relay_paused 0",
	    "outbox_relay_wakeups_total{cause=\"bell\"} 0",
	    "outbox_relay_wakeups_total{cause=\"poll\"} 0",
	    "outbox_relay_wakeups_total{cause=\"sweep\"} 0",
	    "# TYPE outbox_relay_published_total counter",
	    "# TYPE outbox_relay_rejected_total counter",
	    "# TYPE outbox_relay_latency_seconds histogram",
	    "# TYPE outbox_relay_depth gauge",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!prints(lines[i]))
			fail_msg("not printed: %s", lines[i]);
	assert_false(mentions("outbox_relay_rejected_total{"));
	assert_false(mentions("outbox_relay_published_total{"));
}

static void test_counts_and_states(void **state)
{
	(void)state;
	metrics.depth = 1234567890123.0;
	metrics.oldest_age_seconds = 0.1;
	metrics.retries[PEER_KAFKA] = 18446744073709551615ull;
	shards_clear(&metrics.shards, 2);
	metrics.shards.owned[1] = true;
	metrics.connected[PEER_DATABASE] = true;
	metrics.wakeups[WAKEUP_SWEEP] = 3;
	metrics.paused = metrics.halted = true;
	metrics.letters.dead_by_reason[REJECT_HEADERS] = 2;
	metrics.letters.parked.by_reason[REJECT_TOO_LARGE] = 4;
	metrics.letters.parked.events = 5;
	metrics.letters.parked.oldest_age_seconds = 6.5;
	assert_true(prints("outbox_relay_dead_letters_by_reason{reason=\"headers\"} 2"));
	assert_true(prints("outbox_relay_parked_keys_by_reason{reason=\"too_large\"} 4"));
	assert_false(mentions("reason=\"none\""));
	assert_true(prints("outbox_relay_parked_events 5"));
	assert_true(prints("outbox_relay_parked_oldest_age_seconds 6.5"));
	assert_true(prints("outbox_relay_depth 1234567890123"));
	assert_true(prints("outbox_relay_oldest_age_seconds 0.1"));
	assert_true(prints("outbox_relay_retries_total{peer=\"kafka\"} 18446744073709551615"));
	assert_true(prints("outbox_relay_shard_owned{shard=\"0\"} 0"));
	assert_true(prints("outbox_relay_shard_owned{shard=\"1\"} 1"));
	assert_true(prints("outbox_relay_connected{peer=\"database\"} 1"));
	assert_true(prints("outbox_relay_connected{peer=\"kafka\"} 0"));
	assert_true(prints("outbox_relay_wakeups_total{cause=\"sweep\"} 3"));
	assert_true(prints("outbox_relay_halted 1"));
	assert_true(prints("outbox_relay_paused 1"));
}

static void test_topics(void **state)
{
	struct topic_metrics *orders = metrics_topic(&metrics, slice_of("orders"));

	(void)state;
	assert_ptr_equal(metrics_topic(&metrics, (struct slice){"orders-and-more", 6}), orders);
	assert_ptr_not_equal(metrics_topic(&metrics, slice_of("order")), orders);
	orders->published = 7;
	orders->rejected[REJECT_TOO_LARGE] = 2;
	assert_true(prints("outbox_relay_published_total{topic=\"orders\"} 7"));
	assert_true(prints("outbox_relay_published_total{topic=\"order\"} 0"));
	assert_true(prints("outbox_relay_rejected_total{topic=\"orders\",reason=\"too_large\"} 2"));
	assert_false(mentions("topic=\"order\",reason="));
	assert_false(mentions("topic=\"orders\",reason=\"topic\"}"));
}

static void test_unknown_errors(void **state)
{
	char code[32];

	(void)state;
	assert_false(mentions("unknown_errors_total{"));
	for (int i = 0; i < 20; i++) {
		snprintf(code, sizeof(code), "ERR_%d?", i);
		metrics_unknown_error(&metrics, code);
		metrics_unknown_error(&metrics, "ERR_0?");
	}
	assert_true(prints("outbox_relay_unknown_errors_total{code=\"ERR_0?\"} 21"));
	assert_true(prints("outbox_relay_unknown_errors_total{code=\"ERR_14?\"} 1"));
	assert_true(prints("outbox_relay_unknown_errors_total{code=\"other\"} 5"));
	assert_false(mentions("ERR_15?"));
}

/* A name may have any character; a database without an encoding even bytes that are none. */
static void test_labels_of_every_sample(void **state)
{
	char *text, *line, *rest;
	size_t len;

	metrics_fini(&metrics);
	metrics_init(&metrics, "sh\"op\\ \xc3\xa9\xff", "a.b.Order\nBox");
	assert_string_equal(metrics.labels, "database=\"sh\\\"op\\\\ \xc3\xa9?\","
					    "outbox=\"a.b.Order\\nBox\"");
	test_topics(state);
	text = metrics_print(&metrics, &len);
	for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		const char *bracket = strchr(line, '{');

		if (*line == '#')
			continue;
		assert_non_null(bracket);
		assert_int_equal(strncmp(bracket + 1, metrics.labels, strlen(metrics.labels)), 0);
	}
	free(text);
}

/* Pointers hold while the table grows, and a flood of names ends in one record. */
static void test_topics_are_bounded(void **state)
{
	struct topic_metrics *first = metrics_topic(&metrics, slice_of("first"));
	struct topic_metrics *other;
	char name[32];

	(void)state;
	for (int i = 0; i < 3 * METRICS_TOPICS_MAX; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		metrics_topic(&metrics, slice_of(name))->published++;
	}
	assert_ptr_equal(metrics_topic(&metrics, slice_of("first")), first);
	assert_int_equal(metrics.topics_count, METRICS_TOPICS_MAX + 1);
	other = metrics_topic(&metrics, slice_of("yet another"));
	assert_string_equal(other->name, "other");
	assert_int_equal(other->published, 2 * METRICS_TOPICS_MAX + 1);
}

static void test_hostile_topics(void **state)
{
	(void)state;
	metrics_topic(&metrics, slice_of("a\"b\\c\nd\x01\xff\xc3\xa9"))->published = 1;
	metrics_topic(&metrics, (struct slice){"nul\0rest", 8})->published = 2;
	metrics_topic(&metrics, slice_of(""))->published = 3;
	assert_true(prints("outbox_relay_published_total{topic=\"a\\\"b\\\\c\\nd??\xc3\xa9\"} 1"));
	assert_true(prints("outbox_relay_published_total{topic=\"nul\"} 2"));
	assert_true(prints("outbox_relay_published_total{topic=\"\"} 3"));
	assert_ptr_equal(metrics_topic(&metrics, (struct slice){"nul\0more", 8}),
			 metrics_topic(&metrics, slice_of("nul")));
}

static void test_histogram(void **state)
{
	(void)state;
	histogram_observe(&metrics.claim, 0.001); /* a bound belongs to its own bucket */
	histogram_observe(&metrics.claim, 0.0011);
	histogram_observe(&metrics.claim, 0);
	histogram_observe(&metrics.claim, 301);
	histogram_observe(&metrics.claim, -4);
	assert_true(prints("outbox_relay_claim_seconds_bucket{le=\"0.0005\"} 2"));
	assert_true(prints("outbox_relay_claim_seconds_bucket{le=\"0.001\"} 3"));
	assert_true(prints("outbox_relay_claim_seconds_bucket{le=\"0.002\"} 4"));
	assert_true(prints("outbox_relay_claim_seconds_bucket{le=\"300\"} 4"));
	assert_true(prints("outbox_relay_claim_seconds_bucket{le=\"+Inf\"} 5"));
	assert_true(prints("outbox_relay_claim_seconds_count 5"));
	assert_true(value_of("outbox_relay_claim_seconds_sum") > 301.002);
	assert_true(value_of("outbox_relay_claim_seconds_sum") < 301.0022);
	assert_true(prints("outbox_relay_settle_seconds_count 0"));
	histogram_observe(&metrics.batch_events, 1);
	histogram_observe(&metrics.batch_events, 20001);
	assert_true(prints("outbox_relay_batch_events_bucket{le=\"1\"} 1"));
	assert_true(prints("outbox_relay_batch_events_bucket{le=\"20000\"} 1"));
	assert_true(prints("outbox_relay_batch_events_bucket{le=\"+Inf\"} 2"));
}

static void test_build_info(void **state)
{
	(void)state;
	metrics.version = "0.1.0";
	metrics.librdkafka = "2.0.2";
	metrics.libpq = "15.5";
	assert_true(prints("outbox_relay_build_info{version=\"0.1.0\",librdkafka=\"2.0.2\","
			   "libpq=\"15.5\"} 1"));
}

static void test_process(void **state)
{
	double now = (double)time(NULL);
	double fds = 0;
	FILE *another = tmpfile();

	(void)state;
	assert_non_null(another);
	for (int fd = 0; fd < 1024; fd++)
		fds += fcntl(fd, F_GETFD) >= 0;
	assert_true(value_of("process_open_fds") == fds);
	fclose(another);
	assert_true(value_of("process_open_fds") == fds - 1);
	assert_true(value_of("process_resident_memory_bytes") > 500e3);
	assert_true(value_of("process_resident_memory_bytes") < 4e9);
	assert_true(value_of("process_cpu_seconds_total") > 0);
	assert_true(value_of("process_start_time_seconds") > now - 600);
	assert_true(value_of("process_start_time_seconds") < now + 2);
}

static void test_promtool_likes_it(void **state)
{
	size_t len;
	char *text;
	FILE *promtool;

	if (system("command -v promtool >/dev/null") != 0)
		skip();
	test_topics(state);
	test_hostile_topics(state);
	test_histogram(state);
	test_build_info(state);
	metrics.depth = 1e300;
	text = metrics_print(&metrics, &len);
	promtool = popen("promtool check metrics 2>&1", "w");
	assert_non_null(promtool);
	assert_int_equal(fwrite(text, 1, len, promtool), len);
	free(text);
	assert_int_equal(WEXITSTATUS(pclose(promtool)), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_at_rest),
	    TEST(test_counts_and_states),
	    TEST(test_labels_of_every_sample),
	    TEST(test_topics),
	    TEST(test_unknown_errors),
	    TEST(test_topics_are_bounded),
	    TEST(test_hostile_topics),
	    TEST(test_histogram),
	    TEST(test_build_info),
	    TEST(test_process),
	    TEST(test_promtool_likes_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
