/* SPDX-License-Identifier: ISC */
/*
 * notify.c - what a service manager is told, by the protocol of sd_notify(3)
 */
#include "base/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* The length of the address, or 0: it is none of a socket of ours. "@name" is one in the abstract
 * name space (unix(7)). */
static socklen_t parse(const char *name, struct sockaddr_un *address)
{
	size_t len = strlen(name);
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if ((name[0] != '/' && name[0] != '@') || len >= sizeof(address->sun_path))
		return 0;
	memcpy(address->sun_path, name, len);
	if (name[0] == '@')
		address->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

static bool deliver(const struct sockaddr_un *address, socklen_t size, const char *state)
{
	static const struct timeval patience = {.tv_sec = 1};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	ssize_t sent =
	    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)address, size);
	int why = errno;
	close(fd);
	errno = why;
	return sent >= 0; /* a datagram goes as a whole */
}

bool notify_manager(const char *state, struct error *err)
{
	struct sockaddr_un address;
	const char *name = getenv("NOTIFY_SOCKET");
	if (name == NULL || *name == '\0')
		return true;
	socklen_t size = parse(name, &address);
	if (size == 0)
		return error_set(err,
				 "cannot tell the service manager %s: NOTIFY_SOCKET=%s is "
				 "neither a path nor @name",
				 state, name);
	if (!deliver(&address, size, state))
		return error_set(err, "cannot tell the service manager %s on NOTIFY_SOCKET=%s: %s",
				 state, name, strerror(errno));
	return true;
}

/* A number above 0, or 0. */
static int64_t positive(const char *text)
{
	char *end;
	errno = 0;
	long long number = text != NULL ? strtoll(text, &end, 10) : 0;
	return number > 0 && errno == 0 && *end == '\0' ? number : 0;
}

int64_t notify_watchdog_us(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	if (pid != NULL && positive(pid) != getpid())
		return 0;
	return positive(getenv("WATCHDOG_USEC"));
}
