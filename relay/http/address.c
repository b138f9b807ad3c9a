/* SPDX-License-Identifier: ISC */
/*
 * address.c - sockets by the spelling of http.listen
 */
#include "address.h"

#include "base/clock.h"
#include "base/xalloc.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 };

/* Does one thing with a socket for the address: bind and listen, or connect. False with errno. */
typedef bool (*use_fn)(int fd, const struct sockaddr *address, socklen_t len, int64_t deadline_us);

const char *http_address_path(const char *listen)
{
	return strncmp(listen, "unix:", 5) == 0 ? listen + 5 : NULL;
}

bool http_address_wait(int fd, short events, int64_t deadline_us)
{
	struct pollfd wait = {.fd = fd, .events = events};
	int64_t left;
	int ready;

	do {
		left = deadline_us - clock_monotonic_us();
		if (left <= 0)
			return false;
		ready = poll(&wait, 1, (int)(left / 1000 + 1));
	} while (ready == 0 || (ready < 0 && errno == EINTR));
	return ready > 0;
}

static bool use_listen(int fd, const struct sockaddr *address, socklen_t len, int64_t deadline_us)
{
	int on = 1;

	(void)deadline_us;
	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	       bind(fd, address, len) == 0 && listen(fd, BACKLOG) == 0;
}

static bool use_connect(int fd, const struct sockaddr *address, socklen_t len, int64_t deadline_us)
{
	int result = 0;
	socklen_t result_len = sizeof(result);

	if (connect(fd, address, len) == 0)
		return true;
	if (errno != EINPROGRESS)
		return false;
	if (!http_address_wait(fd, POLLOUT, deadline_us)) {
		errno = ETIMEDOUT;
		return false;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &result_len) < 0)
		return false;
	errno = result;
	return result == 0;
}

static int open_with(use_fn use, const struct sockaddr *address, socklen_t len, int64_t deadline_us)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int saved;

	if (fd < 0 || use(fd, address, len, deadline_us))
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

/* getaddrinfo would take 99999 and cut it to 16 bits. */
static bool is_port(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits > 0 && digits <= 5 && text[digits] == '\0' && atoi(text) <= 65535;
}

/* Splits "host:port" or "[v6]:port"; both parts malloc'd. An empty host means every address. */
static bool split(const char *listen, char **host, char **port)
{
	const char *colon = strrchr(listen, ':');
	const char *end = colon;

	if (colon == NULL || !is_port(colon + 1))
		return false;
	if (*listen == '[') {
		if (colon[-1] != ']')
			return false;
		listen++;
		end--;
	} else if (memchr(listen, ':', (size_t)(colon - listen)) != NULL) {
		return false;
	}
	*host = xasprintf("%.*s", (int)(end - listen), listen);
	*port = xstrdup(colon + 1);
	return true;
}

/* The first of the name's addresses that works. */
static int try_each(const char *host, const char *port, use_fn use, int64_t deadline_us,
		    const char **why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = use == use_listen ? AI_PASSIVE : 0};
	struct addrinfo *found = NULL;
	int fd = -1;
	int result = getaddrinfo(*host ? host : NULL, port, &hints, &found);

	if (result != 0) {
		*why = result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result);
		errno = 0;
		return -1;
	}
	for (struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next)
		fd = open_with(use, a->ai_addr, a->ai_addrlen, deadline_us);
	*why = strerror(errno);
	freeaddrinfo(found);
	return fd;
}

static int open_inet(const char *listen, use_fn use, int64_t deadline_us, const char **why)
{
	char *host, *port;
	int fd, saved;

	if (!split(listen, &host, &port)) {
		*why = "not of the form host:port, [v6]:port or unix:/path";
		errno = EINVAL;
		return -1;
	}
	fd = try_each(host, port, use, deadline_us, why);
	saved = errno;
	free(host);
	free(port);
	errno = saved;
	return fd;
}

static int open_unix(const char *path, use_fn use, int64_t deadline_us)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);

	if (len >= sizeof(address.sun_path) || len == 0) {
		errno = len == 0 ? ENOENT : ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, len);
	return open_with(use, (const struct sockaddr *)&address, sizeof(address), deadline_us);
}

/* Makes way for a new socket at path, if what is there is a socket without a listener. */
static bool clear_path(const char *path, struct error *err)
{
	struct stat info;
	int fd;

	if (lstat(path, &info) < 0)
		return true;
	if (!S_ISSOCK(info.st_mode))
		return error_set(err,
				 "listen on unix:%s: a file that is no socket is in the way; "
				 "remove it or change http.listen",
				 path);
	fd = open_unix(path, use_connect, clock_monotonic_us() + 1000000);
	if (fd < 0 && errno == ECONNREFUSED && unlink(path) == 0)
		return true;
	if (fd >= 0)
		close(fd);
	return error_set(err,
			 "listen on unix:%s: the socket is in use or cannot be replaced; stop the "
			 "process that listens on it, remove the file or change http.listen",
			 path);
}

int http_address_listen(const char *listen, struct error *err)
{
	const char *path = http_address_path(listen);
	const char *why = NULL;
	int fd;

	if (path != NULL && !clear_path(path, err))
		return -1;
	fd = path != NULL ? open_unix(path, use_listen, 0) : open_inet(listen, use_listen, 0, &why);
	if (fd >= 0)
		return fd;
	if (errno == EADDRINUSE)
		error_set(err,
			  "listen on %s: the address is in use; stop the process that listens on "
			  "it (ss -ltnp shows which) or change http.listen",
			  listen);
	else if (errno == EMFILE || errno == ENFILE)
		error_set(err, "listen on %s: %s; raise the limit of open files", listen,
			  strerror(errno));
	else
		error_set(err, "listen on %s: %s; change http.listen", listen,
			  why ? why : strerror(errno));
	return -1;
}

int http_address_connect(const char *listen, int64_t deadline_us, struct error *err)
{
	const char *path = http_address_path(listen);
	const char *why = NULL;
	int fd = path != NULL ? open_unix(path, use_connect, deadline_us)
			      : open_inet(listen, use_connect, deadline_us, &why);

	if (fd < 0)
		error_set(err, "connect to %s: %s; is the relay running, with this http.listen",
			  listen, why ? why : strerror(errno));
	return fd;
}

char *http_address_name(int fd)
{
	struct sockaddr_storage address;
	struct sockaddr_un local;
	socklen_t len = sizeof(address);
	char host[128], port[16];

	memset(&address, 0, sizeof(address));
	if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		return xstrdup("?");
	if (address.ss_family == AF_UNIX) {
		memcpy(&local, &address, sizeof(local));
		return xasprintf("unix:%.*s", (int)sizeof(local.sun_path), local.sun_path);
	}
	if (getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return xstrdup("?");
	return xasprintf(address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
