/* SPDX-License-Identifier: ISC */
/*
 * http.c - the relay's pages over HTTP: small requests, no actions
 *
 * One request a connection, at most CONNECTIONS_MAX connections, and a bound on the time of each:
 * whoever connects to the port can take neither memory nor file descriptors from the relay's work.
 */
#include "http.h"

#include "address.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/xalloc.h"
#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	CONNECTIONS_MAX = 64,
	/* Of the limit of open files HTTP takes one in so many at most; the others are for the
	 * sessions with Postgres and Kafka. */
	DESCRIPTORS_SHARE = 4,
	HEAD_MAX = 8 * 1024,
	ACCEPTS_MAX = 16, /* before others on the loop get their turn */
	REQUEST_US = 10 * 1000 * 1000,
	ANSWER_US = 30 * 1000 * 1000,
	DRAIN_US = 1000 * 1000,
	ACCEPT_PAUSE_US = 250 * 1000,
	SAY_US = 10 * 1000 * 1000,
};

/* DRAINING: all is sent, and the client's last bytes are read. To close with bytes unread would
 * reset the connection, and the client might lose the answer. */
enum connection_state { READING, WRITING, DRAINING };

struct connection {
	struct http *http;
	struct connection *older, *newer;
	enum connection_state state;
	int fd;
	struct loop_io *io;	  /* owned */
	struct loop_timer *timer; /* owned; the end of the state's time */
	char in[HEAD_MAX];
	size_t in_len;
	char *head, *body; /* owned; of the answer */
	size_t head_len, body_len, sent;
};

struct http {
	struct loop *loop;
	int fd;
	struct loop_io *io;	  /* owned; NULL while accepting pauses */
	struct loop_timer *pause; /* owned; ends a pause in accepting */
	struct connection *oldest, *newest;
	unsigned count;
	struct log_limit full, failing;
	int64_t request_us, answer_us; /* what each may take */
	const struct http_page *pages;
	void *arg;
	char *address; /* owned */
	char *path;    /* owned; of a unix socket, or NULL */
};

/* ---- one connection ---- */

static void connection_free(struct connection *connection)
{
	struct http *http = connection->http;

	*(connection->older ? &connection->older->newer : &http->oldest) = connection->newer;
	*(connection->newer ? &connection->newer->older : &http->newest) = connection->older;
	http->count--;
	loop_io_free(&connection->io);
	loop_timer_free(&connection->timer);
	close(connection->fd);
	free(connection->head);
	free(connection->body);
	free(connection);
}

static void on_late(void *arg)
{
	connection_free(arg);
}

static void on_io(int what, void *arg);

static void enter(struct connection *connection, enum connection_state state, int64_t patience_us)
{
	connection->state = state;
	loop_io_free(&connection->io);
	connection->io = loop_io_new(connection->http->loop, connection->fd,
				     state == WRITING ? LOOP_WRITE : LOOP_READ, on_io, connection);
	loop_timer_set(connection->timer, patience_us);
}

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *reason;
	} reasons[] = {
	    {200, "OK"},
	    {400, "Bad Request"},
	    {404, "Not Found"},
	    {405, "Method Not Allowed"},
	    {413, "Content Too Large"},
	    {431, "Request Header Fields Too Large"},
	    {503, "Service Unavailable"},
	    {505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

static void answer(struct connection *connection, int status, const char *content_type, bool head)
{
	char date[48];
	time_t now = (time_t)(clock_realtime_us() / 1000000);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
	connection->head =
	    xasprintf("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		      "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
		      "Content-Security-Policy: frame-ancestors 'none'\r\n"
		      "Referrer-Policy: no-referrer\r\n"
		      "Date: %s\r\n%sConnection: close\r\n\r\n",
		      status, reason_of(status), content_type, connection->body_len, date,
		      status == 405 ? "Allow: GET, HEAD\r\n" : "");
	connection->head_len = strlen(connection->head);
	if (head)
		connection->body_len = 0;
	enter(connection, WRITING, connection->http->answer_us);
}

static void answer_words(struct connection *connection, int status, const char *words, bool head)
{
	connection->body = xasprintf("%s\n", words);
	connection->body_len = strlen(connection->body);
	answer(connection, status, "text/plain; charset=utf-8", head);
}

static bool is_meant(const struct http_page *page, const char *path)
{
	size_t len = strlen(page->path);

	if (len > 1 && page->path[len - 1] == '/')
		return strncmp(page->path, path, len) == 0;
	return strcmp(page->path, path) == 0;
}

static void serve(struct connection *connection, const struct http_request *request)
{
	const struct http *http = connection->http;
	const struct http_page *page = http->pages;

	while (page->path != NULL && !is_meant(page, request->path))
		page++;
	if (request->refusal != 0) {
		answer_words(connection, request->refusal, request->words, request->head);
	} else if (page->path == NULL) {
		answer_words(connection, 404, "no such page", request->head);
	} else {
		int status =
		    page->page(http->arg, request->path, &connection->body, &connection->body_len);

		answer(connection, status, page->content_type, request->head);
	}
}

/* True if the peer has only to be waited for. */
static bool would_block(ssize_t done)
{
	return done < 0 && (errno == EAGAIN || errno == EINTR);
}

static void read_on(struct connection *connection)
{
	struct http_request request;
	ssize_t got = recv(connection->fd, connection->in + connection->in_len,
			   sizeof(connection->in) - connection->in_len, 0);

	if (got <= 0) {
		if (!would_block(got))
			connection_free(connection);
		return;
	}
	connection->in_len += (size_t)got;
	if (http_request_parse(connection->in, connection->in_len, sizeof(connection->in),
			       &request))
		serve(connection, &request);
}

static void write_on(struct connection *connection)
{
	size_t sent = connection->sent, head_len = connection->head_len;
	bool in_head = sent < head_len;
	const char *from = in_head ? connection->head + sent : connection->body + sent - head_len;
	size_t left = in_head ? head_len - sent : head_len + connection->body_len - sent;
	bool more = in_head && connection->body_len > 0;
	ssize_t put = send(connection->fd, from, left, MSG_NOSIGNAL | (more ? MSG_MORE : 0));

	if (put < 0) {
		if (!would_block(put))
			connection_free(connection);
		return;
	}
	connection->sent += (size_t)put;
	if (connection->sent < head_len + connection->body_len)
		return;
	shutdown(connection->fd, SHUT_WR);
	enter(connection, DRAINING, DRAIN_US);
}

static void drain(struct connection *connection)
{
	ssize_t got = recv(connection->fd, connection->in, sizeof(connection->in), 0);

	if (got <= 0 && !would_block(got))
		connection_free(connection);
}

static void on_io(int what, void *arg)
{
	struct connection *connection = arg;

	(void)what;
	if (connection->state == READING)
		read_on(connection);
	else if (connection->state == WRITING)
		write_on(connection);
	else
		drain(connection);
}

/* ---- accepting ---- */

static unsigned most_connections(rlim_t *files)
{
	struct rlimit limit;
	rlim_t share;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return CONNECTIONS_MAX;
	*files = limit.rlim_cur;
	share = limit.rlim_cur / DESCRIPTORS_SHARE;
	return share >= CONNECTIONS_MAX ? CONNECTIONS_MAX : share > 0 ? (unsigned)share : 1;
}

static void say_full(struct http *http, unsigned most, rlim_t files)
{
	if (!log_limit_due(&http->full, clock_monotonic_us(), SAY_US))
		return;
	if (most == CONNECTIONS_MAX)
		log_fact(LOG_WARNING, "http_connections",
			 LOG_FIELDS(field_number("connections", most)),
			 "http: there are more than %u connections; the oldest idle ones are "
			 "closed%s",
			 most, http->full.note);
	else
		log_fact(LOG_WARNING, "descriptors_short",
			 LOG_FIELDS(field_number("limit", (int64_t)files)),
			 "http: file descriptors are short: the limit of open files is %llu, so "
			 "only %u connections are kept and the oldest idle ones are closed; "
			 "raise LimitNOFILE in the unit, or ulimit -n%s",
			 (unsigned long long)files, most, http->full.note);
}

/* Closes the oldest connection that is not being answered. False if there is none. */
static bool close_an_idle_one(struct http *http)
{
	struct connection *connection = http->oldest;

	while (connection != NULL && connection->state == WRITING)
		connection = connection->newer;
	if (connection != NULL)
		connection_free(connection);
	return connection != NULL;
}

static void connection_new(struct http *http, int fd)
{
	struct connection *connection;
	rlim_t files = 0;
	unsigned most = most_connections(&files);

	while (http->count >= most) {
		say_full(http, most, files);
		if (!close_an_idle_one(http)) {
			close(fd);
			return;
		}
	}
	connection = xcalloc(1, sizeof(*connection));
	connection->http = http;
	connection->fd = fd;
	connection->timer = loop_timer_new(http->loop, on_late, connection);
	connection->older = http->newest;
	*(http->newest ? &http->newest->newer : &http->oldest) = connection;
	http->newest = connection;
	http->count++;
	enter(connection, READING, http->request_us);
}

/* Without a pause the loop would do nothing but fail to accept. */
static void accept_failed(struct http *http, int why)
{
	bool short_of = why == EMFILE || why == ENFILE;

	loop_io_free(&http->io);
	loop_timer_set(http->pause, ACCEPT_PAUSE_US);
	close_an_idle_one(http);
	if (!log_limit_due(&http->failing, clock_monotonic_us(), SAY_US))
		return;
	log_fact(LOG_WARNING, "http_accept_failed", NULL,
		 "http: cannot accept a connection: %s%s%s; trying again%s",
		 short_of ? "file descriptors are short: " : "", strerror(why),
		 why == EMFILE ? "; raise LimitNOFILE in the unit, or ulimit -n" : "",
		 http->failing.note);
}

static void on_accept(int what, void *arg)
{
	struct http *http = arg;

	(void)what;
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		int fd = accept4(http->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			connection_new(http, fd);
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR && errno != ECONNABORTED) {
			accept_failed(http, errno);
			return;
		}
	}
}

static void accept_again(void *arg)
{
	struct http *http = arg;

	http->io = loop_io_new(http->loop, http->fd, LOOP_READ, on_accept, http);
}

struct http *http_new(struct loop *loop, const char *listen, const struct http_page *pages,
		      void *arg, struct error *err)
{
	const char *path = http_address_path(listen);
	struct http *http;
	int fd = http_address_listen(listen, err);

	if (fd < 0)
		return NULL;
	http = xcalloc(1, sizeof(*http));
	http->loop = loop;
	http->fd = fd;
	http->pause = loop_timer_new(loop, accept_again, http);
	http_set_patience(http, REQUEST_US, ANSWER_US);
	http->pages = pages;
	http->arg = arg;
	http->address = http_address_name(fd);
	http->path = path ? xstrdup(path) : NULL;
	accept_again(http);
	return http;
}

void http_set_patience(struct http *http, int64_t request_us, int64_t answer_us)
{
	http->request_us = request_us;
	http->answer_us = answer_us;
}

void http_free(struct http **http_p)
{
	struct http *http = *http_p;

	if (http == NULL)
		return;
	for (struct connection *at = http->oldest, *newer; at != NULL; at = newer) {
		newer = at->newer;
		connection_free(at);
	}
	loop_io_free(&http->io);
	loop_timer_free(&http->pause);
	close(http->fd);
	if (http->path != NULL)
		unlink(http->path);
	free(http->address);
	free(http->path);
	free(http);
	*http_p = NULL;
}

const char *http_address(const struct http *http)
{
	return http->address;
}
