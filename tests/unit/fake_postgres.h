/* SPDX-License-Identifier: ISC */
/*
 * fake_postgres.h - a server that speaks as much of the v3 protocol as a scripted conversation
 * needs
 *
 * Listens on a free loopback port; a thread runs the script for one connection. (Postgres manual:
 * "Message Formats".)
 */
#ifndef FAKE_POSTGRES_H
#define FAKE_POSTGRES_H

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FAKE_PID = 4711 };

struct fake {
	int listener, port, joined;
	pthread_t thread;
	void (*script)(int fd);
};

static void *fake_run(void *arg)
{
	struct fake *fake = arg;
	int fd = accept(fake->listener, NULL, NULL), on = 1;
	if (fd >= 0) {
		/* Else what is said last may never leave, when the client's words were not read. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		fake->script(fd);
		close(fd);
	}
	return NULL;
}

/* A free port of the loopback, listened on or (dead) not. */
static int fake_port(int *listener)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	*listener = socket(AF_INET, SOCK_STREAM, 0);
	int failed = bind(*listener, (struct sockaddr *)&address, len) ||
		     getsockname(*listener, (struct sockaddr *)&address, &len);
	if (failed)
		abort();
	return ntohs(address.sin_port);
}

static void fake_start(struct fake *fake, void (*script)(int fd))
{
	*fake = (struct fake){.script = script};
	fake->port = fake_port(&fake->listener);
	if (listen(fake->listener, 1) || pthread_create(&fake->thread, NULL, fake_run, fake))
		abort();
}

/* Waits until the conversation has ended. */
static void fake_join(struct fake *fake)
{
	if (!fake->joined)
		pthread_join(fake->thread, NULL);
	fake->joined = 1;
}

static void fake_stop(struct fake *fake)
{
	shutdown(fake->listener, SHUT_RDWR);
	fake_join(fake);
	close(fake->listener);
}

/* ---- what the client says ---- */

/* False at the end. */
static int fake_read(int fd, void *out, size_t len)
{
	return recv(fd, out, len, MSG_WAITALL) == (ssize_t)len;
}

/* Reads one message and throws its body away; its type, or 0 at the end. */
static char fake_message(int fd, int has_type)
{
	char type = 1, scratch[256];
	uint32_t len;
	if ((has_type && !fake_read(fd, &type, 1)) || !fake_read(fd, &len, 4))
		return 0;
	for (size_t left = ntohl(len) - 4; left > 0;) {
		size_t part = left < sizeof(scratch) ? left : sizeof(scratch);
		if (!fake_read(fd, scratch, part))
			return 0;
		left -= part;
	}
	return type;
}

/* Reads up to a message of this type: 'S' is Sync, 'X' Terminate. */
static void fake_await(int fd, char type)
{
	char got;
	do
		got = fake_message(fd, 1);
	while (got != 0 && got != type);
}

/* ---- what the server says ---- */

static void fake_send(int fd, const void *data, size_t len)
{
	for (const char *at = data; len > 0;) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
		if (n <= 0)
			return; /* the client has closed */
		at += n;
		len -= (size_t)n;
	}
}

static void fake_say(int fd, char type, const void *body, size_t len)
{
	char *message = malloc(len + 5);
	uint32_t size = htonl((uint32_t)len + 4);
	message[0] = type;
	memcpy(message + 1, &size, 4);
	if (len > 0)
		memcpy(message + 5, body, len);
	fake_send(fd, message, len + 5);
	free(message);
}

__attribute__((unused)) static void fake_ready(int fd)
{
	fake_say(fd, 'Z', "I", 1);
}

/* Reads the startup packet and lets the client in. */
__attribute__((unused)) static void fake_greet(int fd)
{
	uint32_t key[2] = {htonl(FAKE_PID), 0};
	fake_message(fd, 0);
	fake_say(fd, 'R', "\0\0\0\0", 4);
	fake_say(fd, 'S', "client_encoding\0UTF8", 21);
	fake_say(fd, 'K', key, sizeof(key));
	fake_ready(fd);
}

/* An ask that gave no rows; tag as "COMMIT". */
__attribute__((unused)) static void fake_done(int fd, const char *tag)
{
	fake_say(fd, '1', NULL, 0);
	fake_say(fd, '2', NULL, 0);
	fake_say(fd, 'n', NULL, 0);
	fake_say(fd, 'C', tag, strlen(tag) + 1);
}

/* One text column and so many rows of so many bytes. */
__attribute__((unused)) static void fake_rows(int fd, unsigned rows, uint32_t bytes)
{
	static const char column[] = "\0\1x\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
	char *row = malloc(bytes + 6);
	uint32_t len = htonl(bytes);
	fake_say(fd, '1', NULL, 0);
	fake_say(fd, '2', NULL, 0);
	fake_say(fd, 'T', column, sizeof(column) - 1);
	memcpy(row, "\0\1", 2);
	memcpy(row + 2, &len, 4);
	memset(row + 6, 'x', bytes);
	for (unsigned i = 0; i < rows; i++)
		fake_say(fd, 'D', row, bytes + 6);
	fake_say(fd, 'C', "SELECT", 7);
	free(row);
}

__attribute__((unused)) static void fake_error(int fd, const char *severity, const char *state,
					       const char *message)
{
	char body[256];
	int len = snprintf(body, sizeof(body), "S%s%cV%s%cC%s%cM%s%cFfake.c%cL1%cRfake_error%c",
			   severity, 0, severity, 0, state, 0, message, 0, 0, 0, 0);
	fake_say(fd, 'E', body, (size_t)len + 1);
}

__attribute__((unused)) static void fake_notify(int fd, const char *channel, const char *payload)
{
	char body[256] = {0};
	int len = snprintf(body + 4, sizeof(body) - 4, "%s%c%s", channel, 0, payload);
	fake_say(fd, 'A', body, (size_t)len + 5);
}

#endif
