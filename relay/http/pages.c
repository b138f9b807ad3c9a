/* SPDX-License-Identifier: ISC */
/*
 * pages.c - the pages: /, /metrics, /healthz, /readyz, /status, /runbooks/NAME
 */
#include "http.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "page_files.h"
#include "status.h"

#include <stdlib.h>
#include <string.h>

static int text_page(char **body, size_t *len, int code, const char *text)
{
	*body = xstrdup(text);
	*len = strlen(text);
	return code;
}

static int metrics_page(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	const struct pages *p = arg;
	*body = metrics_print(p->metrics, len);
	return 200;
}

bool pages_healthy(const struct pages *p)
{
	struct worker_status status;
	struct health health;
	pages_judge(p, &status, &health);
	return !health.stuck;
}

static int healthz_page(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	if (pages_healthy(arg))
		return text_page(body, len, 200, "ok\n");
	return text_page(body, len, 503,
			 "events wait, both peers answer, and nothing has moved for twice "
			 "outbox.stall_timeout\n");
}

static int line_page(char **body, size_t *len, int code, const char *text)
{
	*body = xasprintf("%s\n", text);
	*len = strlen(*body);
	return code;
}

/* Below it, what is wrong all the same. */
static int ready_page(char **body, size_t *len, const struct health *health)
{
	*body = xstrdup("ready\n");
	for (size_t i = 0; i < health->count; i++)
		xappend(body, "%s: %s\n", health_problem_name(health->problems[i].kind),
			health->problems[i].text);
	*len = strlen(*body);
	return 200;
}

static int readyz_page(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	struct worker_status status;
	struct health health;
	pages_judge(arg, &status, &health);
	if (health.unready != NULL)
		return line_page(body, len, 503, health.unready->text);
	if (status.standby[0] != '\0') {
		char text[400];
		text_print(text, sizeof(text), "standby: %s", status.standby);
		return line_page(body, len, 200, text);
	}
	return ready_page(body, len, &health);
}

/* So long after a page was asked for, somebody is taken to watch: twice the time between two looks
 * at the group. */
enum { WATCH_US = 10 * 1000 * 1000 };

static int status_page(void *arg, const char *path, char **body, size_t *len)
{
	(void)path;
	const struct pages *p = arg;
	worker_watch(p->worker, WATCH_US);
	*body = status_json(p);
	*len = strlen(*body);
	return 200;
}

static int file_page(char **body, size_t *len, const char *name)
{
	const struct page_file *file = page_files;
	while (file->name != NULL && strcmp(file->name, name) != 0)
		file++;
	if (file->name == NULL)
		return text_page(body, len, 404, "no such page\n");
	return text_page(body, len, 200, file->text);
}

static int root_page(void *arg, const char *path, char **body, size_t *len)
{
	const struct pages *p = arg;
	(void)path;
	worker_watch(p->worker, WATCH_US);
	return file_page(body, len, "status.html");
}

static int runbook_page(void *arg, const char *path, char **body, size_t *len)
{
	char name[256];
	(void)arg;
	text_print(name, sizeof(name), "%s.md", path + strlen("/runbooks/"));
	return file_page(body, len, name);
}

/* ---- SIGUSR1 ---- */

static const char *word(const struct pages *p, enum metrics_peer peer)
{
	return p->metrics->connected[peer] ? "connected" : "unreachable";
}

void pages_log_status(const struct pages *p)
{
	struct worker_status status;
	struct health health;
	char explanation[400];
	pages_judge(p, &status, &health);
	const struct problem *problem = health.count > 0 ? &health.problems[0] : NULL;
	health_explain(&status, p->metrics, explanation, sizeof(explanation));
	log_fact(
	    LOG_INFO, "status",
	    LOG_FIELDS(field_text("state", status.state),
		       field_seconds("state_seconds", status.state_us),
		       field_number("shards_owned", shards_owned(status.shards)),
		       field_number("shards", status.shards->count),
		       field_number("in_flight", (int64_t)status.in_flight),
		       field_number("published", (int64_t)status.published),
		       field_number("depth", (int64_t)p->metrics->depth),
		       field_text("problem", problem ? health_problem_name(problem->kind) : "")),
	    "status: %s for %.1f s (%s), %d of %d shards, low watermark %lld, batch of %zu "
	    "events (%zu with Kafka), %llu published in %.0f s, depth %.0f, oldest %.1f s, "
	    "database %s, kafka %s%s%s",
	    status.state, (double)status.state_us / 1e6, explanation, shards_owned(status.shards),
	    status.shards->count, (long long)status.low_watermark, status.batch_events,
	    status.in_flight, (unsigned long long)status.published, pages_uptime(p),
	    p->metrics->depth, p->metrics->oldest_age_seconds, word(p, PEER_DATABASE),
	    word(p, PEER_KAFKA), problem != NULL ? "; " : "", problem != NULL ? problem->text : "");
}

const struct http_page relay_pages[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics_page},
    {"/healthz", "text/plain", healthz_page},
    {"/readyz", "text/plain", readyz_page},
    {"/status", "application/json", status_page},
    {"/", "text/html; charset=utf-8", root_page},
    {"/runbooks/", "text/plain; charset=utf-8", runbook_page},
    {NULL, NULL, NULL},
};
