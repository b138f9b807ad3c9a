/* SPDX-License-Identifier: ISC */
/*
 * check_library.c - `check`: what is known to be wrong with this version of librdkafka
 */
#include "check.h"
#include "kafka.h"

#include <stdio.h>

/* From the first version that has it to before the first that has not. From librdkafka's
 * CHANGELOG.md: the numbers are its issues. */
static const struct fault {
	int from, until; /* 2.4.0 is 20400 */
	enum check_level level;
	const char *what;
} faults[] = {
    /* #4438 */
    {0, 20300, CHECK_WARN,
     "now and then reports a fatal error after a lost connection; the relay recovers, events may "
     "be repeated"},
    /* #4826 (#4833). The relay switches the push off, which is what fails. */
    {20500, 20503, CHECK_ERROR, "is a release with grave errors"},
    /* #4964, #4778 */
    {20400, 21000, CHECK_WARN, "may crash when a topic is deleted and made again under its name"},
    /* #5088 */
    {21000, 21001, CHECK_ERROR, "may not find its brokers again after it has lost all of them"},
};

static int number_of(const char *version)
{
	int major = 0, minor = 0, patch = 0;

	sscanf(version, "%d.%d.%d", &major, &minor, &patch);
	return major * 10000 + minor * 100 + patch;
}

void check_library(struct check *check, const char *version)
{
	int number = number_of(version);
	bool sound = true;

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		if (number < faults[i].from || number >= faults[i].until)
			continue;
		sound = false;
		check_add(check, faults[i].level,
			  "use 2.12.1 or later: docs/brokers.md says where there is one",
			  "librdkafka %s %s", version, faults[i].what);
	}
	if (sound)
		check_ok(check, "librdkafka %s", version);
}
