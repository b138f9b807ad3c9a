/* SPDX-License-Identifier: ISC */
/*
 * secret_text.c - text that may be secret: read whole, and overwritten
 */
#include "base/secret_text.h"

#include "base/xalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void secret_wipe(char **text)
{
	if (*text != NULL)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void secret_trim(char *text)
{
	size_t len = strlen(text);

	if (len == 0 || text[len - 1] != '\n')
		return;
	text[--len] = '\0';
	if (len > 0 && text[len - 1] == '\r')
		text[len - 1] = '\0';
}

/* To the end, or one byte more than max. */
static ssize_t read_all(int fd, char *text, size_t max)
{
	size_t len = 0;

	while (len <= max) {
		ssize_t more = read(fd, text + len, max + 1 - len);

		if (more < 0 && errno == EINTR)
			continue;
		if (more < 0)
			return -1;
		if (more == 0)
			break;
		len += (size_t)more;
	}
	return (ssize_t)len;
}

/* Without a buffer of stdio's, in which a part could stay behind. */
char *secret_slurp_fd(int fd, size_t max, struct error *err)
{
	char *text = xmalloc(max + 2);
	ssize_t len = read_all(fd, text, max);

	if (len < 0) {
		error_set(err, "%s", strerror(errno));
	} else if ((size_t)len > max) {
		error_set(err, "it is larger than %zu %s", max >= 1 << 20 ? max >> 20 : max >> 10,
			  max >= 1 << 20 ? "MiB" : "KiB");
	} else if (memchr(text, '\0', (size_t)len) != NULL) {
		error_set(err, "it holds a NUL byte, so it is no text");
	} else {
		text[len] = '\0';
		return text;
	}
	explicit_bzero(text, max + 2);
	free(text);
	return NULL;
}

char *secret_slurp(const char *path, size_t max, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text;

	if (fd < 0) {
		error_set(err, "%s", strerror(errno));
		return NULL;
	}
	text = secret_slurp_fd(fd, max, err);
	close(fd);
	return text;
}
