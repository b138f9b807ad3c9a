/* SPDX-License-Identifier: ISC */
/*
 * request.c - the head of an HTTP request: what it asks for, or why it is refused
 *
 * RFC 9112, sections 2 and 3. Of the header fields only those that announce a body are read.
 */
#include "request.h"

#include <string.h>
#include <strings.h>

enum { BODY_MAX = 1024 };

static bool refuse(struct http_request *request, int status, const char *words)
{
	request->refusal = status;
	request->words = words;
	return true;
}

/* One word up to a blank or the line's end; 0 if there is none. */
static size_t word(const char *at, const char *end)
{
	const char *from = at;

	while (at != end && *at > ' ' && *at < 127)
		at++;
	return (size_t)(at - from);
}

/* A path may come with a scheme and a host before it (RFC 9112, 3.2.2), and a query behind it. */
static void take_path(const char *target, size_t len, struct http_request *request)
{
	const char *end = target + len, *query;

	if (len > 7 && strncasecmp(target, "http://", 7) == 0) {
		target = memchr(target + 7, '/', len - 7);
		if (target == NULL)
			target = end;
	}
	query = memchr(target, '?', (size_t)(end - target));
	len = (size_t)((query != NULL ? query : end) - target);
	if (len < sizeof(request->path))
		memcpy(request->path, target, len);
}

static bool read_line(const char *at, const char *end, struct http_request *request)
{
	size_t method = word(at, end), target, version;
	const char *name = at;

	at += method;
	if (method == 0 || at == end || *at++ != ' ')
		return refuse(request, 400, "bad request");
	target = word(at, end);
	take_path(at, target, request);
	at += target;
	if (target == 0 || at == end || *at++ != ' ')
		return refuse(request, 400, "bad request");
	version = word(at, end);
	if (at + version != end || version < 8 || strncmp(at, "HTTP/", 5) != 0)
		return refuse(request, 400, "bad request");
	if (version != 8 || strncmp(at, "HTTP/1.", 7) != 0)
		return refuse(request, 505, "only HTTP/1.0 and HTTP/1.1");
	request->head = method == 4 && memcmp(name, "HEAD", 4) == 0;
	if (!request->head && (method != 3 || memcmp(name, "GET", 3) != 0))
		return refuse(request, 405, "only GET and HEAD");
	return true;
}

static bool is_field(const char *line, size_t len, const char *name)
{
	size_t size = strlen(name);

	return len > size && line[size] == ':' && strncasecmp(line, name, size) == 0;
}

/* Whether the text is a number of at most BODY_MAX. */
static bool is_small(const char *at, const char *end)
{
	size_t number = 0;

	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	if (at == end)
		return false;
	while (at < end && *at >= '0' && *at <= '9' && number <= BODY_MAX)
		number = number * 10 + (size_t)(*at++ - '0');
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	return at == end && number <= BODY_MAX;
}

static void read_field(const char *line, size_t len, struct http_request *request)
{
	static const char length[] = "Content-Length";

	if (request->refusal != 0)
		return;
	if (is_field(line, len, "Transfer-Encoding") ||
	    (is_field(line, len, length) && !is_small(line + sizeof(length), line + len)))
		refuse(request, 413, "no request body is taken");
}

bool http_request_parse(const char *text, size_t len, size_t size, struct http_request *request)
{
	const char *at = text, *end = text + len, *newline;
	bool first = true;

	memset(request, 0, sizeof(*request));
	/* An empty line before a request is passed over (RFC 9112, 2.2). */
	while (at < end && (*at == '\r' || *at == '\n'))
		at++;
	/* Another protocol, such as TLS, may never send an end of line. */
	if (at < end && word(at, end) == 0)
		return refuse(request, 400, "bad request");
	while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
		const char *stop = newline > at && newline[-1] == '\r' ? newline - 1 : newline;

		if (first)
			read_line(at, stop, request);
		else if (stop == at)
			return true;
		else
			read_field(at, (size_t)(stop - at), request);
		first = false;
		at = newline + 1;
	}
	return len >= size && refuse(request, 431, "the head of the request is too large");
}
