/* SPDX-License-Identifier: ISC */
/*
 * client.c - a blocking GET for the command line: HTTP/1.0, one deadline, a bounded answer
 *
 * libevent's client has no unix sockets before 2.2 (evhttp_connection_base_bufferevent_unix_new).
 */
#include "http.h"

#include "address.h"
#include "base/clock.h"
#include "base/xalloc.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_LIMIT = 8 * 1024 * 1024, READ_SIZE = 16 * 1024 };

struct answer {
	char *data; /* owned; a NUL follows the last byte */
	size_t len;
};

static bool late(const char *listen, struct error *err)
{
	return error_set(err, "get from %s: no answer in time; is the relay busy or stopped",
			 listen);
}

/* A request is small enough for the socket's buffer: it goes out immediately or not at all. */
static bool ask(int fd, const char *listen, const char *path, struct error *err)
{
	char *request = xasprintf("GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
	size_t len = strlen(request);
	ssize_t sent = send(fd, request, len, MSG_NOSIGNAL);

	free(request);
	if (sent == (ssize_t)len)
		return true;
	return error_set(err, "get from %s: %s; try again", listen,
			 sent < 0 ? strerror(errno) : "could not send the request");
}

/* Reads to the end of the stream. */
static bool read_answer(int fd, const char *listen, int64_t deadline_us, struct answer *answer,
			struct error *err)
{
	for (;;) {
		ssize_t got;

		if (answer->len > ANSWER_LIMIT)
			return error_set(err, "get from %s: the answer is too long to be a relay's",
					 listen);
		answer->data = xrealloc(answer->data, answer->len + READ_SIZE + 1);
		if (!http_address_wait(fd, POLLIN, deadline_us))
			return late(listen, err);
		got = recv(fd, answer->data + answer->len, READ_SIZE, 0);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got < 0)
			return error_set(err, "get from %s: %s; try again", listen,
					 strerror(errno));
		answer->len += (size_t)got;
		answer->data[answer->len] = '\0';
		if (got == 0)
			return true;
	}
}

/* The body's length as announced, or -1. The head ends with a NUL. */
static long long announced(const char *head)
{
	static const char name[] = "\r\nContent-Length:";
	const char *found = strcasestr(head, name);

	return found ? strtoll(found + sizeof(name) - 1, NULL, 10) : -1;
}

/* The status code; moves the body to the front of the answer. */
static int take_apart(struct answer *answer, const char *listen, struct error *err)
{
	char *end = memmem(answer->data, answer->len, "\r\n\r\n", 4);
	size_t head;
	long long length;
	int status;

	if (end == NULL || sscanf(answer->data, "HTTP/1.%*1[01] %3d", &status) != 1 ||
	    status < 100) {
		error_set(err,
			  "get from %s: the answer is not HTTP; does something else listen there",
			  listen);
		return -1;
	}
	*end = '\0';
	head = (size_t)(end - answer->data) + 4;
	length = announced(answer->data);
	answer->len -= head;
	if (length >= 0 && (size_t)length != answer->len) {
		error_set(err, "get from %s: the answer was cut short; try again", listen);
		return -1;
	}
	memmove(answer->data, answer->data + head, answer->len + 1);
	return status;
}

/* Where a relay of this http.listen cannot be asked, and why. */
static bool can_be_asked(const char *listen, struct error *err)
{
	const char *port = strrchr(listen, ':');

	if (*listen == '\0')
		return error_set(err, "http.listen is off, so a relay cannot be asked");
	if (http_address_path(listen) == NULL && port != NULL && strcmp(port, ":0") == 0)
		return error_set(err, "http.listen has port 0: its address is in the log");
	return true;
}

int http_get(const char *listen, const char *path, int timeout_ms, char **body, size_t *len,
	     struct error *err)
{
	int64_t deadline_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;
	struct answer answer = {NULL, 0};
	int status = -1;
	int fd = can_be_asked(listen, err) ? http_address_connect(listen, deadline_us, err) : -1;

	*body = NULL;
	*len = 0;
	if (fd < 0)
		return -1;
	if (ask(fd, listen, path, err) && read_answer(fd, listen, deadline_us, &answer, err))
		status = take_apart(&answer, listen, err);
	close(fd);
	if (status < 0) {
		free(answer.data);
		return -1;
	}
	*body = answer.data;
	*len = answer.len;
	return status;
}
