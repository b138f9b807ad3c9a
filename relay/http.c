/*
 * http.c - the relay's pages over evhttp: small requests, no actions
 */
#include "http.h"

#include "http_address.h"
#include "xalloc.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	TIMEOUT_SECONDS = 10,
	HEADERS_MAX = 8 * 1024,
	BODY_MAX = 1024,
	ACCEPT_PAUSE_US = 250 * 1000,
};

struct http {
	struct evhttp *server;		      /* owned */
	struct evhttp_bound_socket *listener; /* the server's */
	struct event_base *base;	      /* the loop's */
	struct loop_timer *pause;	      /* owned; ends a pause in accepting */
	const struct http_page *pages;
	void *arg;
	char *address; /* owned */
	char *path;    /* owned; of a unix socket, or NULL */
};

static void accept_again(void *arg)
{
	struct http *http = arg;

	evconnlistener_enable(evhttp_bound_socket_get_listener(http->listener));
}

/* Descriptors are out: without a pause the loop would do nothing but fail to accept. */
static void accept_failed(struct evconnlistener *listener, void *arg)
{
	struct http *http = arg;

	evconnlistener_disable(listener);
	loop_timer_set(http->pause, ACCEPT_PAUSE_US);
}

static void free_body(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	free(arg);
}

/* Answers with body (malloc'd, taken over). */
static void reply(struct evhttp_request *request, int status, const char *content_type, char *body,
		  size_t len)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *out = evbuffer_new();
	bool wants_body = evhttp_request_get_command(request) != EVHTTP_REQ_HEAD;
	char length[24];

	snprintf(length, sizeof(length), "%zu", len);
	evhttp_add_header(headers, "Content-Type", content_type);
	evhttp_add_header(headers, "Content-Length", length);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	if (out == NULL || !wants_body || len == 0 ||
	    evbuffer_add_reference(out, body, len, free_body, body) != 0)
		free(body);
	evhttp_send_reply(request, status, NULL, out);
	if (out != NULL)
		evbuffer_free(out);
}

static void reply_words(struct evhttp_request *request, int status, const char *words)
{
	reply(request, status, "text/plain; charset=utf-8", xasprintf("%s\n", words),
	      strlen(words) + 1);
}

static const struct http_page *find_page(const struct http *http, struct evhttp_request *request)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;

	for (const struct http_page *page = http->pages; path && page->path; page++)
		if (strcmp(path, page->path) == 0)
			return page;
	return NULL;
}

static void serve(struct evhttp_request *request, void *arg)
{
	const struct http *http = arg;
	enum evhttp_cmd_type method = evhttp_request_get_command(request);
	const struct http_page *page = find_page(http, request);
	char *body = NULL;
	size_t len = 0;
	int status;

	if (page == NULL) {
		reply_words(request, 404, "no such page");
		return;
	}
	if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
		evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", "GET, HEAD");
		reply_words(request, 405, "only GET and HEAD");
		return;
	}
	status = page->page(http->arg, &body, &len);
	reply(request, status, page->content_type, body, len);
}

static bool start(struct http *http, int fd)
{
	http->server = evhttp_new(http->base);
	if (http->server == NULL)
		return false;
	evhttp_set_timeout(http->server, TIMEOUT_SECONDS);
	evhttp_set_max_headers_size(http->server, HEADERS_MAX);
	evhttp_set_max_body_size(http->server, BODY_MAX);
	/* All of them: left to itself evhttp answers 501 to what it does not allow. */
	evhttp_set_allowed_methods(http->server, 0xffff);
	evhttp_set_gencb(http->server, serve, http);
	http->listener = evhttp_accept_socket_with_handle(http->server, fd);
	if (http->listener == NULL)
		return false;
	evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(http->listener),
				    accept_failed);
	return true;
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
	http->base = loop_base(loop);
	http->pause = loop_timer_new(loop, accept_again, http);
	http->pages = pages;
	http->arg = arg;
	http->address = http_address_name(fd);
	http->path = path ? xstrdup(path) : NULL;
	if (start(http, fd))
		return http;
	error_set(err, "listen on %s: out of memory; raise the memory limit", listen);
	close(fd);
	http_free(&http);
	return NULL;
}

void http_free(struct http **http_p)
{
	struct http *http = *http_p;

	if (http == NULL)
		return;
	if (http->server != NULL)
		evhttp_free(http->server);
	if (http->path != NULL)
		unlink(http->path);
	loop_timer_free(&http->pause);
	free(http->address);
	free(http->path);
	free(http);
	*http_p = NULL;
}

const char *http_address(const struct http *http)
{
	return http->address;
}
