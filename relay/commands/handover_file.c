/* SPDX-License-Identifier: ISC */
/*
 * handover_file.c - the file for the new side: either the whole of it is there, or the one that was
 */
#include "base/text.h"
#include "handover.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A link, a pipe or a device is written to as it is: whoever reads there would not see another file
 * that takes its name, and /dev/stdout must stay what it is. */
static bool is_to_stay(const char *path)
{
	struct stat there;

	return lstat(path, &there) == 0 && !S_ISREG(there.st_mode);
}

static bool refuse(const struct handover_file *file, struct error *err)
{
	const char *why = errno != 0 ? strerror(errno) : "a write failed";

	return error_set(err,
			 "cannot write --output %s: %s; name a file in a directory that may be "
			 "written",
			 file->path, why);
}

bool handover_file_open(struct handover_file *file, const char *path, struct error *err)
{
	*file = (struct handover_file){.path = path};
	if (!path)
		return true;
	if (strlen(path) + sizeof(".new") > sizeof(file->written)) {
		errno = ENAMETOOLONG;
		return refuse(file, err);
	}
	file->aside = !is_to_stay(path);
	text_print(file->written, sizeof(file->written), "%s%s", path, file->aside ? ".new" : "");
	errno = ENOENT;
	file->out = *path ? fopen(file->written, "we") : NULL;
	return file->out || refuse(file, err);
}

bool handover_file_write(struct handover_file *file, const json_t *document, struct error *err)
{
	if (!file->out)
		return true;
	errno = 0;
	json_dumpf(document, file->out, JSON_INDENT(2));
	fputc('\n', file->out);
	if (fflush(file->out) != 0 || ferror(file->out) ||
	    (file->aside && fsync(fileno(file->out)) != 0))
		return refuse(file, err);
	return true;
}

bool handover_file_keep(struct handover_file *file, struct error *err)
{
	if (file->aside && rename(file->written, file->path) != 0)
		return refuse(file, err);
	file->aside = false;
	return true;
}

void handover_file_close(struct handover_file *file)
{
	if (file->out)
		fclose(file->out);
	if (file->aside && file->out)
		unlink(file->written);
	file->out = NULL;
}
